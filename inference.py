"""The main job: photos in input_images/ to depth in output_depth/.

A thin door to ``runtime``: picks artifacts, shows progress, counts. Where there is no artifact yet
it runs the compile stage first.
"""

import argparse
import logging
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Optional

from apps.folder import FolderJob, Outcome, find_photos, run_folder
from apps.scene_folder import run_scene
from compile.fetch import WITHOUT_WEIGHTS, local_checkpoint
from compile.registry import DEMO, MODELS
from exports.depth_file import COLORMAPS, FORMATS
from runtime.artifact.folder import Artifact, find_artifacts, read_artifact
from runtime.artifact.manifest import PRECISIONS
from runtime.engines import ENGINES, available
from runtime.errors import ArtifactError, DepthError, InputError
from runtime.photo.decode import DECODES, FULL, MAX_PIXELS, photo_size
from runtime.predict.predictor import Predictor, nearest_bucket
from runtime.predict.scenes import ScenePredictor

ARTIFACTS = Path("artifacts")
LINE_EVERY_S = 30.0
SCENE_VIEWS = 4  # photos of a scene that are compiled for at once

EXAMPLES = """examples:
  python inference.py                                        input_images/ -> output_depth/
  python inference.py --model vits-indoor --formats npz,png16
  python inference.py --input holiday/ --recursive --output depth/ --side-by-side
  python inference.py --model da3-small --views all --input room/
  python inference.py --model da3metric-large --focal-px 1400    metres; or as EXIF says
  python inference.py --artifact artifacts/vits-518x518-b1-onnx --input photo.jpg
"""

log = logging.getLogger("inference")


def formats(text: str) -> tuple[str, ...]:
    """Comma-separated output formats."""
    wanted = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown or not wanted:
        raise argparse.ArgumentTypeError(
            f"{text!r}: give some of {','.join(FORMATS)}, separated by commas"
        )
    return wanted


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number of at least 1")
    return int(text)


def focal(text: str) -> float:
    """A focal length in pixels."""
    try:
        pixels = float(text)
    except ValueError:
        pixels = math.nan
    if not 0 < pixels < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: give pixels, above 0")
    return pixels


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
        type=formats,
        default=("png", "png16", "npz"),
        metavar="LIST",
        help=f"of {','.join(FORMATS)}; default png,png16,npz",
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
        type=focal,
        metavar="F",
        help="focal length of the camera in pixels of the photos, for da3metric-large; default: "
        "each photo's EXIF, and without it depth stays relative",
    )
    parser.add_argument("--recursive", action="store_true", help="folders in folders")
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
        "more; faster, and depth differs a little (docs/performance.md). Not with --side-by-side",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads of the engine")
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    args = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        job = FolderJob(
            args.input,
            args.output,
            args.formats,
            args.colormap,
            args.side_by_side,
            args.recursive,
            args.max_pixels,
            args.focal_px,
            args.decode,
        )
        photos = find_photos(job)  # before a compile: nothing to do must not take a minute
        if args.artifact:
            artifacts = [
                read_artifact(p) for root in args.artifact for p in find_artifacts(root) or [root]
            ]
            if args.model and any(a.manifest.model != args.model for a in artifacts):
                raise InputError(
                    f"--artifact holds {artifacts[0].manifest.model}, not {args.model}"
                )
        else:
            model = args.model or choose_model(ask=not arguments)
            if args.views == "all":
                artifacts = scene_artifacts_of(model, photos)
            else:
                artifacts = artifacts_of(model)
        pending = outcomes(args, job, artifacts)  # verifies files: not part of the rate
        started = time.perf_counter()
        failed = report(pending, len(photos))
        rate = len(photos) / (time.perf_counter() - started)
    except DepthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the photos done so far stay", file=sys.stderr)
        return 130
    print(f"{len(photos) - failed} done, {failed} failed, {rate:.2f} images/s -> {job.output}/")
    return 1 if failed else 0


def outcomes(
    args: argparse.Namespace, job: FolderJob, artifacts: Sequence[Artifact]
) -> Iterator[Outcome]:
    """Process the photos: each for itself, or all as one scene."""
    if args.focal_px is not None and artifacts[0].manifest.output.metric_focal_px is None:
        raise InputError(
            f"--focal-px: the depth of {artifacts[0].manifest.model} does not depend on it; leave "
            "it out"
        )
    if args.views == "all" and args.decode != FULL:
        raise InputError("--decode reduced: only for photos on their own; leave it out")
    if args.views == "all":
        scene = ScenePredictor(artifacts, args.device, args.threads)
        announce(scene.artifacts)
        return run_scene(job, scene)
    predictor = Predictor(artifacts, args.device, args.threads)
    announce(predictor.artifacts)
    return run_folder(job, predictor)


def choose_model(ask: bool) -> str:
    """The model to use when none is named: the first with real weights, by the registry's order.

    On a terminal that offers several it asks, if it may.
    """
    manifests = [artifact.manifest for artifact in readable_artifacts()]
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


def artifacts_of(model: str) -> list[Artifact]:
    """The model's compiled artifacts, of one target and one set of weights; compiled if absent."""
    found = usable_artifacts(model)
    if not found:
        log.info("no artifact of %s in %s/ yet: compiling it, once", model, ARTIFACTS)
        compile_buckets(model)
    elif found[0].manifest.weights.seeded and local_checkpoint(MODELS[model]):
        log.info("%s was compiled without weights and has some now: compiling it again", model)
        compile_buckets(model)
    found = usable_artifacts(model)
    if not found:
        raise ArtifactError(f"no artifact of {model} can run here; see `python -m compile --help`")
    return found


def readable_artifacts() -> list[Artifact]:
    """What is in ``artifacts/``; what cannot be read is named and skipped."""
    artifacts = []
    for path in find_artifacts(ARTIFACTS):
        try:
            artifacts.append(read_artifact(path))
        except ArtifactError as error:
            log.warning("skipped: %s", error)
    return artifacts


def scene_artifacts_of(model: str, photos: Sequence[Path]) -> list[Artifact]:
    """Artifacts of an any-view model for a scene of these photos, all of one size.

    The size is the one nearest to the shape of most photos. Where none takes several photos, one
    is compiled for them all, or for ``SCENE_VIEWS`` of them.
    """
    if not MODELS[model].any_view:
        takers = ", ".join(name for name, row in MODELS.items() if row.any_view)
        raise InputError(f"--views all: {model} takes each photo for itself; use one of {takers}")
    views = min(len(photos), SCENE_VIEWS)
    shape = statistics.median(map(aspect_of, photos))
    for attempt in range(2):
        found = [a for a in usable_artifacts(model, scenes=True) if a.manifest.views >= views]
        if found:
            here = [a.manifest.input.size_hw for a in found]
            size_hw = here[nearest_bucket((1000, round(1000 * shape)), here)]
            return [a for a in found if a.manifest.input.size_hw == size_hw]
        if attempt == 0:
            log.info("no artifact of %s for %d photos yet: compiling it, once", model, views)
            sizes = MODELS[model].usual_sizes
            bucket = nearest_bucket((1000, round(1000 * shape)), sizes)
            compile_buckets(model, sizes[bucket : bucket + 1], views)
    raise ArtifactError(f"no artifact of {model} can run here; see `python -m compile --help`")


def aspect_of(photo: Path) -> float:
    """Width over height of an upright photo; 1 for what cannot be read, which fails later."""
    try:
        height, width = photo_size(photo)
    except InputError:
        return 1.0
    return width / height


def usable_artifacts(model: str, scenes: bool = False) -> list[Artifact]:
    """Artifacts of a model that can run here: real weights first, then the preferred engine.

    Float32 comes before lower precisions, which are for those who ask with ``--artifact``.
    ``scenes``: those that may take several photos, too.
    """
    groups: dict[tuple[bool, int, int, int, str], list[Artifact]] = {}
    for artifact in readable_artifacts():
        m = artifact.manifest
        if m.model == model and available(m.target) and (scenes or m.views == 1):
            rank = list(ENGINES).index(m.target)
            key = (
                m.weights.seeded,
                rank,
                m.input.batch,
                PRECISIONS.index(m.precision),
                repr(m.weights),
            )
            groups.setdefault(key, []).append(artifact)
    return groups[min(groups)] if groups else []


def compile_buckets(
    model: str, sizes_hw: Optional[Sequence[tuple[int, int]]] = None, views: int = 1
) -> None:
    """Compile a model for some sizes, by default its usual ones, in a process of its own."""
    sizes = ["{}x{}".format(*size_hw) for size_hw in sizes_hw or MODELS[model].usual_sizes]
    command = [sys.executable, "-m", "compile", "--model", model, "--seeded-fallback"]
    command += ["--output", str(ARTIFACTS), "--views", str(views), "--sizes", *sizes]
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise ArtifactError(f"compiling {model} failed; the lines above say why")


def announce(artifacts: Sequence[Artifact]) -> None:
    """Say what is about to run, and loudly if its weights are random."""
    m = artifacts[0].manifest
    sizes = ", ".join(
        "{}x{}".format(*a.manifest.input.size_hw)
        + (f" x {a.manifest.views} views" if a.manifest.views > 1 else "")
        for a in artifacts
    )
    log.info("%s on %s (%s), licence %s", m.model, m.target, sizes, m.weights.licence)
    if m.output.metric_focal_px is not None:
        log.info(
            "depth is in metres where the focal length is known (EXIF or --focal-px), else "
            "relative; each photo's .json says which"
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


def report(outcomes: Iterable[Outcome], total: int) -> int:
    """Show progress and errors; returns the number of photos that failed."""
    from tqdm import tqdm

    failed, last_line = 0, time.monotonic()
    with tqdm(total=total, unit="photo", disable=not sys.stderr.isatty()) as bar:
        for number, outcome in enumerate(outcomes, start=1):
            if outcome.error is not None:
                failed += 1
                tqdm.write(f"failed: {outcome.error}", file=sys.stderr)
            bar.update()
            if bar.disable and time.monotonic() - last_line > LINE_EVERY_S:
                last_line = time.monotonic()
                log.info("%d of %d photos, %d failed", number, total, failed)
    return failed


if __name__ == "__main__":
    sys.exit(main())
