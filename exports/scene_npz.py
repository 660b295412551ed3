"""A scene's arrays to NumPy's archive, under upstream's names and rounded as there.

A ``Scene`` in; one file, written view by view, out. Deflated, as upstream's.
Source: ``utils/export/npz.py`` of Depth Anything 3.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from exports.scene import Scene, as_array

NPZ_FILE, MINI_FILE = "exports/npz/results.npz", "exports/mini_npz/results.npz"
NPZ_DECIMALS, MINI_DECIMALS, CONF_DECIMALS = 6, 8, 2


@dataclass(frozen=True)
class NpzOptions:
    """Nothing is to be chosen."""


def encode_npz(scene: Scene, options: NpzOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Images, depth, confidence and cameras."""
    yield NPZ_FILE, _archive(scene, NPZ_DECIMALS, images=True)


def encode_mini(scene: Scene, options: NpzOptions) -> Iterator[tuple[str, Iterable[bytes]]]:
    """The same without images, and with more decimals of depth."""
    yield MINI_FILE, _archive(scene, MINI_DECIMALS, images=False)


def _archive(scene: Scene, decimals: int, images: bool) -> Iterator[bytes]:
    found, sink = scene.found, _Sink()
    arrays: list[tuple[str, Any, Optional[int]]] = [
        ("image", found.processed_images if images else None, None),
        ("depth", found.depth, decimals),
        ("conf", found.conf, CONF_DECIMALS),
        ("extrinsics", found.extrinsics, None),
        ("intrinsics", found.intrinsics, None),
    ]
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, values, places in arrays:
            if values is None:
                continue
            first = as_array(values[0])
            header = {
                "descr": np.lib.format.dtype_to_descr(first.dtype),
                "fortran_order": False,
                "shape": (len(values), *first.shape),
            }
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(file, header)
                for one in values:
                    one = as_array(one)
                    rounded = one if places is None else one.round(places)
                    file.write(np.ascontiguousarray(rounded).tobytes())
                    yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file that gives back what was written to it; it cannot be rewound."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
