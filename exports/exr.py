"""Depth to OpenEXR: one float32 channel (H, W), named after its kind."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.optional import require


def encode_exr(depth: np.ndarray, facts: Mapping[str, Any]) -> bytes:
    """A map and what it is to an EXR file; the description is in ``comments``."""
    openexr = require("OpenEXR", "exr")
    header = {"compression": openexr.ZIP_COMPRESSION, "comments": json.dumps(facts)}
    with tempfile.TemporaryDirectory() as folder:  # the library writes to named files only
        file = Path(folder) / "depth.exr"
        openexr.File(header, {facts["kind"]: np.ascontiguousarray(depth)}).write(str(file))
        return file.read_bytes()
