"""What a video of depth says of itself, and how a later run knows it again.

A finished job in; JSON values out. What an earlier run wrote is removed only if its description
names it.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from apps.video import FIXED, FRAME, Report, VideoJob
from apps.video_sources import Source
from exports.colour_range import BINS, FORGET_S, SHARES, SPEED
from exports.frame_files import FRAME_SUFFIXES
from exports.video import PRESET, odd_sides
from runtime.files import write_whole

SIDECAR = ".json"


def sidecar_of(base: Path) -> Path:
    """Where a video's description is."""
    return base.with_name(base.name + SIDECAR)


def depth_key(source: Source, model_key: str, job: VideoJob) -> str:
    """What the frames' depth depends on."""
    return _hash(model_key, source.state() if source.reads_again else "", str(job.fps))


def result_key(source: Source, model_key: str, job: VideoJob) -> str:
    """What the result depends on."""
    options = job.look, job.range, job.fixed, job.steady, job.sound, job.crf
    return _hash(depth_key(source, model_key, job), repr(options))


def earlier(base: Path) -> dict[str, Any]:
    """What an earlier run said of its result; empty if there is nothing of ours."""
    try:
        told = json.loads(sidecar_of(base).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) and "made_by" in told else {}


def write_description(report: Report, job: VideoJob, key: str) -> Path:
    """Write the description, after frames' files that are no part of the video any more are gone.

    Raises:
        OSError: the disk refuses.
    """
    base = report.source.base
    facts = {**describe(report, job), "made_by": key}
    _remove_older_frames(base, earlier(base), facts)
    text = json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(sidecar_of(base), text.encode("utf-8", "backslashreplace"))
    return sidecar_of(base)


def describe(report: Report, job: VideoJob) -> dict[str, Any]:
    """All of it as JSON values."""
    source, frames, done = report.source, report.frames, report.rendered
    rows, columns = odd_sides(done.size_hw)
    facts = report.template.facts()
    facts.update(min=report.course.least, max=report.course.greatest)
    return {
        **facts,
        "source": source.path.name,
        "files": {
            "video": source.video.name,
            **{
                name: f"{source.base.name}/000000{FRAME_SUFFIXES[name]}"
                for name in job.look.formats
            },
        },
        "frames": done.frames,
        "times": {
            "time_base": str(frames.time_base),
            "first": done.first_pts,
            "last": done.last_pts,
            "how": "each frame's own"
            if frames.retimed == 0
            else f"each frame's own, but {frames.retimed} had none or one that went back",
            "left_out_by_fps": frames.left_out,
        },
        "picture": {
            "size": {"height": done.size_hw[0] + rows, "width": done.size_hw[1] + columns},
            "repeated_at_the_end": {"rows": rows, "columns": columns},
            "layout": "depth" if job.look.pred_only else "frame, 50 white columns, depth",
            "codec": f"h264 yuv420p, x264 {PRESET} crf {job.crf}",
            "aspect_of_a_pixel": str(frames.aspect),
            "colormap": _colormap(report, job),
        },
        "range": _range(report, job),
        "steady": _steady(report, job),
        "sound": _sound(report),
        "preprocessing": report.template.preprocessing(),
        "complete": not frames.problems,
        "problems": frames.problems,
    }


def _colormap(report: Report, job: VideoJob) -> str:
    upstreams = "Spectral_r" if report.template.output.larger_is_nearer else "Spectral"
    return "gray" if job.look.grayscale else job.look.colormap or upstreams


def _range(report: Report, job: VideoJob) -> dict[str, Any]:
    course = report.course
    if job.range == FRAME:
        return {"of": FRAME, "how": "each frame from its own least to its own greatest value"}
    if job.range == FIXED:
        return {"of": FIXED, "how": "as given", "values": job.fixed}
    low, high = (f"{share:.0%}" for share in SHARES)
    if report.two_passes:
        how = f"two passes: {low} to {high} of all values, from a histogram of {BINS:,} bins"
        return {"of": "video", "how": how, "values": course.first}
    how = (
        f"one pass, since the source cannot be read twice: {low} to {high} of the values so far, "
        f"forgotten within {FORGET_S:g} s, moving by {SPEED:.0%} of its span a second at most"
    )
    return {"of": "video", "how": how, "first": course.first, "last": course.last}


def _steady(report: Report, job: VideoJob) -> Any:
    if job.steady is None:
        return None
    return {
        "seconds": job.steady,
        "what": "pictures show scale * value + shift; numbers in files are the network's own",
        "restarts": report.course.restarts,
        "scale": [round(scale, 7) for scale, _ in report.course.affine],
        "shift": [round(shift, 7) for _, shift in report.course.affine],
    }


def _sound(report: Report) -> list[dict[str, Any]]:
    how = {True: "copied packet by packet", False: "left out: MP4 does not hold it"}
    return [
        {"codec": one.codec, "how": how[one.copied], "packets": one.packets} for one in report.sound
    ]


def _remove_older_frames(base: Path, before: dict[str, Any], facts: dict[str, Any]) -> None:
    """Remove the numbered files of an earlier and longer result."""
    for name, first in before.get("files", {}).items():
        suffix = FRAME_SUFFIXES.get(name)
        if name not in facts["files"] or first != f"{base.name}/000000{suffix}":
            continue
        for index in range(facts["frames"], int(before.get("frames", 0))):
            with contextlib.suppress(FileNotFoundError):
                (base / f"{index:06d}{suffix}").unlink()


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]
