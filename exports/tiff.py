"""Depth to TIFF of float32 (H, W), with its description in the usual tag."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

TIFF_DESCRIPTION = 270


def encode_tiff(depth: np.ndarray, facts: Mapping[str, Any]) -> bytes:
    """A map and what it is to a TIFF file."""
    buffer = io.BytesIO()
    tags = {TIFF_DESCRIPTION: json.dumps(facts)}
    Image.fromarray(depth).save(buffer, "TIFF", tiffinfo=tags)
    return buffer.getvalue()
