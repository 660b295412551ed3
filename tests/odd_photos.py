"""Odd photos: small files of every kind that other people's tools write, and what is right of each.

``odd_photos()`` in, named files with their pixels out, the same every time. The files are written
by hand where no library writes them, so that what is expected does not come from what reads them.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple, Optional

import numpy as np

HEIGHT, WIDTH = 36, 52


class OddPhoto(NamedTuple):
    """One file.

    ``name``: unique, a file name with the usual suffix. ``rgb``: uint8 (H, W, 3), what it shows
    when it stands upright; None: it is to be refused. ``off``: the most by which pixels may differ
    on average, of 255. ``refusable``: a refusal is right, too; another picture is not.
    """

    name: str
    data: bytes
    rgb: Optional[np.ndarray]
    off: float = 0.0
    refusable: bool = False

    def fault(self, read: Optional[np.ndarray]) -> str:
        """What is wrong with pixels that were read, None if it was refused; empty: nothing."""
        if read is None:
            return "" if self.rgb is None or self.refusable else f"{self.name}: refused"
        if self.rgb is None:
            return f"{self.name}: read as {read.shape}, but is to be refused"
        if read.shape != self.rgb.shape or read.dtype != np.uint8:
            return f"{self.name}: {read.dtype} {read.shape}, expected {self.rgb.shape}"
        off = float(np.abs(read.astype(int) - self.rgb).mean())
        return "" if off <= self.off else f"{self.name}: off by {off:.2f}, at most {self.off}"


def scene(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """RGB uint8 (height, width, 3): smooth, its channels unlike, no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    red = 20 + 215 * x / max(width - 1, 1)
    green = 235 - 215 * y / max(height - 1, 1)
    blue = 127 + 100 * np.sin(x * 0.11 + y * 0.17)
    return np.stack([red, green, blue], -1).round().astype(np.uint8)


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores that says this EXIF orientation."""
    return np.ascontiguousarray(
        {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.swapaxes(0, 1),
            6: np.rot90(upright, 1),
            7: upright[::-1, ::-1].swapaxes(0, 1),
            8: np.rot90(upright, -1),
        }[orientation]
    )


def at_depth(rgb: np.ndarray, bits: int) -> np.ndarray:
    """Bytes as integers of so many bits, uint64; white stays white."""
    return (rgb.astype(np.float64) / 255 * ((1 << bits) - 1)).round().astype(np.uint64)


def seen(samples: np.ndarray, bits: int) -> np.ndarray:
    """What samples of so many bits show: their upper 8 bits, or few bits spread over 0 to 255."""
    if bits >= 8:
        return (samples.astype(np.uint64) >> np.uint64(bits - 8)).astype(np.uint8)
    return (samples.astype(np.float64) * 255 / ((1 << bits) - 1)).round().astype(np.uint8)


def grey(samples: np.ndarray) -> np.ndarray:
    """(H, W) as three equal channels."""
    return np.repeat(samples[..., None], 3, axis=2)


def packed(samples: np.ndarray, bits: int, order: str = ">") -> bytes:
    """Rows of samples, each row begun at a byte: (rows, values) uint64 to bytes.

    ``order`` is that of bytes in samples of 16, 32 and 64 bits.
    """
    rows = samples.reshape(len(samples), -1)
    if bits in (8, 16, 32, 64):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    places = np.arange(bits - 1, -1, -1, dtype=np.uint64)
    each = (rows[..., None] >> places).astype(np.uint8) & 1
    return np.packbits(each.reshape(len(rows), -1), axis=1).tobytes()


def cut(photo: OddPhoto, places: list[int]) -> Iterator[OddPhoto]:
    """The file ended at each of these places: refused, or right if all pixels were before it."""
    stem, _, suffix = photo.name.rpartition(".")
    for number, place in enumerate(places):
        name = f"{stem}-cut-{number:02}.{suffix}"
        yield photo._replace(name=name, data=photo.data[:place], refusable=True)


@functools.lru_cache(maxsize=1)
def odd_photos() -> tuple[OddPhoto, ...]:
    """All of them, by name; a second of work, done once a process."""
    import odd_bmp
    import odd_jpeg
    import odd_png
    import odd_tiff
    import odd_webp

    found = [
        photo
        for module in (odd_png, odd_jpeg, odd_tiff, odd_bmp, odd_webp)
        for photo in module.photos()
    ]
    assert len({photo.name for photo in found}) == len(found)
    return tuple(sorted(found, key=lambda photo: photo.name))
