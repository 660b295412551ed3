"""Photos that a quantisation learns the ranges of activations from.

A folder in; tensors as a graph takes them out, made one batch at a time: what stays in memory is
one image each, whatever the batch. Each photo counts twice, the second time mirrored.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from runtime.artifact.manifest import InputSpec
from runtime.command_line import sentence
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.photo.find import find_photos
from runtime.photo.preprocess import photo_to_tensor
from runtime.predict.pipeline import note

MAX_PHOTOS = 64

log = logging.getLogger(__name__)


def calibration_photos(folder: Path) -> list[Path]:
    """The folder's first photos, by name.

    Raises:
        InputError: there is none.
    """
    try:
        return find_photos(folder)[:MAX_PHOTOS]
    except InputError as error:
        raise InputError(f"{error}; give photos to calibrate with: --calibration FOLDER") from None


class CalibrationImages(Sequence[np.ndarray]):
    """Batches of a folder's photos, each image in one of them; the last is filled from the first.

    Items are arrays (batch, 3, H, W) of the input's dtype, stacked when they are asked for.
    """

    def __init__(self, folder: Path, spec: InputSpec) -> None:
        """Decode and resize every photo; those that cannot be read are named and left out.

        Raises:
            InputError: no photo there that can be read.
        """
        self._spec = spec
        self._images: list[np.ndarray] = []
        for path in calibration_photos(folder):
            try:
                rgb = read_photo(path)
                pair = [self._resized(rgb), self._resized(np.ascontiguousarray(rgb[:, ::-1]))]
            except Exception as error:
                note(path, error)
                log.warning("left out: %s", sentence(error, str(path)))
            else:
                self._images += pair
        if not self._images:
            raise InputError(f"{folder}: no photo there can be read; give others: --calibration")

    @property
    def total(self) -> int:
        """How many images there are, mirrored ones among them."""
        return len(self._images)

    def __len__(self) -> int:
        return -(-self.total // self._spec.batch)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        first = index * self._spec.batch
        items = (self._images[(first + item) % self.total] for item in range(self._spec.batch))
        return np.stack(list(items))

    def _resized(self, rgb: np.ndarray) -> np.ndarray:
        spec = self._spec
        (image,) = photo_to_tensor(rgb, spec.size_hw, spec.mean, spec.std, spec.dtype, spec.resize)
        return image
