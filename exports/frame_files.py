"""A frame's depth to files, in a range that other frames may share.

A map in; suffixes and bytes out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from exports.depth16 import to_uint16
from exports.files import SUFFIXES, encode_float
from exports.png import encode_png
from exports.v2_picture import Limits
from runtime.predict.found import Prediction

# A frame's numbers carry its own number alone; its picture has .color before the suffix
FRAME_SUFFIXES = {**SUFFIXES, "png16": ".png"}


def frame_files(
    found: Prediction,
    formats: Sequence[str],
    limits16: Limits,
    painted: Optional[np.ndarray],
    more: Optional[Mapping[str, Any]] = None,
) -> Iterator[tuple[str, bytes]]:
    """Encode a frame's map, one format after the other.

    Args:
        formats: of ``exports.files.FORMATS``.
        limits16: what 0 and 65535 stand for in png16 of relative maps; values beyond get these.
        painted: the picture of depth alone, for png.
        more: what the files say beside the map's own facts.
    Yields:
        each file's suffix and its bytes; what it is stands in the file itself, if that has room.
    """
    facts = {**found.facts(), **(more or {})}
    for name in formats:
        if name == "png":
            assert painted is not None
            data = encode_png(painted, facts)
        elif name == "png16":
            depth = found.depth
            if found.output.unit == "relative":
                depth = np.clip(depth, np.float32(limits16[0]), np.float32(limits16[1]))
            stored, encoding = to_uint16(depth, found.output, limits16)
            data = encode_png(stored, {**facts, "png16": vars(encoding)})
        else:
            data = encode_float(found, name, facts)
        yield FRAME_SUFFIXES[name], data
