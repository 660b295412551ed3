"""Photos that a quantisation learns the ranges of activations from, and crops that judge it.

A folder in; tensors as a graph takes them out, made one batch at a time: what stays in memory is
one image each, whatever the batch. Few photos are varied, so that ranges are not those of one
exposure and one size of things. What is made of them is judged on crops that it was not fitted to.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.artifact.manifest import InputSpec
from runtime.command_line import sentence
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.photo.find import find_photos
from runtime.photo.preprocess import photo_to_tensor
from runtime.predict.pipeline import note

MAX_IMAGES = 32  # that a quantisation is fitted to, spread over the folder's photos
MAX_VARIANTS = 4  # of one photo
MAX_JUDGED = 8  # photos that crops are held out of, two each
CROP = 0.7  # share of a side
DARKER, BRIGHTER = 0.75, 1.2  # of what it is fitted to; what judges it lies between
SOMEWHAT_DARKER, SOMEWHAT_BRIGHTER = 0.85, 1.1

log = logging.getLogger(__name__)


class Batches(Sequence[np.ndarray]):
    """Images, each in one batch; the last batch is filled from the first image on.

    Items are arrays (batch, 3, H, W) of the input's dtype, stacked when they are asked for.
    """

    def __init__(self, images: Sequence[np.ndarray], batch: int) -> None:
        """Of (3, H, W) each; one at least."""
        self._images, self._batch = images, batch

    @property
    def total(self) -> int:
        """How many images there are."""
        return len(self._images)

    def __len__(self) -> int:
        return -(-self.total // self._batch)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = index * self._batch
        items = (self._images[(first + item) % self.total] for item in range(self._batch))
        return np.stack(list(items))


def calibration_photos(folder: Path) -> list[Path]:
    """Some of a folder's photos, spread over their names.

    Raises:
        InputError: there is none.
    """
    try:
        found = find_photos(folder)
    except InputError as error:
        raise InputError(f"{error}; give photos to calibrate with: --calibration FOLDER") from None
    return found[:: -(-len(found) // MAX_IMAGES)]


def calibration_images(folder: Path, spec: InputSpec) -> tuple[Batches, Batches]:
    """Images to fit a quantisation to, and crops to judge it by.

    Photos that cannot be read are named and left out.

    Raises:
        InputError: no photo there that can be read.
    """
    photos = calibration_photos(folder)
    count = min(MAX_VARIANTS, max(1, MAX_IMAGES // len(photos)))
    fitted: list[np.ndarray] = []
    held_out: list[np.ndarray] = []
    for path in photos:
        try:
            rgb = read_photo(path)
            images = [_resized(some, spec) for some in variants(rgb)[:count]]
            judges = crops(rgb) if len(held_out) < 2 * MAX_JUDGED else []
            judging = [_resized(crop, spec) for crop in judges]
        except Exception as error:
            note(path, error)
            log.warning("left out: %s", sentence(error, str(path)))
        else:
            fitted += images
            held_out += judging
    if not fitted:
        raise InputError(f"{folder}: no photo there can be read; give others: --calibration")
    return Batches(fitted, spec.batch), Batches(held_out, spec.batch)


def variants(rgb: np.ndarray) -> list[np.ndarray]:
    """A photo, mirrored, its upper right part darker, its lower left part mirrored and brighter."""
    height, width = _crop_hw(rgb)
    darker = _brightened(rgb[:height, -width:], DARKER)
    brighter = _brightened(rgb[-height:, width - 1 :: -1], BRIGHTER)
    return [rgb, rgb[:, ::-1], darker, brighter]


def crops(rgb: np.ndarray) -> list[np.ndarray]:
    """A photo's upper left part, mirrored and darker, and its lower right part, brighter."""
    height, width = _crop_hw(rgb)
    darker = _brightened(rgb[:height, width - 1 :: -1], SOMEWHAT_DARKER)
    return [darker, _brightened(rgb[-height:, -width:], SOMEWHAT_BRIGHTER)]


def _crop_hw(rgb: np.ndarray) -> tuple[int, int]:
    height, width = (max(1, round(CROP * side)) for side in rgb.shape[:2])
    return height, width


def _brightened(rgb: np.ndarray, factor: float) -> np.ndarray:
    return cv2.convertScaleAbs(np.ascontiguousarray(rgb), alpha=factor)


def _resized(rgb: np.ndarray, spec: InputSpec) -> np.ndarray:
    whole = np.ascontiguousarray(rgb)
    (image,) = photo_to_tensor(whole, spec.size_hw, spec.mean, spec.std, spec.dtype, spec.resize)
    return image
