"""Files of a prediction on disk, each there whole or not at all."""

from collections.abc import Mapping
from pathlib import Path
from typing import Optional

import numpy as np

from exports.files import FileOptions, depth_files
from runtime.files import write_whole
from runtime.names import below
from runtime.predict.found import Prediction


def write_prediction(
    found: Prediction,
    base: Path,
    options: FileOptions,
    rgb: Optional[np.ndarray] = None,
    seconds: Optional[Mapping[str, float]] = None,
) -> list[Path]:
    """Write what ``depth_files`` makes.

    Args:
        base: path of the files without their last suffix; ends with the photo's name.
        rgb, seconds: as for ``depth_files``.
    Returns:
        the files written, the description last.
    Raises:
        InputError: a name that is not plain, or longer than a disk takes.
        OSError: the disk refuses.
    """
    written = []
    for suffix, data in depth_files(found, base.name, options, rgb, seconds):
        written.append(below(base.parent, base.name + suffix))
        write_whole(written[-1], data)
    return written
