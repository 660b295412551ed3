"""A folder for one service alone, gone when it ends: states, metrics, an unpacked model."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import InputError
from runtime.files import reason

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make it, and name a folder in it as the one that metrics are counted in.

    Raises:
        InputError: nothing can be written.
    """
    try:
        folder, owner = Path(tempfile.mkdtemp(prefix="depth-serve-")), os.getpid()
    except OSError as error:
        raise InputError(
            f"nothing can be written here ({reason(error)}): mount a /tmp that can, or set TMPDIR "
            "to such a folder"
        ) from None
    counts = folder / "metrics"
    counts.mkdir()
    os.environ[MULTIPROC_DIR] = str(counts)
    try:
        yield folder
    finally:
        if os.getpid() == owner:  # workers are forks, and end through here too
            shutil.rmtree(folder, ignore_errors=True)
