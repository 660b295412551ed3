"""``da3 video --sequence`` and ``da3 images --sequence``: the options of da3 to a sequence.

Parsed arguments in; files, their paths on stdout, and an exit status out. What has no meaning for a
sequence is refused before any work.
"""

import argparse
from fractions import Fraction
from typing import Any

from apps.da3_inputs import IMAGES, VIDEO, kind_of, unknown
from apps.da3_progress import Progress
from apps.sequence import told
from apps.sequence_cameras import known_cameras
from apps.sequence_job import SequenceJob, run_sequence
from apps.sequence_results import Wanted
from apps.sequence_source import PhotoSource, Source, open_source
from apps.sequence_workers import Workers
from runtime.command_line import UsageError

# da3's formats -> what a sequence has instead
CLOUD, DEPTH = ("glb", "ply"), {"npz": "npz", "mini_npz": "npz", "depth_vis": "png"}
ALWAYS = ("colmap",)  # written with the poses


def run_sequence_job(args: argparse.Namespace) -> int:
    """Do a command; returns the exit status.

    Raises:
        UsageError: options that a sequence has not.
    """
    _refuse(args)
    kind = args.command if args.command != "auto" else kind_of(args.input)
    if kind not in (IMAGES, VIDEO):
        if kind is None:
            raise unknown(args.input)
        raise UsageError(f"--sequence: {args.input} is neither a video nor a folder of photos")
    formats = args.export_format.split("-")
    strange = [name for name in formats if name not in (*CLOUD, *DEPTH, *ALWAYS)]
    if strange:
        raise UsageError(
            f"--export-format {', '.join(strange)}: a sequence has {', '.join((*CLOUD, *DEPTH))} "
            "and colmap"
        )
    depth = (*args.depth_formats, *(DEPTH[name] for name in formats if name in DEPTH))
    wanted = Wanted(
        formats=tuple(dict.fromkeys(depth)),
        cloud=any(name in CLOUD for name in formats),
        points=args.num_max_points,
        unsure=args.conf_thresh_percentile / 100,
    )
    source, known = _source(args, kind), None
    if args.cameras is not None:
        known = known_cameras(args.cameras, source, args.focal_px, args.ignore_distortion)
    devices = tuple(word.strip() for word in args.device.split(","))
    rest = (args.process_res, args.process_res_method, args.seeded_weights)
    workers = Workers(args.model_dir, devices, *rest, args.workers, args.engine)
    job = SequenceJob(
        args.export_dir,
        args.views,
        args.overlap,
        strategy=args.ref_view_strategy,
        from_start=args.auto_cleanup,
        wanted=wanted,
        loops=args.loops,
        align=args.align,
        keyframes=args.keyframes,
    )
    done = run_sequence(source, workers.find(), job, known, Progress(args.quiet), workers)
    return told(args.export_dir, done)


def _refuse(args: argparse.Namespace) -> None:
    """Refuse what would be ignored."""
    if args.export_dir is None:
        raise UsageError("--sequence: name its --export-dir, so that the command can go on there")
    given: dict[str, Any] = {
        "--max-frames": getattr(args, "max_frames", None),
        "--memory-gib": args.memory_gib,
        "--infer-gs": args.infer_gs,
        "--export-feat": args.export_feat,
        "--use-ray-pose": args.use_ray_pose,
        "--export-option": args.export_option,
        "--keep-sky": args.keep_sky,
        "--no-align-to-input-ext-scale": not args.align_to_input_ext_scale,
    }
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise UsageError(f"{', '.join(wrong)}: not with --sequence; leave it out")


def _source(args: argparse.Namespace, kind: str) -> Source:
    if kind == VIDEO:
        asked = any(word.partition("=")[0] == "--fps" for word in args.words)
        return open_source(
            args.input, Fraction(args.fps).limit_denominator(100_000) if asked else None
        )
    extensions = getattr(args, "image_extensions", None)
    if extensions is None:
        return PhotoSource(args.input)
    words = [word.strip().lower().lstrip(".") for word in extensions.split(",") if word.strip()]
    return PhotoSource(args.input, lambda name: name.lower().rpartition(".")[2] in words)
