"""Places that a sequence comes back to: found by descriptors, and checked by the network itself.

A first pass that is done in; edges between its windows out. Frames around both ends of a candidate
go through the network together; what comes of it is linked to either window.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from apps.sequence_solve import similarity_of, solve
from apps.sequence_source import Source
from apps.sequence_store import SequenceStore, WindowMaps, decode_window, encode_window
from apps.sequence_windows import WindowModel, link_facts, shared_frames
from runtime.errors import InputError
from runtime.files import read_whole, write_whole
from runtime.scene.links import Link, link_windows
from runtime.scene.loops import ALIKE, APART_FRAMES, most_loops, similar_pairs, whitened
from runtime.scene.query import SceneQuery
from runtime.scene.similarity import Similarity
from runtime.scene.views import View, fit_view

FILE, FILE_BYTES = "loops.json", 64 << 20
INLIERS, TURN_DEG, OF_PATH = 0.7, 5.0, 0.2  # that both links of a loop need; of the path between
TOGETHER = 8  # candidates whose frames are held at once

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """Two windows, and the frames of each that go through the network together."""

    later: int
    earlier: int
    later_frames: tuple[int, ...]
    earlier_frames: tuple[int, ...]
    cosine: float


def find_loops(
    source: Source,
    model: WindowModel,
    store: SequenceStore,
    query: SceneQuery,
    alike: float = ALIKE,
) -> list[dict[str, Any]]:
    """Loops that geometry agrees with, as JSON values; kept in ``loops.json``.

    Args:
        alike: cosine from which a pair of frames is looked at.
    """
    state = [alike, store.header, [line["sha256"] for line in store.lines]]
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    known = read_loops(store)
    if known is not None and known["key"] == key:
        return list(known["loops"])
    wanted = candidates(store, alike)
    log.info("loops: %d candidates", len(wanted))
    found = []
    for start in range(0, len(wanted), TOGETHER):
        some = wanted[start : start + TOGETHER]
        views = _views(source, model, store, some)
        found += [_checked(one, views, model, store, query) for one in some]
    solved = solve(store.lines)
    for row in found:
        row["accepted"] = row["accepted"] and _is_near(row, solved.windows, store.lines)
    facts = {"key": key, "loops": found}
    write_whole(store.folder / FILE, json.dumps(facts).encode())
    return found


def read_loops(store: SequenceStore) -> Optional[dict[str, Any]]:
    """What an earlier run has found; None if there is nothing.

    Raises:
        InputError: it is damaged.
    """
    file = store.folder / FILE
    if not file.exists():
        return None
    try:
        facts = json.loads(read_whole(file, FILE_BYTES))
        return {"key": str(facts["key"]), "loops": list(facts["loops"])}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{file}: damaged; remove it") from None


def candidates(store: SequenceStore, alike: float) -> list[Candidate]:
    """Pairs of windows that may show one place, the most alike first, at most one a pair."""
    numbers: list[int] = []
    rows: list[np.ndarray] = []
    for line in store.lines:
        with np.load(store.folder / line["file"], allow_pickle=False) as arrays:
            if "descriptors" not in arrays.files or line["problem"]:
                continue
            own = arrays["descriptors"]
        for number, row in zip(line["frames"], own):
            if not numbers or number > numbers[-1]:
                numbers.append(number)
                rows.append(row)
    if len(rows) < 2:
        return []
    views = store.header["settings"]["views"]
    apart = max(APART_FRAMES, 2 * views)
    found: dict[tuple[int, int], Candidate] = {}
    for later, earlier, cosine in similar_pairs(whitened(np.stack(rows)), alike, apart):
        one, other = (_around(store, numbers[at], views // 2) for at in (later, earlier))
        if store.lines[one[0]]["segment"] == store.lines[other[0]]["segment"]:
            candidate = Candidate(one[0], other[0], one[1], other[1], cosine)
            found.setdefault((one[0], other[0]), candidate)
    return list(found.values())[: most_loops(len(store.lines))]


def _around(store: SequenceStore, number: int, half: int) -> tuple[int, tuple[int, ...]]:
    """The window that a frame is most in the middle of, and so many of its frames around it."""
    holding = [line for line in store.lines if number in line["frames"]]
    line = min(
        holding, key=lambda one: abs(one["frames"].index(number) - (len(one["frames"]) - 1) / 2)
    )
    frames = line["frames"]
    start = min(max(0, frames.index(number) - half // 2), max(0, len(frames) - half))
    return line["window"], tuple(frames[start : start + half])


def _views(
    source: Source, model: WindowModel, store: SequenceStore, some: Sequence[Candidate]
) -> dict[int, View]:
    wanted = {number for one in some for number in (*one.later_frames, *one.earlier_frames)}
    height, width = store.lines[0]["view_hw"]
    found: dict[int, View] = {}
    for frame in source.frames(min(wanted)):
        if frame.number in wanted and frame.rgb is not None:
            view = model.view(frame.rgb)
            if view.size_hw != (height, width):
                view = fit_view(frame.rgb, (height, width))
            found[frame.number] = view
        if len(found) == len(wanted):
            break
    return found


def _checked(
    one: Candidate,
    views: Mapping[int, View],
    model: WindowModel,
    store: SequenceStore,
    query: SceneQuery,
) -> dict[str, Any]:
    """What the network says of both ends together."""
    frames = (*one.earlier_frames, *one.later_frames)
    found = model.infer([views[number] for number in frames], query)
    assert found.extrinsics is not None and found.intrinsics is not None
    conf = np.full(found.depth.shape, 2.0) if found.conf is None else found.conf
    maps = decode_window(
        encode_window(WindowMaps(found.depth, conf, found.extrinsics, found.intrinsics, found.sky))
    )
    half = len(one.earlier_frames)
    ends = (
        _link(store, one.earlier, one.earlier_frames, maps, range(half)),
        _link(store, one.later, one.later_frames, maps, range(half, len(frames))),
    )
    to = ends[0].to.after(ends[1].to.inverse())
    worst = max(ends, key=lambda link: (len(link.flags), link.turn_deg))
    agrees = all(
        not link.broken and link.inliers > INLIERS and link.turn_deg < TURN_DEG for link in ends
    )
    return {
        **link_facts(Link(**{**vars(worst), "to": to})),
        "later": one.later,
        "earlier": one.earlier,
        "frames": [list(one.earlier_frames), list(one.later_frames)],
        "cosine": one.cosine,
        "accepted": agrees,
    }


def _link(
    store: SequenceStore,
    window: int,
    frames: Sequence[int],
    maps: WindowMaps,
    rows: Sequence[int],
) -> Link:
    line = store.lines[window]
    own = shared_frames(store.window(window), [line["frames"].index(one) for one in frames])
    prior = 1.0 if line["kind"] == "depth_m" else None
    return link_windows(own, shared_frames(maps, rows), prior)


def _is_near(
    row: Mapping[str, Any], windows: Sequence[Similarity], lines: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether a loop moves its later window by little, against the path between."""
    earlier, later = row["earlier"], row["later"]
    moved = windows[earlier].after(similarity_of(row)).after(windows[later].inverse())
    places = [
        window.move_points(np.array([line["centre"]]))[0]
        for window, line in zip(windows[earlier : later + 1], lines[earlier : later + 1])
    ]
    path = float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())
    return float(np.linalg.norm(moved.move_points(places[-1][None])[0] - places[-1])) < (
        OF_PATH * path
    )
