"""A photo and its depth, small enough for a page.

The record of a photo that is done in; two JPEG out, from the photo as it is now and a result.
"""

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from exports.colour import colorize, stamp_warning
from runtime.artifact.manifest import OutputSpec
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.storage import S3Options, Storage
from serve.batch.items import Item
from serve.batch.photos import read_bytes
from serve.batch.records import Record
from serve.batch.verify import RESULT_BYTES

SIDE_PX = 256


def photo_thumbnail(record: Record, s3: S3Options) -> bytes:
    """The photo, read again.

    Raises:
        DepthError: it is gone, or is another one now.
    """
    data = read_bytes(Item(record.name, record.address), s3)
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise InputError("the photo has changed since")
    return _jpeg(read_photo(data, record.height * record.width))


def depth_thumbnail(output: Storage, record: Record, facts: Mapping[str, Any]) -> bytes:
    """The colour picture if one was written, else the map in colours.

    Args:
        facts: the result's sidecar.
    Raises:
        DepthError: no such result.
        Exception: of a decoder, if a result is damaged.
    """
    color, npz, png16 = (record.name + suffix for suffix in (".color.png", ".npz", ".depth16.png"))
    if color in record.outputs:
        data = output.read(color, RESULT_BYTES)
        return _jpeg(read_photo(data, record.height * record.width))
    spec = OutputSpec(facts["kind"])
    if npz in record.outputs:
        with np.load(io.BytesIO(output.read(npz, RESULT_BYTES)), allow_pickle=False) as arrays:
            depth = arrays[spec.kind]
    elif png16 in record.outputs:
        with Image.open(io.BytesIO(output.read(png16, RESULT_BYTES)), formats=("PNG",)) as image:
            depth = _from_uint16(np.array(image), facts["png16"])
    else:
        raise InputError("no result that is shown here: png, npz or png16")
    painted = colorize(depth, spec)
    stamp_warning(painted, facts.get("warning"))
    return _jpeg(painted)


def _from_uint16(stored: np.ndarray, encoding: Mapping[str, Any]) -> np.ndarray:
    """float32 (H, W); where there is no depth, the largest there is."""
    depth = np.float32(encoding["offset"]) + np.float32(encoding["scale"]) * stored
    known = stored != encoding["invalid"]
    return depth if encoding["invalid"] is None else np.where(known, depth, depth.max())


def _jpeg(rgb: np.ndarray) -> bytes:
    image, buffer = Image.fromarray(rgb), io.BytesIO()
    image.thumbnail((SIDE_PX, SIDE_PX))
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
