"""Depth Anything V2's ``run_video.py``: videos to videos of their depth.

Upstream's flags; every frame keeps its time, the sound comes along, and one range of depth holds
for a whole video unless each frame's own is asked for. A bad video costs only itself.
"""

import argparse
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Optional, cast

from apps.estimators import Estimator, Stages
from apps.outcome import Outcome, failure
from apps.upstream_v2 import add_look_options, add_model_options, find_estimator, wanted_model
from apps.video import FIXED, FRAME, VIDEO, VideoJob, make_video
from apps.video_facts import depth_key, earlier, result_key, sidecar_of, write_description
from apps.video_render import Look
from apps.video_sources import Source, find_sources, sizes_of
from exports.video import CRF
from runtime.command_line import UsageError, above_zero, run_command
from runtime.files import check_output_folder
from runtime.optional import require

LINE_EVERY_S = 30.0
STEADY_S = 0.5

EXAMPLES = """examples:
  python run_video.py --encoder vits --video-path assets/examples_video --outdir video_depth_vis
  python run_video.py --encoder vits --video-path clip.mp4 --pred-only --grayscale
  python run_video.py --model demo --video-path clip.mov --range frame       upstream's colours
  python run_video.py --model demo --video-path clip.mp4 --formats png16,npz --resume
  python run_video.py --model demo --video-path shots/take1/ --fps 24        numbered pictures

Each frame's depth is estimated alone, and known only up to a scale and a shift of its own. With one
range for the video that shows as shaking; --steady takes it out of the picture, not out of the
numbers in files. For depth that shares one scale use an any-view model on some of the frames:
python inference.py --model da3-small --views all --input frames/
"""

log = logging.getLogger("run_video")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="run_video.py",
        description="Videos of the relative depth (disparity) of videos, by Depth Anything V2: "
        "<outdir>/<name>.mp4, in H.264 that browsers play. <name>.json beside each says what it "
        "holds.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--video-path",
        type=Path,
        required=True,
        metavar="PATH",
        help="a video, a folder (searched with all below it), a .txt list of paths, or with --fps "
        "a folder of numbered pictures",
    )
    parser.add_argument(
        "--outdir", type=Path, default=Path("vis_video_depth"), help="default %(default)s"
    )
    add_model_options(parser)
    add_look_options(parser)
    group = parser.add_argument_group("video")
    group.add_argument(
        "--range",
        type=depth_range,
        default=(VIDEO, None),
        metavar="video|frame|fixed:LO,HI",
        help="what the colours span: the whole video's middle 96 %% (default; two passes), each "
        "frame's own least to greatest as upstream has it, or values of the model",
    )
    group.add_argument(
        "--steady",
        type=above_zero,
        nargs="?",
        const=STEADY_S,
        metavar="SECONDS",
        help="fit each frame's scale and shift to those before it, in the picture alone; forgotten "
        f"within SECONDS (default off; {STEADY_S} if no number is given)",
    )
    group.add_argument(
        "--fps",
        type=frame_rate,
        metavar="N",
        help="of numbered pictures, how many are a second; of a video, at most so many frames a "
        "second are taken, each with its own time",
    )
    group.add_argument(
        "--crf", type=int, default=CRF, help="quality, 0 (nothing lost) to 51; default %(default)s"
    )
    group.add_argument("--no-audio", action="store_true", help="leave the sound out")
    group.add_argument(
        "--resume",
        action="store_true",
        help="keep what is done, and go on where an earlier run was stopped",
    )
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    stopped = "stopped; the same command with --resume goes on"
    return run_command(build_parser(), run, argv, stopped)


def run(args: argparse.Namespace) -> int:
    """Do the job; returns the exit status."""
    require("av", "video")
    job = VideoJob(
        look=Look(args.pred_only, args.grayscale, args.colormap, args.formats),
        range=args.range[0],
        fixed=args.range[1],
        steady=args.steady,
        fps=args.fps,
        sound=not args.no_audio,
        crf=args.crf,
        resume=args.resume,
    )
    check_output_folder(args.outdir)
    sources = find_sources(args.video_path, args.outdir, args.fps)
    wanted = wanted_model(args)
    if job.steady is not None and job.range == FRAME:
        raise UsageError("--steady: with --range frame nothing of it would show; leave one out")
    if job.steady is not None and wanted.spec.kind == "depth_m":
        raise UsageError(f"--steady: {wanted.spec.name} gives metres, which are not to be rescaled")
    estimator = find_estimator(wanted, sizes_of(sources))
    log.info(
        "%s, %s, licence %s", estimator.model, estimator.facts["how"], estimator.weights.licence
    )
    failed = 0
    for outcome in run_videos(sources, estimator, job):
        if outcome.files:
            print(outcome.files[0], flush=True)
        if outcome.error is not None:
            failed += 1
            print(f"failed: {outcome.error}", file=sys.stderr)
    print(f"{len(sources) - failed} done, {failed} failed -> {args.outdir}/", file=sys.stderr)
    return 1 if failed else 0


def run_videos(sources: Sequence[Source], estimator: Estimator, job: VideoJob) -> Iterator[Outcome]:
    """Make each video; a bad one becomes an outcome with an error.

    Raises:
        ArtifactError, DeviceError, OSError: nothing can run any more, or the disk is full or gone;
            what is done stays.
    """
    model = cast(Stages, estimator.predict)
    model_key = repr((estimator.label, estimator.weights, estimator.facts))
    for source in sources:
        try:
            yield run_one(source, model, model_key, job)
        except Exception as error:
            yield failure(source.path, error)


def run_one(source: Source, model: Stages, model_key: str, job: VideoJob) -> Outcome:
    """Make one video and its description, unless ``resume`` finds them done.

    Returns:
        the files; an error, too, if the source is broken somewhere and the rest was done.
    Raises:
        as ``make_video``.
    """
    key = result_key(source, model_key, job) if source.reads_again else ""
    before = earlier(source.base)
    same = key != "" and before.get("made_by") == key
    if job.resume and same and before.get("complete") and source.video.exists():
        log.info("%s: done already", source.video)
        return Outcome(source.path, [source.video, sidecar_of(source.base)])
    report = make_video(source, model, depth_key(source, model_key, job), job, track)
    sidecar = write_description(report, job, key)
    folder = [source.base] if job.look.formats else []
    problems = "; ".join(report.frames.problems)
    said = f"{source.path}: {problems}; the rest is in {source.video}" if problems else None
    return Outcome(source.path, [source.video, *folder, sidecar], said)


def track(items: Iterable[Any], what: str, total: Optional[int]) -> Iterator[Any]:
    """Show how far a video is, and the time left; without a terminal a line now and then."""
    from tqdm import tqdm

    shown = sys.stderr.isatty()
    started = last = time.monotonic()
    bar = tqdm(items, what, total, unit="frame", dynamic_ncols=True, disable=not shown)
    for count, item in enumerate(bar, start=1):
        yield item
        now = time.monotonic()
        if not shown and now - last > LINE_EVERY_S:
            last = now
            left = f", {(total - count) * (now - started) / count:.0f} s left" if total else ""
            log.info("%s: %d of about %s frames%s", what, count, total or "?", left)


def depth_range(text: str) -> tuple[str, Optional[tuple[float, float]]]:
    """Argument type: ``video``, ``frame`` or ``fixed:LO,HI``."""
    if text in (VIDEO, FRAME):
        return text, None
    name, colon, values = text.partition(":")
    try:
        low, high = map(float, values.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if name != FIXED or not colon or not -math.inf < low < high < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give video, frame, or fixed:LO,HI, as fixed:0,12.5"
        )
    return FIXED, (low, high)


def frame_rate(text: str) -> Fraction:
    """Argument type: frames a second, as 24, 29.97 or 30000/1001."""
    try:
        rate = Fraction(text).limit_denominator(100_000)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: give frames a second, as 24 or 30000/1001")
    return rate


if __name__ == "__main__":
    sys.exit(main())
