"""One request that means harm, and what all kinds of them are made with."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BODY_MB = 2  # of the server that they are sent to
IMAGE_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
ANY_IMAGE = (*IMAGE_TYPES.values(), "application/x-image")
NPY, NPZ, JSON = "application/x-npy", "application/x-npz", "application/json"
FORM = "multipart/form-data"


@dataclass(frozen=True)
class Hostile:
    """One request; ``harmless`` ones may be answered with depth."""

    name: str
    body: bytes
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)
    query: str = ""
    harmless: bool = False


class Executed:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def encode(rgb: np.ndarray, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, name, **options)
    return buffer.getvalue()
