"""What a sequence's results are, for programs and for people. Pure."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from apps.sequence_fill import is_complete, read_fills
from apps.sequence_lines import Line
from apps.sequence_results import Results, Seen
from apps.sequence_solve import SolvedSequence, link_numbers
from apps.sequence_store import SequenceStore
from exports.colour_range import SHARES
from exports.frame_files import FRAME_SUFFIXES
from runtime.artifact.manifest import OutputSpec
from runtime.predict.found import Provenance

JSON, TEXT = "report.json", "report.txt"
SHOWN = 20


def report_of(
    store: SequenceStore,
    solved: SolvedSequence,
    seen: Seen,
    results: Results,
    output: Path,
    scale: float,
    provenance: Provenance,
    formats: Sequence[str],
) -> dict[str, Any]:
    """All of it as JSON values; nothing in it changes from one run to the next."""
    lines = store.lines
    kind = next((line["kind"] for line in lines if not line["problem"]), lines[0]["kind"])
    bad, shots = [*(store.ended or {}).get("bad", ())], []
    for before, line, after in _with_neighbours(lines):
        bad += line["bad"]
        bad += _nothing_of(before, line, after) if line["problem"] else ()
        if before is not None and before["shot"] != line["shot"]:
            shots.append(line["frames"][0])
    for fill in read_fills(store):
        names = dict(zip(fill["frames"], fill["names"]))
        bad += [[at, names[at], fill["problem"]] for at in fill["new"] if fill["problem"]]
    bad = sorted({row[0]: row for row in bad}.values())
    return {
        **provenance.facts(),
        "kind": kind,
        "unit": OutputSpec(kind).unit,
        "complete": is_complete(store),
        "input": store.header["input"],
        "settings": store.header["settings"],
        "frames": results.frames,
        "windows": len(lines),
        "segments": _segments(store, solved),
        "cuts": shots,
        "bad_frames": [{"frame": number, "name": name, "why": why} for number, name, why in bad],
        "links": link_numbers(lines),
        "loops": solved.loops,
        "scale": {
            "multiplied_by": scale,
            "of_windows": [float(window.scale) for window in solved.windows],
            "drift_of_links_percent": 100 * solved.drift,
            "drift_by_loops_times": solved.times,
            "how": "known cameras" if solved.known else "chained from window to window",
        },
        "range": {"shares": SHARES, "values": seen.limits(), "sky_at": seen.far(kind)},
        "cloud": {"points": results.points, "cube": results.cube, "segment": solved.longest},
        "depth_formats": list(formats),
        "problems": list(results.problems),
        "files": sorted(file.relative_to(output).as_posix() for file in results.files),
    }


def _with_neighbours(
    lines: Iterable[Line],
) -> Iterator[tuple[Optional[Line], Line, Optional[Line]]]:
    """Each line, between the one before it and the one after it."""
    before: Optional[Line] = None
    own: Optional[Line] = None
    for after in lines:
        if own is not None:
            yield before, own, after
        before, own = own, after
    if own is not None:
        yield before, own, None


def _nothing_of(before: Optional[Line], line: Line, after: Optional[Line]) -> list[list[Any]]:
    """Frames of a window without depth that no window beside it has."""
    there = {
        number
        for one in (before, after)
        if one is not None and not one["problem"]
        for number in one["frames"]
    }
    rows = zip(line["frames"], line["names"])
    return [[number, name, line["problem"]] for number, name in rows if number not in there]


def _segments(store: SequenceStore, solved: SolvedSequence) -> list[dict[str, int]]:
    """Which frames share a scale: from each segment's first to its last."""
    found: dict[int, dict[str, int]] = {}
    for line, segment in zip(store.lines, solved.segments):
        first = {"segment": segment, "first": line["frames"][0], "last": 0, "windows": 0}
        row = found.setdefault(segment, first)
        row["last"], row["windows"] = line["frames"][-1], row["windows"] + 1
    return list(found.values())


def earlier_report(output: Path) -> dict[str, Any]:
    """What an earlier second pass said; empty if there was none."""
    try:
        told = json.loads((output / JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def remove_older(output: Path, names: Iterable[str]) -> None:
    """Remove results of an earlier run that this one does not make."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            (output / name).unlink()


def remove_older_depth(folder: Path, before: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Remove frames' files in formats that an earlier pass made and this one does not."""
    kept = {FRAME_SUFFIXES[name] for name in facts["depth_formats"]}
    gone = {FRAME_SUFFIXES.get(name, "") for name in before.get("depth_formats", ())} - kept - {""}
    last = max((row["last"] for row in facts["segments"]), default=-1)
    remove_older(folder, (f"{at:06d}{suffix}" for suffix in gone for at in range(last + 1)))


def report_text(facts: Mapping[str, Any]) -> str:
    """The same for people."""
    links, lines = facts["links"], []
    if "warning" in facts:
        lines.append(f"WARNING: {facts['warning']}")
    size = facts["settings"]["views"]
    lines += [
        f"{facts['frames']} frames in {facts['windows']} windows of {size}, {facts['model']}",
        f"depth is {facts['unit']}; one range of colours: "
        + " to ".join(f"{value:.4g}" for value in facts["range"]["values"]),
    ]
    if links["count"]:
        lines.append(
            f"{links['count']} links: scale spread {links['spread']['median']:.4f} "
            f"(worst {links['spread']['worst']:.4f}), cameras turn by "
            f"{links['turn_deg']['median']:.2f} degrees (worst {links['turn_deg']['worst']:.2f})"
        )
    lines.append(f"expected drift of scale: {facts['scale']['drift_of_links_percent']:.2f} %")
    lines += [f"flagged links: {flag} {count}" for flag, count in links["flagged"].items()]
    if len(facts["segments"]) > 1:
        lines.append(f"{len(facts['segments'])} segments that share NO scale and no place:")
        lines += [
            f"  segment {row['segment']}: frames {row['first']} to {row['last']}"
            for row in facts["segments"][:SHOWN]
        ]
    if facts["cuts"]:
        lines.append(f"cuts before frames {', '.join(map(str, facts['cuts'][:SHOWN]))}")
    lines += [
        f"frame {row['frame']} has no depth: {row['why']}" for row in facts["bad_frames"][:SHOWN]
    ]
    if len(facts["bad_frames"]) > SHOWN:
        lines.append(f"and {len(facts['bad_frames']) - SHOWN} more frames without depth")
    for row in facts["loops"]:
        said = "closed" if row["accepted"] else "REJECTED"
        why = f" ({row['problem']})" if row.get("problem") else ""
        lines.append(f"loop of windows {row['earlier']} and {row['later']}: {said}{why}")
    times = facts["scale"]["drift_by_loops_times"]
    if times > 1:
        lines.append(f"loops say that links drift {times:.3g} times as much as was taken for")
    return "\n".join(lines) + "\n"
