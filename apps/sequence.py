"""``python -m apps.sequence run | status | export``: a long video to one scene.

Constant memory, one scale, one range of colours; a run that was stopped goes on by its command.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from apps.run_video import frame_rate
from apps.scene_options import add_window_options
from exports.files import FORMATS
from runtime.command_line import above_zero, positive, run_command, some_of
from runtime.errors import InputError
from runtime.scene.reference_view import DEFAULT_STRATEGY, STRATEGIES

PARTS = ("poses", "cloud", "video")

EXAMPLES = """examples:
  python -m apps.sequence run walk.mp4 --output out --model da3-small
  python -m apps.sequence run photos/ --output out --model artifacts/ --formats npz
  python -m apps.sequence status out
  python -m apps.sequence export walk.mp4 --output out --parts poses,cloud --scale 2.5

The first pass puts the network's windows into <output>/_sequence/; the same command goes on after
whatever stopped it. The second makes all files of them, as often as wanted. More:
docs/long-sequences.md.
"""

log = logging.getLogger("sequence")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.sequence",
        description="Depth and cameras of long videos and many photos, in one scene.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, dest="command")

    def add(name: str, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        command.set_defaults(parser=command)
        return command

    run = add("run", "both passes; goes on where it was stopped")
    export = add("export", "the second pass alone, of what there is")
    status = add("status", "how far a sequence is, as JSON")
    status.add_argument("output", type=Path, metavar="FOLDER")
    for command in (run, export):
        command.add_argument("input", type=Path, help="a video, or a folder of photos")
        command.add_argument("--output", type=Path, required=True, metavar="FOLDER")
        command.add_argument(
            "--fps",
            type=frame_rate,
            metavar="N",
            help="of a video, at most so many frames a second",
        )
        _add_results(command)
    _add_model(run)
    return parser


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("first pass")
    group.add_argument(
        "--model", default="da3-small", help="a model's name, weights or artifacts; %(default)s"
    )
    group.add_argument(
        "--device", default="auto", help="or several, as cuda:0,cuda:1; default auto"
    )
    group.add_argument(
        "--seeded-weights", action="store_true", help="random ones: no depth means anything"
    )
    group.add_argument(
        "--process-res", type=positive, metavar="N", help="default 504; not with artifacts"
    )
    add_window_options(group)
    group.add_argument(
        "--no-cuts", action="store_true", help="do not look for cuts: the frames are one shot"
    )
    group.add_argument("--from-start", action="store_true", help="forget what is there")
    group.add_argument(
        "--preview", type=float, default=5.0, metavar="S", help="seconds between previews; 0: none"
    )
    group.add_argument(
        "--known", type=Path, metavar="FILE", help="cameras that you know, as for `da3 --cameras`"
    )
    group.add_argument("--strategy", choices=STRATEGIES, default=DEFAULT_STRATEGY)


def _add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("results")
    group.add_argument(
        "--formats",
        type=some_of((*FORMATS, "none")),
        default=("png16",),
        metavar="LIST",
        help=f"of each frame's depth: {','.join(FORMATS)} or none; default png16",
    )
    group.add_argument(
        "--parts",
        type=some_of((*PARTS, "none")),
        default=PARTS,
        metavar="LIST",
        help=f"what else: {','.join(PARTS)} or none; default all",
    )
    group.add_argument(
        "--points", type=positive, default=1_000_000, metavar="N", help="of the cloud, at most"
    )
    group.add_argument(
        "--scale", type=above_zero, default=1.0, metavar="F", help="multiply all depth and places"
    )
    group.add_argument(
        "--focal-px", type=above_zero, metavar="F", help="of known poses without one"
    )
    group.add_argument("--ignore-distortion", action="store_true", help="of known cameras")
    group.add_argument("--quiet", action="store_true", help="no progress")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    return run_command(build_parser(), run, argv, "stopped; the same command goes on")


def run(args: argparse.Namespace) -> int:
    """Do a command; returns the exit status."""
    if args.command == "status":
        return _status(args.output)
    from apps.da3_progress import Progress
    from apps.sequence_cameras import known_cameras
    from apps.sequence_job import export_sequence, run_sequence
    from apps.sequence_source import open_source
    from apps.sequence_store import sequence_store
    from apps.sequence_workers import Workers

    source, progress = open_source(args.input, args.fps), Progress(args.quiet)
    if args.command == "export":
        with sequence_store(args.output) as store:
            if not store.read():
                raise InputError(f"{args.output}: no sequence there; begin it with `run`")
            facts = export_sequence(source, store, job_of(args), progress)
        return told(args.output, facts)
    known = None
    if args.known is not None:
        known = known_cameras(args.known, source, args.focal_px, args.ignore_distortion)
    devices = tuple(word.strip() for word in args.device.split(","))
    rest = (args.process_res, None, args.seeded_weights, args.workers, args.engine)
    workers = Workers(args.model, devices, *rest)
    done = run_sequence(source, workers.find(), job_of(args), known, progress, workers)
    return told(args.output, done)


def job_of(args: argparse.Namespace) -> Any:
    """What the options ask for."""
    from apps.sequence_job import SequenceJob
    from apps.sequence_results import Wanted

    parts = set(args.parts) - {"none"}
    wanted = Wanted(
        formats=tuple(name for name in args.formats if name != "none"),
        points=args.points,
        poses="poses" in parts,
        cloud="cloud" in parts,
        video="video" in parts,
    )
    if args.command == "export":
        return SequenceJob(args.output, wanted=wanted, scale=args.scale)
    return SequenceJob(
        args.output,
        args.views,
        args.overlap,
        not args.no_cuts,
        args.strategy,
        args.from_start,
        wanted,
        args.scale,
        args.loops,
        preview_s=args.preview,
        align=args.align,
        keyframes=args.keyframes,
    )


def told(output: Path, facts: dict[str, Any]) -> int:
    """Say what has been made; the exit status is 1 if anything of the input was broken."""
    from apps.sequence_report import JSON, report_text
    from apps.sequence_windows import NO_CAMERA

    print(report_text(facts), end="", file=sys.stderr)
    for name in [*facts["files"], JSON]:
        print(output / name)
    broken = any(row["why"] != NO_CAMERA for row in facts["bad_frames"])
    return 1 if broken or facts["problems"] else 0


def _status(output: Path) -> int:
    from apps.sequence_fill import is_complete
    from apps.sequence_solve import link_numbers
    from apps.sequence_store import read_store

    store = read_store(output)
    frames, last, segments = 0, -1, 0
    for line in store.lines:
        frames += sum(number > last for number in line["frames"])
        last, segments = line["frames"][-1], line["segment"] + 1
    facts = {
        "complete": is_complete(store),
        "windows": len(store.lines),
        "frames": frames,
        "segments": segments,
        "links": link_numbers(store.lines),
        "input": store.header["input"],
        "settings": store.header["settings"],
    }
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
