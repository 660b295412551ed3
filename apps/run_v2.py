"""Depth Anything V2's ``run.py`` and ``metric_depth/run.py``: photos to pictures of their depth.

Upstream's flags and pixels; what a picture cannot hold is in the description beside it, and in the
formats asked for. A bad photo costs only itself.
"""

import argparse
import io
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, cast

import numpy as np

from apps.estimators import Estimator, Stages
from apps.fit_points import PointFiles, add_fit_options, point_files
from apps.inference import report
from apps.outcome import Outcome
from apps.upstream_v2 import (
    Wanted,
    add_look_options,
    add_model_options,
    add_photo_options,
    find_estimator,
    listed,
    output_names,
    wanted_metric_model,
    wanted_model,
)
from exports.files import FileOptions, depth_files
from exports.png import encode_png
from exports.v2_picture import v2_picture, v2_picture_facts
from runtime.command_line import run_command, sentence
from runtime.errors import InputError
from runtime.files import check_output_folder, write_whole
from runtime.photo.decode import photo_size, read_photo
from runtime.photo.find import find_photos
from runtime.predict.found import Prediction
from runtime.predict.pipeline import Ended, Loaded, run_pipeline
from runtime.scene.known_points import KnownPoints

log = logging.getLogger("run")

RELATIVE_EXAMPLES = """examples:
  python run.py --encoder vits --img-path assets/examples --outdir depth_vis
  python run.py --encoder vits --img-path photo.jpg --pred-only --grayscale
  python run.py --model demo --img-path photos/ --formats png16,npz
  python run.py --encoder vits --img-path photos/ --engine artifact
"""
METRIC_EXAMPLES = """examples:
  python metric_depth/run.py --encoder vitl \\
    --load-from checkpoints/depth_anything_v2_metric_hypersim_vitl.pth \\
    --max-depth 20 --img-path photos/ --outdir out/ --save-numpy
  python metric_depth/run.py --model vits-outdoor --img-path street.jpg --formats png16
"""


@dataclass(frozen=True)
class Look:
    """What each photo gets.

    Args:
        pred_only, grayscale, colormap: as for ``v2_picture``.
        formats: of ``exports.files.FORMATS``, beside the picture.
        save_numpy: ``<name>_raw_depth_meter.npy``, too: float32 (H, W), metres.
    """

    pred_only: bool = False
    grayscale: bool = False
    colormap: Optional[str] = None
    formats: tuple[str, ...] = ()
    save_numpy: bool = False


def build_parser(metric: bool = False) -> argparse.ArgumentParser:
    """The command line of ``run.py``, or of ``metric_depth/run.py``."""
    what = "metric depth" if metric else "relative depth (disparity)"
    parser = argparse.ArgumentParser(
        prog="metric_depth/run.py" if metric else "run.py",
        description=f"Pictures of the {what} of photos, by Depth Anything V2, pixel for pixel as "
        "upstream's script paints them. <name>.json beside each says what it holds.",
        epilog=METRIC_EXAMPLES if metric else RELATIVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_photo_options(parser, "vis_depth")
    add_model_options(parser, metric)
    add_look_options(parser)
    add_fit_options(parser)
    if metric:
        parser.add_argument(
            "--save-numpy",
            action="store_true",
            help="also <name>_raw_depth_meter.npy: float32, metres, the photo's pixels",
        )
    return parser


def main(argv: Optional[Sequence[str]] = None, metric: bool = False) -> int:
    """Run the command line; returns the exit status."""
    return run_command(
        build_parser(metric),
        lambda args: run(args, wanted_metric_model(args) if metric else wanted_model(args)),
        argv,
        "stopped; the photos done so far stay",
    )


def run(args: argparse.Namespace, wanted: Wanted) -> int:
    """Do the job; returns the exit status."""
    check_output_folder(args.outdir)
    look = Look(
        args.pred_only,
        args.grayscale,
        args.colormap,
        args.formats,
        getattr(args, "save_numpy", False),
    )
    fit = point_files(args, args.img_path[0])
    places = places_of(args.img_path, args.outdir)
    if fit is not None:
        fit.check(list(places))
    estimator = find_estimator(wanted, sizes_of(places))
    log.info(
        "%s, %s, licence %s", estimator.model, estimator.facts["how"], estimator.weights.licence
    )
    failed = report(run_photos(places, estimator, look, fit), len(places), name_files=True)
    print(f"{len(places) - failed} done, {failed} failed -> {args.outdir}/", file=sys.stderr)
    return 1 if failed else 0


def places_of(sources: Sequence[Path], outdir: Path) -> dict[Path, Path]:
    """The photos, each with the path of its files without a suffix.

    Raises:
        InputError: no such place, no photo there, or a picture would take a photo's place.
    """
    places: dict[Path, Path] = {}
    for source in sources:
        is_list = source.suffix.lower() == ".txt" and not source.is_dir()
        photos = listed(source) if is_list else find_photos(source, True, [outdir])
        root = source if source.is_dir() else source.parent
        names = output_names(photos, root)
        places.update({photo: outdir / names[photo] for photo in photos})
    if len(sources) > 1:
        places = {
            photo: outdir / name for photo, name in output_names(list(places), Path()).items()
        }
    taken = {photo.resolve() for photo in places}
    for photo, base in places.items():
        if picture_of(base).resolve() in taken:
            raise InputError(
                f"{picture_of(base)}: the picture of {photo} would take the place of a photo; name "
                "another --outdir"
            )
    return places


def picture_of(base: Path) -> Path:
    """Where a photo's picture goes."""
    return base.with_name(base.name + ".png")


def sizes_of(photos: Iterable[Path]) -> Iterator[tuple[int, int]]:
    """Height and width of those that can be read; of the others, it is said later why not."""
    for photo in photos:
        try:
            yield photo_size(photo)
        except InputError:
            continue


def run_photos(
    places: dict[Path, Path],
    estimator: Estimator,
    look: Look,
    fit: Optional[PointFiles] = None,
) -> Iterator[Outcome]:
    """Estimate, paint and write each photo; a bad one becomes an outcome with an error.

    The next photo is read, and the last one painted, while one is in the network.

    Args:
        fit: where known points are, by which depth becomes metres.
    Yields:
        outcomes in the order of the photos.
    Raises:
        ArtifactError, DeviceError, OSError: nothing can run any more, or the disk is full or gone;
            photos done so far stay.
    """
    model = cast(Stages, estimator.predict)

    def load(photo: Path) -> Loaded:
        rgb = read_photo(photo)
        points = None if fit is None else fit.of(photo)
        return _Photo(rgb, model.prepare(rgb), {}, points)

    def write(photo: Path, loaded: Loaded, depth: np.ndarray, seconds: float) -> _Written:
        assert isinstance(loaded, _Photo)
        found, _ = model.finish(loaded.prepared, depth, seconds)
        if loaded.points is not None:
            found = found.in_metres(loaded.points)
        files = write_files(found, photo, loaded.rgb, places[photo], look)
        return _Written(files, found.value_range)

    for ended in in_order(places, run_pipeline(places, [model], load, write)):
        if ended.result is None:
            assert ended.error is not None
            yield Outcome(ended.source, error=sentence(ended.error, str(ended.source)))
            continue
        low, high = ended.result.value_range
        if low == high:
            log.warning("%s: depth is constant, %g; the picture is black", ended.source, low)
        yield Outcome(ended.source, ended.result.files)


@dataclass(frozen=True)
class _Photo(Loaded):
    """A photo, and its known points."""

    points: Optional[KnownPoints] = None


@dataclass(frozen=True)
class _Written:
    """A photo's files, and what their depth goes from and to."""

    files: list[Path]
    value_range: tuple[float, float]


def in_order(
    sources: Iterable[Path], coming: Iterable[Ended[Path, _Written]]
) -> Iterator[Ended[Path, _Written]]:
    """What becomes of each source, in their order: those that are early wait."""
    early: dict[Path, Ended[Path, _Written]] = {}
    coming = iter(coming)
    for source in sources:
        while source not in early:
            ended = next(coming)
            early[ended.source] = ended
        yield early.pop(source)


def write_files(
    found: Prediction, photo: Path, rgb: np.ndarray, base: Path, look: Look
) -> list[Path]:
    """Write a photo's picture, the files asked for, and their description, which comes last.

    Raises:
        OSError: the disk refuses.
    """
    picture = v2_picture(found, None if look.pred_only else rgb, look.grayscale, look.colormap)
    files = {picture_of(base): encode_png(picture, found.facts())}
    others = {"picture": picture_of(base).name}
    if look.save_numpy:
        buffer = io.BytesIO()
        np.save(buffer, found.depth)
        raw = base.with_name(f"{base.name}_raw_depth_meter.npy")
        files[raw], others["npy"] = buffer.getvalue(), raw.name
    options = FileOptions(look.formats, look.colormap or "Spectral_r") if look.formats else None
    more = {"picture": v2_picture_facts(found, look.grayscale, look.colormap)}
    for suffix, data in depth_files(
        found, photo.name, options, base=base.name, others=others, more=more
    ):
        files[base.with_name(base.name + suffix)] = data
    for file, data in files.items():
        write_whole(file, data)
    return list(files)
