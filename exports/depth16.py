"""Depth in 16 bits: millimetres, or a stretched range.

A map and what it means in; uint16 (H, W), and how to read it, out.
"""

from dataclasses import dataclass
from typing import Optional

import numpy as np

from runtime.artifact.manifest import OutputSpec
from runtime.photo.postprocess import value_range

MILLIMETRES = 1000.0
MAX_UINT16 = 65535
BAND_ROWS = 32  # stored at a time: keeps them in the processor's cache


@dataclass(frozen=True)
class Encoding16:
    """How a 16-bit PNG holds depth: ``value = offset + scale * stored``.

    ``invalid`` is the stored value that stands for "no depth", None where there is none.
    """

    scale: float
    offset: float
    unit: str
    invalid: Optional[int]
    out_of_range: int


def to_uint16(
    depth: np.ndarray, output: OutputSpec, limits: Optional[tuple[float, float]] = None
) -> tuple[np.ndarray, Encoding16]:
    """Store a map in 16 bits.

    Metres become millimetres, 0 where there is no depth or more than 65.535 m of it. Relative maps
    are stretched from their minimum (0) to their maximum (65535).

    Args:
        depth: float32 (H, W), finite.
        limits: what ``value_range`` says of the map, if it is known already.
    Returns:
        uint16 (H, W), and how to read it.
    """
    low, high = limits or value_range(depth)
    metric, beyond = output.unit == "metre", 0
    stored = np.zeros(depth.shape, np.uint16)
    kept = np.empty((BAND_ROWS, *depth.shape[1:]), np.result_type(depth, np.float32))
    for start in range(0, len(depth), BAND_ROWS):
        rows = depth[start : start + BAND_ROWS]
        values = kept[: len(rows)]
        if metric:
            np.rint(np.multiply(rows, MILLIMETRES, out=values), out=values)
            if not (values.min() >= 0 and values.max() <= MAX_UINT16):  # as of a NaN, too
                beyond += int((values > MAX_UINT16).sum())
                values[~((values >= 0) & (values <= MAX_UINT16))] = 0
            stored[start : start + BAND_ROWS] = values
        elif high > low:
            np.divide(np.subtract(rows, low, out=values), high - low, out=values)
            np.rint(np.multiply(values, MAX_UINT16, out=values), out=values)
            stored[start : start + BAND_ROWS] = values
    if metric:
        return stored, Encoding16(
            scale=1 / MILLIMETRES, offset=0.0, unit="metre", invalid=0, out_of_range=beyond
        )
    return stored, Encoding16(
        scale=(high - low) / MAX_UINT16, offset=low, unit="relative", invalid=None, out_of_range=0
    )
