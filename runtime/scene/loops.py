"""Frames that show the same place again, by descriptors; and cuts, by how frames look.

Descriptors and settings in; pairs of frames out. What a pair is worth is for geometry to say:
``links`` and ``pose_graph`` leave false ones out. numpy only.
"""

import math
from collections.abc import Sequence
from typing import Optional

import numpy as np

from runtime.photo.preprocess import resize_bytes

CHANNELS = 64  # that descriptors are whitened to
ALIKE, TOP, APART_FRAMES, SUPPRESSED = 0.98, 7, 100, 25  # of SwiftVGGT, on DINO's tokens
CUT, CUT_OF_MEDIAN, CUT_MEMORY = 0.5, 0.6, 30
LOOK_HW = (12, 16)
BLOCK = 1024

Pair = tuple[int, int, float]  # later, earlier, cosine


def describe(tokens: np.ndarray) -> np.ndarray:
    """Patch tokens of views to one descriptor each: (N, P, C) -> float16 (N, C).

    Source: generalised mean of unit tokens, signed square root; as SwiftVGGT has it.
    """
    tokens = np.asarray(tokens, np.float32)
    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
    mean = unit.mean(1)
    return _unit(np.sign(mean) * np.sqrt(np.abs(mean))).astype(np.float16)


def whitened(descriptors: np.ndarray, channels: int = CHANNELS) -> np.ndarray:
    """All frames' descriptors without what they share: (N, C) -> float32 (N, up to 64).

    The mean and the first principal direction go; the next ones get one spread.
    """
    centred = np.asarray(descriptors, np.float64)
    centred = centred - centred.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / max(len(centred), 1))
    kept = [at for at in np.argsort(values)[::-1][1 : channels + 1] if values[at] > 1e-12]
    return _unit(centred @ (vectors[:, kept] / np.sqrt(values[kept]))).astype(np.float32)


def similar_pairs(
    descriptors: np.ndarray,
    alike: float = ALIKE,
    apart: int = APART_FRAMES,
    top: int = TOP,
    suppressed: Optional[int] = SUPPRESSED,
) -> list[Pair]:
    """Pairs of frames that look alike and are far apart, the most alike first.

    Args:
        descriptors: (N, C), of unit length.
        alike: cosine that a pair exceeds; apart: frames between that it exceeds.
        top: others of each frame that are looked at.
        suppressed: frames around either end of a kept pair that no other pair may have; None: keep
            all.
    """
    best: dict[tuple[int, int], float] = {}
    for start in range(0, len(descriptors), BLOCK):
        cosines = descriptors[start : start + BLOCK] @ descriptors.T
        for row, values in enumerate(cosines):
            one = start + row
            values[one] = -np.inf
            count = min(top, len(values) - 1)
            for other in np.argpartition(-values, count - 1)[:count] if count else ():
                if values[other] > alike and abs(one - int(other)) > apart:
                    pair = (max(one, int(other)), min(one, int(other)))
                    best[pair] = max(best.get(pair, -1.0), float(values[other]))
    pairs = sorted(((*pair, cosine) for pair, cosine in best.items()), key=lambda p: -p[2])
    return pairs if suppressed is None else _thinned(pairs, suppressed)


def _thinned(pairs: Sequence[Pair], around: int) -> list[Pair]:
    kept: list[Pair] = []
    taken: set[int] = set()
    for later, earlier, cosine in pairs:
        if later in taken or earlier in taken:
            continue
        kept.append((later, earlier, cosine))
        taken.update(range(earlier - around, min(earlier + around, later - 1) + 1))
        taken.update(range(max(earlier + 1, later - around), later + around + 1))
    return kept


def most_loops(windows: int) -> int:
    """How many loops a sequence of so many windows is worth."""
    return int(2 * math.sqrt(windows))


class CutFinder:
    """Which frames begin a new shot, from how they look, before any window is made of them.

    Args:
        scores: of the frames before, at most ``CUT_MEMORY``, where a run goes on.
    """

    def __init__(self, scores: Sequence[float] = ()) -> None:
        self.scores = list(scores)[-CUT_MEMORY:]
        self._last: Optional[np.ndarray] = None

    def look(self, rgb: np.ndarray) -> None:
        """A frame that is judged already, uint8 (H, W, 3), where a run goes on."""
        self._last = appearance(rgb)

    def next(self, rgb: np.ndarray) -> tuple[bool, Optional[float]]:
        """Whether a frame begins a shot; its cosine to the frame before, None if it begins one."""
        look = appearance(rgb)
        last, self._last = self._last, look
        if last is None:
            return False, None
        score = float(look @ last)
        usual = float(np.median(self.scores)) if self.scores else 1.0
        cut = score < CUT and score < CUT_OF_MEDIAN * usual
        self.scores = [] if cut else [*self.scores, score][-CUT_MEMORY:]
        return cut, None if cut else score


def appearance(rgb: np.ndarray) -> np.ndarray:
    """What cuts are told by: coarse pixels without their mean, unit length: float64 (C,)."""
    coarse = resize_bytes(np.ascontiguousarray(rgb), LOOK_HW).astype(np.float64).reshape(-1, 3)
    return np.asarray(_unit((coarse - coarse.mean(0)).reshape(1, -1))[0])


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))
