"""Photos to clouds of coloured points in metres: ``python -m apps.points``.

Also Depth Anything V2's ``metric_depth/depth_to_pointcloud.py``, flag by flag. A bad photo costs
only itself.
"""

import argparse
import functools
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from apps.estimators import Estimator, artifact_estimator
from apps.fit_points import PointFiles, add_fit_options, point_files
from apps.inference import report
from apps.outcome import Outcome, outcome_of
from apps.run_v2 import places_of, sizes_of
from apps.upstream_v2 import (
    AUTO,
    ENCODERS,
    ENGINES,
    Wanted,
    add_photo_options,
    find_estimator,
    wanted_metric_model,
)
from compile.registry import MODELS
from exports.files import depth_files
from exports.photo_points import (
    PhotoPoints,
    PointOptions,
    points_glb,
    points_of,
    points_ply,
    refuse_relative,
)
from exports.points import CENTRES, PIXEL_GRIDS, UPSTREAM
from runtime.command_line import UsageError, above_zero, positive, run_command, some_of
from runtime.files import check_output_folder, write_whole
from runtime.photo.decode import MAX_PIXELS, focal_px_of, read_file, read_photo
from runtime.predict.found import Prediction
from runtime.scene.focal import (
    UPSTREAM_FOCAL_PX,
    PhotoCamera,
    camera_of,
    focal_of_fov,
    say_if_assumed,
)
from runtime.scene.intrinsics import read_intrinsics

FORMATS = {"ply": points_ply, "glb": points_glb}

EXAMPLES = """examples:
  python -m apps.points --model vits-indoor --img-path room.jpg
  python -m apps.points --model vits-outdoor --img-path street/ --fov 70 --format ply,glb
  python -m apps.points --model vits --img-path room.jpg --fit-points known.csv
"""
UPSTREAM_EXAMPLES = """examples:
  python metric_depth/depth_to_pointcloud.py --encoder vitl \\
    --load-from checkpoints/depth_anything_v2_metric_hypersim_vitl.pth \\
    --max-depth 20 --img-path photos/ --outdir out/
"""

log = logging.getLogger("points")


@dataclass(frozen=True)
class PointsJob:
    """What to make of each photo, and by which camera.

    Args:
        formats: of ``FORMATS``.
        focal_px: along x and y, each or none; a missing one is the other.
        fov_deg, intrinsics: the camera, said otherwise.
        fit: where known points are, by which any model's depth becomes metres.
    """

    options: PointOptions
    formats: tuple[str, ...] = ("ply",)
    focal_px: tuple[Optional[float], Optional[float]] = (None, None)
    fov_deg: Optional[float] = None
    intrinsics: Optional[Path] = None
    fit: Optional[PointFiles] = None
    max_pixels: int = MAX_PIXELS

    def camera(self, photo: Path, data: bytes, photo_hw: tuple[int, int]) -> PhotoCamera:
        """The camera of a photo: as options say, or its EXIF, or upstream's default."""
        given = None
        fx, fy = self.focal_px
        if fx is not None or fy is not None:
            one, other = fx or fy or 0.0, fy or fx or 0.0
            given = PhotoCamera((one, other), how="--focal-length")
        elif self.intrinsics is not None:
            given = read_intrinsics(self.intrinsics, photo.name, photo_hw)
        return camera_of(photo_hw, lambda: focal_px_of(data), given, self.fov_deg)


def build_parser(upstream: bool = False) -> argparse.ArgumentParser:
    """The command line; ``upstream``: of ``metric_depth/depth_to_pointcloud.py``."""
    parser = argparse.ArgumentParser(
        prog="metric_depth/depth_to_pointcloud.py" if upstream else "python -m apps.points",
        description="Photos to points in metres, one for each pixel, with the photo's colours: "
        "<outdir>/<stem>.ply. The file says unit, axes, focal length, model and licence.",
        epilog=UPSTREAM_EXAMPLES if upstream else EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_photo_options(parser, "vis_pointcloud")
    _add_model_options(parser)
    add_fit_options(parser)
    _add_camera_options(parser)
    _add_point_options(parser, upstream)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model: --load-from, --model or --artifact")
    group.add_argument("--load-from", type=Path, metavar="FILE", help="metric weights of V2")
    group.add_argument("--encoder", choices=ENCODERS, help="of --load-from; default: vitl")
    group.add_argument(
        "--max-depth",
        type=above_zero,
        metavar="METRES",
        help="at which the weights saturate; default: what the file's name says, else 20",
    )
    group.add_argument("--model", choices=list(MODELS), metavar="NAME", help="of the table")
    group.add_argument("--artifact", type=Path, nargs="+", metavar="FOLDER", help="compiled ones")
    group.add_argument(
        "--input-size",
        type=positive,
        metavar="N",
        help="pixels that the shorter side is resized to for the network; default 518, or what "
        "suits the model (upstream takes the photo's height, and more memory than there is)",
    )
    group.add_argument("--engine", choices=ENGINES, default=AUTO, help="as for run.py")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def _add_camera_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        f"camera; default: the photo's EXIF, else {UPSTREAM_FOCAL_PX:g} pixels with a warning"
    )
    for axis in "xy":
        group.add_argument(
            f"--focal-length-{axis}",
            type=above_zero,
            metavar="PX",
            help=f"along {axis}, in pixels of the photo; alone it counts for both axes",
        )
    group.add_argument("--fov", type=above_zero, metavar="DEG", help="how wide the photo is")
    group.add_argument(
        "--intrinsics",
        type=Path,
        metavar="FILE",
        help="3x3 as text, JSON, .npy or .npz; or cameras.json of inference.py --views all",
    )


def _add_point_options(parser: argparse.ArgumentParser, upstream: bool) -> None:
    group = parser.add_argument_group("points")
    group.add_argument(
        "--format",
        type=some_of(tuple(FORMATS)),
        default=("ply",),
        metavar="LIST",
        help="of ply,glb; default ply",
    )
    group.add_argument("--stride", type=positive, default=1, metavar="N", help="each n-th pixel")
    group.add_argument(
        "--max-depth-jump",
        type=above_zero,
        metavar="SHARE",
        help="leave out pixels around which depth jumps by more than this share of it, as 0.05; "
        "default: all pixels",
    )
    grid = UPSTREAM if upstream else CENTRES
    group.add_argument(
        "--pixel-grid",
        choices=tuple(PIXEL_GRIDS),
        default=grid,
        help="where the camera's axis goes through, if no file of intrinsics says it: the photo's "
        f"middle, or upstream's place half a pixel beside it; default {grid}",
    )
    group.add_argument(
        "--float64",
        action="store_true",
        help="upstream's file: double precision, pixels without depth too",
    )
    group.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help=f"refuse larger photos; default {MAX_PIXELS:,}",
    )


def main(argv: Optional[Sequence[str]] = None, upstream: bool = False) -> int:
    """Run the command line; returns the exit status."""
    return run_command(build_parser(upstream), run, argv, "stopped; the photos done so far stay")


def run(args: argparse.Namespace) -> int:
    """Do the job; returns the exit status."""
    check_output_folder(args.outdir)
    _check_camera(args)
    fit = point_files(args, args.img_path[0])
    places = places_of(args.img_path, args.outdir)
    if fit is not None:
        fit.check(list(places))
    job = PointsJob(
        PointOptions(args.stride, args.max_depth_jump, args.pixel_grid, args.float64),
        args.format,
        (args.focal_length_x, args.focal_length_y),
        args.fov,
        args.intrinsics,
        fit,
        args.max_pixels,
    )
    estimator = estimator_of(args, places, job.fit is not None)
    log.info(
        "%s, %s, licence %s", estimator.model, estimator.facts["how"], estimator.weights.licence
    )
    failed = report(run_points(places, estimator, job), len(places), name_files=True)
    print(f"{len(places) - failed} done, {failed} failed -> {args.outdir}/", file=sys.stderr)
    return 1 if failed else 0


def _check_camera(args: argparse.Namespace) -> None:
    given = {
        "--focal-length-x/-y": (args.focal_length_x or args.focal_length_y) is not None,
        "--fov": args.fov is not None,
        "--intrinsics": args.intrinsics is not None,
    }
    names = [name for name, there in given.items() if there]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} both say what the camera is: give one")
    if args.fov is not None:
        focal_of_fov(args.fov, 1)  # refuses what is none


def estimator_of(args: argparse.Namespace, places: Mapping[Path, Path], fit: bool) -> Estimator:
    """The model that the options name.

    Raises:
        UsageError: they name none, or several.
        InputError: its depth is relative, and there are no known points.
        CheckpointError, ArtifactError: as for ``find_estimator``.
    """
    names = [name for name in ("load_from", "model", "artifact") if getattr(args, name) is not None]
    if len(names) != 1:
        raise UsageError("give --load-from FILE, --model NAME or --artifact FOLDER, one of them")
    if names == ["artifact"]:
        estimator = artifact_estimator(args.artifact, args.device)
    else:
        wanted = wanted_of(args, fit)
        if not fit and wanted.spec.metric_focal_px is None:
            refuse_relative(wanted.spec.kind)  # before it is loaded
        v2 = wanted.spec.family == "v2"
        estimator = find_estimator(wanted, sizes_of(places) if v2 else ())
    if not fit and not needs_focal(estimator):
        refuse_relative(estimator.kind)
    return estimator


def wanted_of(args: argparse.Namespace, fit: bool) -> Wanted:
    """The weights that --load-from or --model name; relative ones of V2 only with known points."""
    spec = MODELS[args.model] if args.model else None
    if spec is None or (spec.family == "v2" and spec.kind == "depth_m"):
        return wanted_metric_model(args, relative=fit)
    for flag, given in (("--encoder", args.encoder), ("--max-depth", args.max_depth)):
        if given is not None:
            raise UsageError(f"{flag} does nothing to --model {args.model}; leave it out")
    return Wanted(spec, None, args.input_size or spec.short_side, args.engine, args.device)


def needs_focal(estimator: Estimator) -> bool:
    """Whether its depth becomes metres by a focal length."""
    spec = MODELS.get(estimator.model)
    return spec is not None and spec.metric_focal_px is not None


def run_points(
    places: Mapping[Path, Path], estimator: Estimator, job: PointsJob
) -> Iterator[Outcome]:
    """Estimate and write each photo's points; a bad photo becomes an outcome with an error.

    Raises:
        ArtifactError, DeviceError, OSError: nothing can run any more, or the disk is full or gone;
            photos done so far stay.
    """
    for photo, base in places.items():
        yield outcome_of(photo, functools.partial(write_points, photo, base, estimator, job))


def write_points(photo: Path, base: Path, estimator: Estimator, job: PointsJob) -> list[Path]:
    """Write a photo's points in the formats asked for, and their description, which comes last.

    Raises:
        InputError: no photo, no metres, or known points that do not fit.
        OSError: the disk refuses.
    """
    data = read_file(photo)
    rgb = read_photo(data, job.max_pixels)
    known = None if job.fit is None else job.fit.of(photo)
    camera = job.camera(photo, data, (rgb.shape[0], rgb.shape[1]))
    by_focal = needs_focal(estimator) and camera.known
    found = estimator(rgb, camera.mean_px if by_focal else None)
    if known is not None:
        found = found.in_metres(known)
    remedy = "--focal-length-x, --fov or --intrinsics"
    say_if_assumed(camera, str(photo), rgb.shape[1], remedy)
    return _write(found, points_of(found, rgb, camera, job.options), photo, base, job.formats)


def _write(
    found: Prediction, points: PhotoPoints, photo: Path, base: Path, formats: Iterable[str]
) -> list[Path]:
    written, names = [], {}
    for name in formats:
        file = base.with_name(f"{base.name}.{name}")
        write_whole(file, FORMATS[name](found, points))
        written.append(file)
        names[name] = file.name
    more = {"points": points.facts()}
    for suffix, text in depth_files(
        found, photo.name, None, base=base.name, others=names, more=more
    ):
        written.append(base.with_name(base.name + suffix))
        write_whole(written[-1], text)
    if not points.count:
        log.warning("%s: no pixel has a distance: the files hold no point", photo)
    return written


if __name__ == "__main__":
    sys.exit(main())
