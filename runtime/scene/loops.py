"""Frames that show the same place again, by descriptors; and cuts, by how frames look.

Descriptors and settings in; pairs of frames out. What a pair is worth is for geometry to say:
``links`` and ``pose_graph`` leave false ones out. numpy only.
"""

import math
from collections.abc import Callable, Sequence
from typing import Optional

import numpy as np

from runtime.photo.preprocess import resize_bytes

CHANNELS = 64  # that descriptors are whitened to
ALIKE, TOP, APART_FRAMES, SUPPRESSED = 0.98, 7, 100, 25  # of SwiftVGGT, on DINO's tokens
CUT, CUT_OF_MEDIAN, CUT_MEMORY = 0.5, 0.6, 30
KEY, KEY_S = 0.98, 1.0  # cosine to the last key frame, and seconds after it
LOOK_HW = (12, 16)
BLOCK = 1024
PAIR = np.dtype([("later", "<i8"), ("earlier", "<i8"), ("cosine", "<f8")])
MOST_PAIRS = 200_000  # that are held: then the better half stays

Pair = tuple[int, int, float]  # later, earlier, cosine


def describe(tokens: np.ndarray) -> np.ndarray:
    """Patch tokens of views to one descriptor each: (N, P, C) -> float16 (N, C).

    Source: generalised mean of unit tokens, signed square root; as SwiftVGGT has it.
    """
    tokens = np.asarray(tokens, np.float32)
    unit = tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), 1e-12)
    mean = unit.mean(1)
    return _unit(np.sign(mean) * np.sqrt(np.abs(mean))).astype(np.float16)


class Whitener:
    """What descriptors share, and how they spread: gathered block by block."""

    def __init__(self) -> None:
        self._count, self._sum, self._square = 0, np.zeros(0), np.zeros((0, 0))

    def add(self, descriptors: np.ndarray) -> None:
        """Take (N, C)."""
        rows = np.asarray(descriptors, np.float64)
        if not self._count:
            self._sum, self._square = np.zeros(rows.shape[1]), np.zeros((rows.shape[1],) * 2)
        self._count += len(rows)
        self._sum += rows.sum(0)
        self._square += rows.T @ rows

    def fitted(self, channels: int = CHANNELS) -> Callable[[np.ndarray], np.ndarray]:
        """What takes descriptors (N, C) to float32 (N, up to 64), of unit length.

        The mean and the first principal direction go; the next ones get one spread.
        """
        mean = self._sum / max(self._count, 1)
        spread = self._square / max(self._count, 1) - np.outer(mean, mean)
        values, vectors = np.linalg.eigh(spread)
        kept = [at for at in np.argsort(values)[::-1][1 : channels + 1] if values[at] > 1e-12]
        turn = vectors[:, kept] / np.sqrt(values[kept])
        return lambda rows: _unit((np.asarray(rows, np.float64) - mean) @ turn).astype(np.float32)


def similar_pairs(
    descriptors: np.ndarray,
    alike: float = ALIKE,
    apart: int = APART_FRAMES,
    top: int = TOP,
    suppressed: Optional[int] = SUPPRESSED,
    near_count: bool = False,
) -> list[Pair]:
    """Pairs of frames that look alike and are far apart, the most alike first.

    Args:
        descriptors: (N, C), of unit length; may lie in a file.
        alike: cosine that a pair exceeds; apart: frames between that it exceeds.
        top: others of each frame that are looked at.
        suppressed: frames around either end of a kept pair that no other pair may have; None: keep
            all.
        near_count: frames that are not far apart are among the ``top``, too, as upstream has it: in
            a dense video they are all of them.
    """
    found = np.zeros(0, PAIR)
    for start in range(0, len(descriptors), BLOCK):
        found = np.concatenate((found, _pairs(descriptors, start, alike, apart, top, near_count)))
        if len(found) > MOST_PAIRS:
            found = found[np.argsort(-found["cosine"], kind="stable")[: MOST_PAIRS // 2]]
    found = found[np.lexsort((found["earlier"], found["later"], -found["cosine"]))]
    if suppressed is None:
        _, first = np.unique(found[["later", "earlier"]], return_index=True)
        return [_pair(row) for row in found[np.sort(first)]]
    return _thinned(found, suppressed, len(descriptors))


def _pairs(
    descriptors: np.ndarray, start: int, alike: float, apart: int, top: int, near_count: bool
) -> np.ndarray:
    """Those of a block of frames: of ``PAIR``."""
    rows = np.asarray(descriptors[start : start + BLOCK], np.float32)
    own = np.arange(start, start + len(rows))[:, None]
    best, whose = np.full((len(rows), top), -np.inf), np.zeros((len(rows), top), np.int64)
    for first in range(0, len(descriptors), BLOCK):
        cosines = rows @ np.asarray(descriptors[first : first + BLOCK], np.float32).T
        others = np.arange(first, first + cosines.shape[1])[None]
        near = np.abs(others - own) <= (0 if near_count else apart)
        cosines[near] = -np.inf
        count = min(top, cosines.shape[1])
        order = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        values = np.concatenate((best, np.take_along_axis(cosines, order, 1)), 1)
        names = np.concatenate((whose, first + order), 1)
        order = np.argsort(-values, axis=1, kind="stable")[:, :top]
        best, whose = (np.take_along_axis(part, order, 1) for part in (values, names))
    kept = (best > alike) & (np.abs(whose - own) > apart)
    found = np.zeros(int(kept.sum()), PAIR)
    ends = np.broadcast_to(own, whose.shape)[kept], whose[kept]
    found["later"], found["earlier"] = np.maximum(*ends), np.minimum(*ends)
    found["cosine"] = best[kept]
    return found


def _thinned(pairs: np.ndarray, around: int, frames: int) -> list[Pair]:
    kept: list[Pair] = []
    taken = np.zeros(frames + around + 1, bool)
    for row in pairs:
        later, earlier, cosine = _pair(row)
        if taken[later] or taken[earlier]:
            continue
        kept.append((later, earlier, cosine))
        taken[max(0, earlier - around) : min(earlier + around, later - 1) + 1] = True
        taken[max(earlier + 1, later - around) : later + around + 1] = True
    return kept


def _pair(row: np.ndarray) -> Pair:
    return int(row["later"]), int(row["earlier"]), float(row["cosine"])


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


class KeyFinder:
    """Which frames differ from the last one that did, or come long after it."""

    def __init__(self) -> None:
        self._look: Optional[np.ndarray] = None
        self._time_s: Optional[float] = None

    def take(self, rgb: np.ndarray, time_s: Optional[float]) -> None:
        """A frame that is one already, uint8 (H, W, 3); its time, if it has one."""
        self._look, self._time_s = appearance(rgb), time_s

    def next(self, rgb: np.ndarray, time_s: Optional[float]) -> bool:
        """Whether a frame is one."""
        last, before = self._look, self._time_s
        late = time_s is not None and before is not None and time_s - before >= KEY_S
        if last is not None and not late and float(appearance(rgb) @ last) >= KEY:
            return False
        self.take(rgb, time_s)
        return True


def appearance(rgb: np.ndarray) -> np.ndarray:
    """What cuts are told by: coarse pixels without their mean, unit length: float64 (C,)."""
    coarse = resize_bytes(np.ascontiguousarray(rgb), LOOK_HW).astype(np.float64).reshape(-1, 3)
    return np.asarray(_unit((coarse - coarse.mean(0)).reshape(1, -1))[0])


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12))
