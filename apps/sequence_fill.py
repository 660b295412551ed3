"""Depth of frames that took no part in geometry: in windows with the key frames around them.

A first pass over key frames that is done, and the frames once more, in; a store of windows beside
the first one out, each linked to the window of its key frames. It goes on as that pass does.
"""

import contextlib
import hashlib
import itertools
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from apps.scene_options import KEYFRAMES
from apps.sequence_lines import Spans
from apps.sequence_model import WindowModel
from apps.sequence_source import Source, SourceFrame
from apps.sequence_store import SequenceStore, decode_window
from apps.sequence_windows import (
    Noted,
    Ready,
    Seen,
    Views,
    WindowJob,
    link_facts,
    run_planned,
    shared_frames,
    window_bytes,
)
from runtime.scene.links import link_windows
from runtime.scene.stream import Planned
from runtime.scene.views import View

FOLDER = "fill"  # within the first pass's
MOST = 4  # windows of frames that wait for the key frame after them
DISAGREES = "does not agree with the key frames around it"


@dataclass(frozen=True)
class _Fill:
    """Frames that go together: their numbers, those that are new, and whose key frames they are."""

    frames: tuple[SourceFrame, ...]
    new: frozenset[int]
    onto: int

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(frame.number for frame in self.frames)


def fill_store(store: SequenceStore) -> SequenceStore:
    """Where windows that fill the gaps of another store's are kept; not read yet."""
    return SequenceStore(store.folder / FOLDER)


def read_fills(store: SequenceStore) -> Sequence[Mapping[str, Any]]:
    """The lines of windows that fill a store's gaps; none if it has no such, or other key frames.

    Raises:
        InputError: their journal is damaged.
    """
    fills = _own_fills(store)
    return () if fills is None else fills.lines


def is_complete(store: SequenceStore) -> bool:
    """Whether all windows are done, those that fill gaps too if they were asked for.

    Raises:
        InputError: the journal of those is damaged.
    """
    if store.ended is None or not _asks_fills(store):
        return store.ended is not None
    fills = _own_fills(store)
    return fills is not None and fills.ended is not None


def forget_fills(store: SequenceStore) -> None:
    """Remove what fills a store's gaps, damaged or not."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(store.folder / FOLDER)


def _asks_fills(store: SequenceStore) -> bool:
    return bool(store.header["settings"].get("keyframes") == KEYFRAMES[0])


def _own_fills(store: SequenceStore) -> Optional[SequenceStore]:
    """What fills a store's gaps, read; None if that was not asked for, or is not of its windows."""
    fills = fill_store(store)
    if not _asks_fills(store) or not fills.read() or fills.header.get("keys") != _key(store):
        return None
    return fills


def _key(store: SequenceStore) -> str:
    """Which windows of key frames there are."""
    digest = hashlib.sha256()
    for line in store.lines:
        digest.update(line["sha256"].encode())
    return digest.hexdigest()


def run_fills(
    source: Source,
    models: Sequence[WindowModel],
    job: WindowJob,
    store: SequenceStore,
    view: Callable[[np.ndarray], View],
    step: Callable[[], object],
) -> None:
    """Do what is missing of them.

    Args:
        store: of the key frames, all done. step: called for each frame.
    Raises: as ``run_windows``.
    """
    fills = fill_store(store)
    fills.folder.mkdir(parents=True, exist_ok=True)
    fills.begin({"keys": _key(store)}, fills.read() and _own_fills(store) is None)
    try:
        if fills.ended is None:
            done = len(fills.lines)
            plan = itertools.islice(_fills(source, store, job.views), done, None)
            fitted = Views(view, store)
            run_planned(models, job, _ready(plan, fitted), _keeper(store, fills, step))
            fills.end({})
    finally:
        fills.close()


def _ready(plan: Iterator[_Fill], fitted: Views) -> Iterator[Ready]:
    for fill in plan:
        items = tuple(Seen(fitted(frame), frame.name) for frame in fill.frames)
        yield Ready(Planned(fill.numbers, items, fill.onto), Noted())


def _fills(source: Source, store: SequenceStore, views: int) -> Iterator[_Fill]:
    """Windows of the frames between key frames, with as many of those as there is room for."""
    spans, keys = Spans(store.lines), _keys(store)
    key, before = next(keys, None), deque[SourceFrame](maxlen=views)
    gap: list[SourceFrame] = []
    for frame in source.frames():
        if frame.rgb is None:
            continue
        if frame.number == key:
            yield from _of_gap(gap, before, frame, spans, views)
            before.append(frame)
            gap, key = [], next(keys, None)
            continue
        gap.append(frame)
        if len(gap) >= MOST * views:
            yield from _of_gap(gap, before, None, spans, views)
            gap = []
    yield from _of_gap(gap, before, None, spans, views)


def _keys(store: SequenceStore) -> Iterator[int]:
    last = -1
    for line in store.lines:
        for number in line["frames"]:
            if number > last:
                last = number
                yield number


def _of_gap(
    gap: Sequence[SourceFrame],
    before: Sequence[SourceFrame],
    after: Optional[SourceFrame],
    spans: Spans,
    views: int,
) -> Iterator[_Fill]:
    if not gap or not before:
        return
    lines = [line for line in spans.holding(before[-1].number) if not line["problem"]]
    both = [line for line in lines if after is not None and after.number in line["frames"]]
    if not lines:
        return
    line = (both or lines)[-1]
    end = (after,) if both and after is not None and views > 2 else ()
    room = views - 1 - len(end)
    for start in range(0, len(gap), room):
        new = tuple(gap[start : start + room])
        keys = [frame for frame in before if frame.number in line["frames"]]
        keys = keys[-(views - len(new) - len(end)) :]
        numbers = frozenset(frame.number for frame in new)
        yield _Fill((*keys, *new, *end), numbers, line["window"])


def _keeper(
    store: SequenceStore, fills: SequenceStore, step: Callable[[], object]
) -> Callable[[Ready], None]:
    """Keeps windows in their order, each linked to that of its key frames."""

    def keep(ready: Ready) -> None:
        assert ready.found is not None
        data = window_bytes(ready.found)
        maps, numbers = decode_window(data), list(ready.planned.frames)
        line = store.lines[ready.planned.shot]
        known, rows = store.window(line["window"]), line["frames"]
        keys = [number for number in numbers if number in rows]
        link = link_windows(
            shared_frames(known, [rows.index(number) for number in keys]),
            shared_frames(maps, [numbers.index(number) for number in keys]),
            1.0 if line["kind"] == "depth_m" else None,
        )
        facts: dict[str, Any] = {
            "frames": numbers,
            "names": [seen.name for seen in ready.planned.items],
            "new": [number for number in numbers if number not in keys],
            "onto": line["window"],
            "link": link_facts(link),
            "problem": ready.problem or (DISAGREES if link.broken else ""),
            "seconds": round(ready.seconds, 3),
        }
        fills.append(data, facts)
        for _ in facts["new"]:
            step()

    return keep
