"""The journal of a sequence to one scene: where each window is, and how sure that is. Pure.

Lines in; a similarity a window, segments, and numbers for the report out. It can be done again with
other settings, and on the part of a journal that there is.
"""

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from apps.sequence_store import WindowMaps
from runtime.scene.links import GUESSED, WEAK
from runtime.scene.one_scale import scale_factors
from runtime.scene.pose_graph import REJECTED, SIGMAS, Edge
from runtime.scene.similarity import IDENTITY, Similarity
from runtime.scene.stream import StreamFrame
from runtime.scene.true_loops import close_true_loops

DOUBTFUL = 0.1  # weight of a link that is weak or guessed


@dataclass(frozen=True, eq=False)
class SolvedSequence:
    """Windows in the scene's unit and axes.

    Args:
        windows: of each. segments: of each; those of different ones share nothing.
        known: cameras are as they were given; only depth is scaled.
        loops: what became of each, as JSON values.
        drift: standard deviation of the log scale that links add up to, of the longest segment.
        times: as much as that links drift, as loops tell; the most of all segments.
    """

    windows: list[Similarity]
    segments: Sequence[int]
    known: bool
    loops: list[dict[str, Any]]
    drift: float
    times: float = 1.0

    @property
    def longest(self) -> int:
        """The segment of the most windows; the first of them."""
        values, counts = np.unique(self.segments, return_counts=True)
        return int(values[counts.argmax()])

    def place(self, number: int, line: Mapping[str, Any], maps: WindowMaps) -> list[StreamFrame]:
        """A window's frames in the scene."""
        return self._placed(self.windows[number], number, line, maps)

    def place_fill(self, line: Mapping[str, Any], maps: WindowMaps) -> list[StreamFrame]:
        """The new frames of a window that fills a gap, in the scene."""
        onto, new = int(line["onto"]), set(line["new"])
        to = self.windows[onto].after(similarity_of(line["link"]))
        return [one for one in self._placed(to, onto, line, maps) if one.number in new]

    def _placed(
        self, to: Similarity, number: int, line: Mapping[str, Any], maps: WindowMaps
    ) -> list[StreamFrame]:
        poses = maps.extrinsics if self.known else to.move_cameras(maps.extrinsics)[:, :3]
        scale = np.float32(to.scale)
        return [
            StreamFrame(
                frame,
                number,
                self.segments[number],
                maps.depth[row] * scale,
                maps.conf[row],
                None if maps.sky is None else maps.sky[row],
                poses[row],
                maps.intrinsics[row],
            )
            for row, frame in enumerate(line["frames"])
        ]


def solve(
    lines: Sequence[Mapping[str, Any]],
    known: bool = False,
    scale: float = 1.0,
    loops: Sequence[Mapping[str, Any]] = (),
) -> SolvedSequence:
    """Bring all windows into one scene, segment by segment.

    Args:
        known: cameras were given: windows share axes and scale already.
        scale: what all is multiplied by.
        loops: edges between windows: ``later``, ``earlier``, ``accepted``, and ``scale``,
            ``rotation`` and ``translation`` from the later into the earlier one; one that is not
            accepted may have a ``problem`` in place of these.
    """
    segments = array("q", (line["segment"] for line in lines))
    windows: list[Similarity] = []
    told: list[dict[str, Any]] = []
    drift, longest, times = 0.0, 0, 1.0
    for first, last in _runs(segments):
        own = lines[first:last]
        if known:
            windows += _given(own)
            continue
        inside = [
            one
            for one in loops
            if one["accepted"] and first <= one["earlier"] and one["later"] < last
        ]
        solved, weights, more = _segment(own, inside, first)
        windows += solved
        times = max(times, more)
        told += [{**_ends(one), "weight": weight} for one, weight in zip(inside, weights)]
        if len(own) > longest:
            longest, drift = len(own), _drift(own)
    wide = Similarity(np.eye(3), np.zeros(3), scale)
    for one in told:
        one["accepted"] = one["weight"] >= REJECTED
    told += [
        {**_ends(one), "weight": 0.0, "accepted": False, **_problem(one)}
        for one in loops
        if not one["accepted"]
    ]
    windows = [wide.after(one) for one in windows]
    return SolvedSequence(windows, segments, known, told, drift, times)


def _ends(loop: Mapping[str, Any]) -> dict[str, Any]:
    return {name: loop[name] for name in ("later", "earlier")}


def _problem(loop: Mapping[str, Any]) -> dict[str, Any]:
    """Why the network could not look at it, if so."""
    return {"problem": loop["problem"]} if loop.get("problem") else {}


def similarity_of(facts: Mapping[str, Any]) -> Similarity:
    """A link's similarity, from JSON values."""
    rotation, shift = (np.array(facts[name], float) for name in ("rotation", "translation"))
    return Similarity(rotation, shift, float(facts["scale"]))


def _runs(segments: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = 0
    for at in range(1, len(segments) + 1):
        if at == len(segments) or segments[at] != segments[first]:
            yield first, at
            first = at


def _segment(
    lines: Sequence[Mapping[str, Any]], loops: Sequence[Mapping[str, Any]], first: int
) -> tuple[list[Similarity], list[float], float]:
    """Windows of one segment, what each of its loops weighs, and how much more links drift."""
    scales, metric = np.ones(len(lines)), True
    for at, line in enumerate(lines):
        scales[at] = line["link"]["scale"] if at else 1.0
        metric = metric and line["kind"] == "depth_m" and not line["problem"]
    factors = np.ones(len(lines))
    if metric:  # each claims metres
        factors = scale_factors((-np.log(np.cumprod(scales))).tolist())
    windows = [Similarity(np.eye(3), np.zeros(3), float(factors[0]))]
    edges, depth = [], 1.0
    for at, line in enumerate(lines):
        if at:
            link = similarity_of(line["link"])
            link = replace(link, scale=link.scale * float(factors[at] / factors[at - 1]))
            windows.append(windows[-1].after(link))
            if loops:
                edges.append(Edge(at, at - 1, link, _sigmas(line["link"], depth)))
        depth = line.get("median", 1.0)
    if not loops:
        return windows, [], 1.0
    edges += [
        Edge(
            one["later"] - first,
            one["earlier"] - first,
            similarity_of(one),
            _sigmas(one, lines[one["earlier"] - first].get("median", 1.0)),
            loop=True,
        )
        for one in loops
    ]
    solved = close_true_loops(windows, edges)
    return solved.windows, solved.weights, solved.drift


def _sigmas(facts: Mapping[str, Any], depth: float) -> tuple[float, float, float]:
    """How sure a link is; its shift in the unit of the window that it leads to."""
    shift, turn, scale = SIGMAS
    doubt = 1 / math.sqrt(DOUBTFUL) if {WEAK, GUESSED} & set(facts.get("flags", ())) else 1.0
    turn = max(turn, math.radians(facts.get("turn_deg", 0.0)))
    scale = max(scale, facts.get("spread", 0.0))
    return shift * depth * doubt, turn * doubt, scale * doubt


def _given(lines: Sequence[Mapping[str, Any]]) -> list[Similarity]:
    """With known cameras: a window whose cameras tell no scale takes that of its link."""
    windows: list[Similarity] = []
    for line in lines:
        scale = 1.0
        if not line["tells_scale"] and windows and line["link"] is not None:
            scale = windows[-1].scale * line["link"]["scale"]
        windows.append(replace(IDENTITY, scale=scale))
    return windows


def _drift(lines: Sequence[Mapping[str, Any]]) -> float:
    """What the links' own deviations of scale add up to."""
    links = (line["link"] for line in lines[1:])
    return math.sqrt(sum(link["scales_std"] ** 2 for link in links))


def link_numbers(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all links: the middle and the worst of each quality, and how many are flagged."""
    worst = {"used": min, "inliers": min}
    names = ("used", "spread", "scales_std", "inliers", "turn_deg", "shift")
    values, flags = {name: array("d") for name in names}, dict[str, int]()
    for link in (line["link"] for line in lines):
        if link is None:
            continue
        for name in names:
            values[name].append(link[name])
        for flag in link["flags"]:
            flags[flag] = flags.get(flag, 0) + 1
    facts: dict[str, Any] = {"count": len(values["used"])}
    for name, own in values.items():
        if own:
            facts[name] = {
                "median": float(np.median(own)),
                "worst": worst.get(name, max)(own),
            }
    facts["flagged"] = dict(sorted(flags.items()))
    return facts
