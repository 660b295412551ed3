"""Pages to an MP4, which is written aside and then read: its encoder needs a file."""

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from exports.video import CRF, PRESET, to_yuv, writing_video

FINEST = 1001  # denominator of a rate
BLOCK_BYTES = 1 << 20


def encode_video(
    pages: Iterable[np.ndarray], fps: float, crf: int = CRF, preset: str = PRESET
) -> Iterator[bytes]:
    """A whole MP4, block by block.

    Args:
        pages: uint8 (H, W, 3), all of one size, at least one.
        fps: pages a second.
        crf, preset: see ``exports.video.writing_video``.
    Raises:
        OSError: the temporary folder refuses.
    """
    rate = Fraction(fps).limit_denominator(FINEST)
    with tempfile.TemporaryDirectory() as folder:
        file, pages = Path(folder, "pages.mp4"), iter(pages)
        first = next(pages)
        size_hw = (first.shape[0], first.shape[1])
        with writing_video(file, size_hw, 1 / rate, rate, crf=crf, preset=preset) as writer:
            writer.picture(to_yuv(first), 0, 1)
            for at, page in enumerate(pages, start=1):
                writer.picture(to_yuv(page), at, 1)
        with file.open("rb") as written:
            yield from iter(lambda: written.read(BLOCK_BYTES), b"")
