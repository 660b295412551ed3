"""Places that a sequence comes back to: found by descriptors, and checked by the network itself.

A first pass that is done in; edges between its windows out. Frames around both ends of a candidate
go through the network together; what comes of it is linked to either window.
"""

import hashlib
import json
import logging
import tempfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Optional

import numpy as np

from apps.sequence_lines import Spans
from apps.sequence_model import WindowModel
from apps.sequence_source import Source
from apps.sequence_store import SequenceStore, WindowMaps, decode_window, encode_window
from apps.sequence_windows import link_facts, shared_frames
from runtime.errors import InputError, first_line
from runtime.files import read_whole, write_whole
from runtime.scene.agreement import Agreement, agreement
from runtime.scene.links import Link, SharedFrames, link_windows
from runtime.scene.loops import ALIKE, APART_FRAMES, Whitener, most_loops, similar_pairs
from runtime.scene.query import SceneQuery
from runtime.scene.similarity import Similarity
from runtime.scene.views import View, fit_view

FILE, FILE_BYTES = "loops.json", 64 << 20
INLIERS, TURN_DEG = 0.7, 5.0  # that both links of a loop need
SEEN, AGREE = 0.1, 0.8  # of what both windows see, and of its depths
RULES = 3  # raised with what is asked of a loop
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
    key = _key(store, alike)
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


def forget_loops(store: SequenceStore) -> None:
    """Remove what an earlier run has found, damaged or not."""
    (store.folder / FILE).unlink(missing_ok=True)


def _key(store: SequenceStore, alike: float) -> str:
    """What loops are found from."""
    digest = hashlib.sha256(json.dumps([RULES, alike, store.header]).encode())
    for line in store.lines:
        digest.update(line["sha256"].encode())
    return digest.hexdigest()


def candidates(store: SequenceStore, alike: float) -> list[Candidate]:
    """Pairs of windows that may show one place, the most alike first, at most one a pair."""
    views, spans = store.header["settings"]["views"], Spans(store.lines)
    with tempfile.TemporaryFile(prefix="depth-descriptors-") as scratch:
        numbers, rows = _whitened(store, scratch)
        if len(numbers) < 2:
            return []
        pairs = similar_pairs(rows, alike, max(APART_FRAMES, 2 * views))
    found: dict[tuple[int, int], Candidate] = {}
    most = most_loops(len(store.lines))
    for later, earlier, cosine in pairs:
        one, other = (spans.around(numbers[at], views // 2) for at in (later, earlier))
        if store.lines[one[0]]["segment"] == store.lines[other[0]]["segment"]:
            candidate = Candidate(one[0], other[0], one[1], other[1], cosine)
            found.setdefault((one[0], other[0]), candidate)
        if len(found) == most:
            break
    return list(found.values())


def _whitened(store: SequenceStore, scratch: IO[bytes]) -> tuple["array[int]", np.ndarray]:
    """Numbers of all frames that are described, and their descriptors, in a file."""
    whitener, numbers = Whitener(), array("q")
    for _, rows in _described(store):
        whitener.add(rows)
    fitted, width = whitener.fitted(), 0
    for own, rows in _described(store):
        done = fitted(rows).astype(np.float16)
        numbers.extend(own)
        scratch.write(done.tobytes())
        width = done.shape[1]
    scratch.flush()
    if not numbers or not width:
        return array("q"), np.zeros((0, 0), np.float16)
    shape = (len(numbers), width)
    return numbers, np.memmap(scratch, np.float16, "r", shape=shape)  # type: ignore[call-overload]


def _described(store: SequenceStore) -> Iterator[tuple[list[int], np.ndarray]]:
    """Frames that no window before has, and their descriptors, window by window."""
    last = -1
    for line in store.lines:
        if line["problem"]:
            continue
        with np.load(store.folder / line["file"], allow_pickle=False) as arrays:
            if "descriptors" not in arrays.files:
                continue
            own = arrays["descriptors"]
        fresh = [at for at, number in enumerate(line["frames"]) if number > last]
        if fresh:
            last = line["frames"][-1]
            yield [line["frames"][at] for at in fresh], own[fresh]


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
    """What the network says of both ends together, or why it says nothing."""
    frames = (*one.earlier_frames, *one.later_frames)
    facts = {
        "later": one.later,
        "earlier": one.earlier,
        "frames": [list(one.earlier_frames), list(one.later_frames)],
        "cosine": one.cosine,
    }
    try:
        found = model.infer([_there(views, number) for number in frames], query)
    except InputError as error:  # as a nested model says of nothing but sky
        log.warning("loop of windows %d and %d: %s", one.earlier, one.later, error)
        return {**facts, "accepted": False, "problem": first_line(error)}
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
    both = _both_see(store, one, to)
    return {
        **facts,
        **link_facts(Link(**{**vars(worst), "to": to})),
        "seen": both.seen,
        "agree": both.agree,
        "accepted": agrees and both.seen > SEEN and both.agree > AGREE,
    }


def _there(views: Mapping[int, View], number: int) -> View:
    if number not in views:
        raise InputError(f"frame {number} cannot be read any more")
    return views[number]


def _both_see(store: SequenceStore, one: Candidate, to: Similarity) -> Agreement:
    """The two windows themselves, the later one moved onto the earlier one by the loop."""
    earlier, later = store.window(one.earlier), store.window(one.later)
    frames = shared_frames(later, range(len(later.depth)))
    moved = SharedFrames(
        frames.depth * np.float32(to.scale),
        frames.conf,
        to.move_cameras(frames.extrinsics),
        frames.sky,
    )
    own = shared_frames(earlier, range(len(earlier.depth)))
    return agreement(own, earlier.intrinsics, moved, later.intrinsics)


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
