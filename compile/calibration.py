"""Photos that a quantisation learns the ranges of activations from.

A folder in; tensors as a graph takes them out. Each photo counts twice, the second time mirrored.
"""

from pathlib import Path

import numpy as np

from apps.folder import FolderJob, find_photos
from runtime.artifact.manifest import InputSpec
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.photo.preprocess import photo_to_tensor

MAX_PHOTOS = 64


def calibration_images(folder: Path, spec: InputSpec) -> list[np.ndarray]:
    """The folder's first photos, by name, each batch filled with the ones that follow.

    Returns:
        arrays (batch, 3, H, W) of the input's dtype.
    Raises:
        InputError: no photo there, or one that cannot be read.
    """
    try:
        paths = find_photos(FolderJob(folder, folder / "none"))
    except InputError as error:
        raise InputError(f"{error}; give photos to calibrate with: --calibration FOLDER") from None
    images = []
    for path in paths[:MAX_PHOTOS]:
        rgb = read_photo(path)
        for given in (rgb, rgb[:, ::-1]):
            given = np.ascontiguousarray(given)
            images.append(
                photo_to_tensor(given, spec.size_hw, spec.mean, spec.std, spec.dtype, spec.resize)[
                    0
                ]
            )
    return [
        np.stack([images[(first + item) % len(images)] for item in range(spec.batch)])
        for first in range(len(images))
    ]
