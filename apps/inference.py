"""The main job: photos in input_images/ to depth in output_depth/.

Chooses a model and its artifacts, compiles them first if there are none, shows progress, counts.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Optional

from apps.compiled import ARTIFACTS, choose_or_compile, shape_of
from apps.fit_points import add_fit_options, point_files
from apps.folder import FolderJob, check_points, run_folder
from apps.outcome import Outcome
from apps.scene_folder import run_scene_folder
from compile.fetch import WITHOUT_WEIGHTS, local_checkpoint
from compile.registry import DEMO, MODELS
from exports.colour import COLORMAPS
from exports.files import FORMATS, PHOTO_FORMATS, POINT_FORMATS
from exports.photo_points import refuse_relative
from runtime.command_line import UsageError, above_zero, positive, run_command, some_of
from runtime.engines import usual_streams
from runtime.files import check_output_folder
from runtime.photo.decode import DECODES, FULL, MAX_PIXELS
from runtime.predict.choose import PHOTOS, SCENE, Choice, choose, read_artifacts
from runtime.predict.found import provenance_of
from runtime.predict.predictor import Predictor
from runtime.predict.scenes import ScenePredictor
from runtime.scene.focal import refuse_useless_focal
from runtime.walk import FOLDERS, LeftOut

LINE_EVERY_S = 30.0
SCENE_ONLY = ("colmap", "depth_vis")  # formats of photos that show one scene

EXAMPLES = """examples:
  python inference.py                                        input_images/ -> output_depth/
  python inference.py --model vits-indoor --formats npz,png16
  python inference.py --input holiday/ --recursive --output depth/ --side-by-side
  python inference.py --model da3-small --views all --input room/
  python inference.py --model da3-small --views all --input room/ --formats glb,colmap
  python inference.py --model da3metric-large --focal-px 1400    metres; or as EXIF says
  python inference.py --artifact artifacts/vits-518x518-b1-onnx --input photo.jpg
  python inference.py --input photo.jpg --fit-points known.csv    metres from any model
"""

log = logging.getLogger("inference")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="inference.py",
        description="Estimate the depth of photos. Each photo gets the files asked for, on its own "
        "pixel grid, and a .json that says what they hold.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model", choices=list(MODELS), help="default: the first that has weights here"
    )
    parser.add_argument(
        "--artifact",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="compiled artifacts to use, or a folder of them; default: the model's in artifacts/",
    )
    parser.add_argument("--input", type=Path, default=Path("input_images"), help="folder or file")
    parser.add_argument("--output", type=Path, default=Path("output_depth"), help="folder")
    parser.add_argument(
        "--formats",
        type=some_of((*PHOTO_FORMATS, *SCENE_ONLY)),
        default=("png", "png16", "npz"),
        metavar="LIST",
        help=f"of {','.join(FORMATS)}; of what is in metres also {','.join(POINT_FORMATS)}; with "
        f"--views all {','.join(POINT_FORMATS)} are of the whole scene, and so are "
        f"{','.join(SCENE_ONLY)}; default png,png16,npz",
    )
    parser.add_argument("--colormap", choices=COLORMAPS, default="Spectral_r")
    parser.add_argument("--side-by-side", action="store_true", help="also photo | colour map")
    parser.add_argument(
        "--views",
        choices=("one", "all"),
        default="one",
        help="all: the photos show one scene; depth shares a scale, and cameras.json is written",
    )
    parser.add_argument(
        "--focal-px",
        type=above_zero,
        metavar="F",
        help="focal length of the camera in pixels of the photos, for da3metric-large; default: "
        "each photo's EXIF, and without it depth stays relative",
    )
    add_fit_options(parser)
    parser.add_argument("--recursive", action="store_true", help="search sub-folders")
    parser.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help=f"refuse larger photos; default {MAX_PIXELS:,}",
    )
    parser.add_argument(
        "--decode",
        choices=DECODES,
        default=FULL,
        help="reduced: large JPEGs at 1/2, 1/4 or 1/8 of each side, as far as the network needs no "
        "more; faster, and depth differs a little (docs/performance-jobs.md). Not with "
        "--side-by-side",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads of the engine")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run_command(
        build_parser(),
        lambda args: run(args, ask=not arguments),
        arguments,
        "stopped; the photos done so far stay",
    )


def run(args: argparse.Namespace, ask: bool = False) -> int:
    """Do the job; ``ask``: which model, if there is a terminal and several are there."""
    if args.views == "all" and args.decode != FULL:
        raise UsageError("--decode reduced: only for photos on their own; leave it out")
    if args.decode != FULL and args.side_by_side:
        raise UsageError("--side-by-side shows the whole photo: not with --decode reduced")
    scene_only = [name for name in args.formats if name in SCENE_ONLY]
    if scene_only and args.views == "one":
        raise UsageError(f"--formats {','.join(scene_only)}: of a scene; add --views all")
    of_scene = (*SCENE_ONLY, *POINT_FORMATS) if args.views == "all" else ()
    if args.views == "all" and args.fit_points is not None:
        raise UsageError("--fit-points: only for photos on their own; leave --views out")
    job = FolderJob(
        source=args.input,
        output=args.output,
        formats=tuple(name for name in args.formats if name not in of_scene),
        colormap=args.colormap,
        side_by_side=args.side_by_side,
        recursive=args.recursive,
        max_pixels=args.max_pixels,
        focal_px=args.focal_px,
        decode=args.decode,
        fit=point_files(args, args.input),
        scene_formats=tuple(name for name in args.formats if name in of_scene),
    )
    # Before a compile: what cannot end well must not take a minute
    check_output_folder(job.output)
    left_out = LeftOut()
    photos = job.photos(left_out)
    if str(left_out):
        hint = "; --recursive takes folders, too" if left_out.kinds[FOLDERS] else ""
        log.info("%s: %s%s", job.source, left_out, hint)
    if job.fit is not None:
        job.fit.check(photos)
    use = SCENE if args.views == "all" else PHOTOS
    if args.artifact:
        chosen = choose(args.artifact, args.model or "", use, device=args.device)
        if use == SCENE:
            chosen = chosen.of_one_size(map(shape_of, photos))
    else:
        model = args.model or choose_model(ask)
        points = use == PHOTOS and any(name in POINT_FORMATS for name in job.formats)
        by_focal = use == PHOTOS and (points or MODELS[model].metric_focal_px is not None)
        if points and job.fit is None and MODELS[model].metric_focal_px is None:
            refuse_relative(MODELS[model].kind)
        refuse_useless_focal(model, by_focal, job.focal_px is not None, "--focal-px")
        chosen = choose_or_compile(model, photos, use, device=args.device)
    pending = outcomes(job, photos, chosen, use, args.device, args.threads)  # verifies files
    started = time.perf_counter()
    failed = report(pending, len(photos))
    rate = len(photos) / (time.perf_counter() - started)
    print(f"{len(photos) - failed} done, {failed} failed, {rate:.2f} images/s -> {job.output}/")
    return 1 if failed or left_out.unread else 0


def outcomes(
    job: FolderJob,
    photos: Sequence[Path],
    chosen: Choice,
    use: str,
    device: str,
    threads: Optional[int],
) -> Iterator[Outcome]:
    """Process the photos: each for itself, or all as one scene."""
    if use == SCENE:
        scene = ScenePredictor(chosen.artifacts, device, threads)
        announce(chosen)
        return run_scene_folder(job, scene, photos=photos)
    streams = usual_streams(chosen.artifacts[0].manifest.target, device)
    predictor, *beside = (Predictor(chosen.artifacts, device, threads) for _ in range(streams))
    check_points(job, predictor, "--focal-px")
    announce(chosen)
    return run_folder(job, predictor, photos, beside)


def choose_model(ask: bool) -> str:
    """The model to use if none is named: the first with real weights, by the registry's order.

    On a terminal that offers several it asks, if it may.
    """
    manifests = (
        [one.manifest for one in read_artifacts([ARTIFACTS])[0]] if ARTIFACTS.is_dir() else []
    )
    compiled = {m.model for m in manifests}
    real = {m.model for m in manifests if not m.weights.seeded}
    real |= {name for name, row in MODELS.items() if local_checkpoint(row)}
    names = [name for name in MODELS if name in compiled | real]
    default = next((name for name in names if name in real), WITHOUT_WEIGHTS)
    if not (ask and len(names) > 1 and sys.stdin.isatty() and sys.stderr.isatty()):
        return default
    for number, name in enumerate(names, start=1):
        row = MODELS[name]
        state = "compiled" if name in compiled else "to be compiled"
        print(f"  {number}  {name:14} {row.kind:10} {row.licence:14} {state}", file=sys.stderr)
    while True:
        offer = f"model [1-{len(names)}, Enter for {default}]: "
        print(offer, end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if answer.strip() in names:
            return answer.strip()
        if not answer.strip():
            return default
        if answer.strip().isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        print(f"{answer.strip()!r}: give a number or a name from the list", file=sys.stderr)


def announce(chosen: Choice) -> None:
    """Say what is about to run, and loudly if its numbers mean nothing."""
    m, provenance = chosen.artifacts[0].manifest, provenance_of(chosen.artifacts[0])
    sizes = ", ".join(
        "{}x{}".format(*one.manifest.input.size_hw)
        + (f" x {one.manifest.views} views" if one.manifest.views > 1 else "")
        for one in chosen.artifacts
    )
    log.info(
        "%s on %s %s (%s), licence %s", m.model, m.target, m.precision, sizes, provenance.licence
    )
    if m.output.metric_focal_px is not None:
        log.info(
            "depth is in metres if the focal length is known (EXIF or --focal-px), else relative; "
            "each photo's .json says which"
        )
    if m.model == DEMO:
        log.info(
            "demo is our own small model, trained on generated scenes only; "
            "get the official weights with: make checkpoints MODEL=vits"
        )
    if m.weights.seeded:
        log.warning(
            "RANDOM WEIGHTS: the pipeline is real, the depth means nothing. "
            "Get the real ones with: make checkpoints MODEL=%s",
            m.model,
        )


def report(outcomes: Iterable[Outcome], total: int, name_files: bool = False) -> int:
    """Show progress and errors; returns the number of photos that failed.

    Args:
        name_files: also the first file of each photo, on stdout.
    """
    from tqdm import tqdm

    failed, last_line = 0, time.monotonic()
    with tqdm(total=total, unit="photo", disable=not sys.stderr.isatty()) as bar:
        for number, outcome in enumerate(outcomes, start=1):
            if outcome.error is not None:
                failed += 1
                tqdm.write(f"failed: {outcome.error}", file=sys.stderr)
            elif name_files:
                tqdm.write(str(outcome.files[0]))
            bar.update()
            if bar.disable and time.monotonic() - last_line > LINE_EVERY_S:
                last_line = time.monotonic()
                log.info("%d of %d photos, %d failed", number, total, failed)
    return failed


if __name__ == "__main__":
    sys.exit(main())
