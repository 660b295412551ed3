"""What the commands of Depth Anything V2 share: their flags, and the model or artifact behind them.

Arguments as upstream has them, and some of ours, in; an estimator out. Weights that upstream's
scripts take from a fixed path are looked for where all commands here look for them.
"""

import argparse
import dataclasses
import importlib.util
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from apps.compiled import choose_or_compile
from apps.estimators import Estimator, artifact_estimator, eager_estimator
from compile.fetch import fetch_checkpoint, local_checkpoint
from compile.registry import DEMO, MODELS, ROWS, SIZES, ModelSpec
from exports.colour import COLORMAPS
from exports.files import FORMATS
from runtime.command_line import UsageError, above_zero, positive, some_of
from runtime.errors import CheckpointError, InputError, first_line
from runtime.hub import FOLDER
from runtime.photo.preprocess import network_size
from runtime.predict.choose import PHOTOS
from serve.batch.manifests import read_rows

AUTO, EAGER, ARTIFACT = ENGINES = ("auto", "eager", "artifact")
ENCODERS = (*SIZES, "vitg")  # upstream's --encoder
MAX_DEPTH_M = 20.0  # upstream's --max-depth
NAMES = [row.name for row in ROWS if row.family == "v2"]

log = logging.getLogger(__name__)

Size = tuple[int, int]


@dataclass(frozen=True)
class Wanted:
    """A model, where its weights come from, and how it is to run.

    Args:
        spec: its row; ``max_depth_m`` may be another than the table's.
        checkpoint: a file; None: the official weights, wherever they are.
        input_size: pixels that a photo's shorter side is resized to.
        engine: of ``ENGINES``.
    """

    spec: ModelSpec
    checkpoint: Optional[Path]
    input_size: int
    engine: str = AUTO
    device: str = "auto"


def add_photo_options(parser: argparse.ArgumentParser, outdir: str) -> None:
    """Which photos, and the folder that takes what becomes of them."""
    parser.add_argument(
        "--img-path",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="photos, folders (searched with all below them), or .txt lists of paths",
    )
    parser.add_argument("--outdir", type=Path, default=Path(outdir), help="default %(default)s")


def add_model_options(parser: argparse.ArgumentParser, metric: bool = False) -> None:
    """Which model, with which weights, and how it runs."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--encoder",
        choices=ENCODERS,
        help="default: the one that --load-from's name says, else vitl"
        if metric
        else "default: vitl",
    )
    if metric:
        group.add_argument(
            "--load-from",
            type=Path,
            metavar="FILE",
            help="metric weights; default: the official ones, "
            "checkpoints/depth_anything_v2_metric_hypersim_<encoder>.pth",
        )
        group.add_argument(
            "--max-depth",
            type=above_zero,
            metavar="METRES",
            help="at which the weights saturate; default: what the file's name says "
            "(hypersim 20, vkitti 80), else 20",
        )
    else:
        group.add_argument("--checkpoint", type=Path, metavar="FILE", help="weights of the encoder")
    group.add_argument(
        "--model",
        choices=[name for name in NAMES if not metric or MODELS[name].kind == "depth_m"],
        metavar="NAME",
        help="a row of the table of models instead of an encoder"
        + ("" if metric else f", as {DEMO}, which is shipped"),
    )
    group.add_argument(
        "--input-size",
        type=positive,
        metavar="N",
        help="pixels that a photo's shorter side is resized to, aspect kept; default 518, or what "
        "suits the model's weights",
    )
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default=AUTO,
        help="eager: PyTorch, upstream's very pixels; artifact: a compiled graph, compiled once if "
        "there is none; auto: eager if PyTorch is installed (default)",
    )
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")


def add_look_options(parser: argparse.ArgumentParser) -> None:
    """What is written."""
    group = parser.add_argument_group("output")
    group.add_argument("--pred-only", action="store_true", help="depth alone, without the photo")
    group.add_argument("--grayscale", action="store_true", help="grey levels, no colours")
    group.add_argument(
        "--colormap",
        choices=COLORMAPS,
        help="near is the warm or bright end; default: upstream's Spectral palette",
    )
    group.add_argument(
        "--formats",
        type=some_of(FORMATS),
        default=(),
        metavar="LIST",
        help=f"also these files, exact or on scale: of {','.join(FORMATS)}",
    )


def wanted_model(args: argparse.Namespace) -> Wanted:
    """The model of ``run.py`` and ``run_video.py``.

    Raises:
        UsageError: --model with --encoder.
        CheckpointError: no such file.
    """
    _refuse_both(args.model, "--encoder", args.encoder)
    spec = MODELS[args.model or args.encoder or "vitl"]
    return _wanted(spec, _on_disk(args.checkpoint, None), args)


def wanted_metric_model(args: argparse.Namespace, relative: bool = False) -> Wanted:
    """The model of ``metric_depth/run.py``: what the file's name says comes first.

    Args:
        relative: take weights whose name says that they are relative, too.

    Raises:
        UsageError: --model with --encoder or --load-from.
        CheckpointError: no such file, or its name says that the weights are relative, or another
            encoder's.
    """
    _refuse_both(args.model, "--encoder", args.encoder)
    _refuse_both(args.model, "--load-from", args.load_from)
    row = MODELS[args.model] if args.model else _row_of_file(args.load_from)
    if relative and row is not None and row.kind != "depth_m":
        if args.max_depth is not None:
            raise UsageError(f"--max-depth does nothing to {row.name}; leave it out")
        return _wanted(row, _on_disk(args.load_from, row), args)
    if args.load_from is not None and row is not None:
        _check_metric(args.load_from, row, args.encoder)
    if args.load_from is None and row is None:  # upstream's default file
        row = MODELS.get(f"{args.encoder or 'vitl'}-indoor")
    spec = row or dataclasses.replace(
        MODELS[args.encoder or "vitl"], kind="depth_m", max_depth_m=MAX_DEPTH_M
    )
    assert spec.max_depth_m is not None
    max_depth_m = args.max_depth or spec.max_depth_m
    if row is not None and max_depth_m != row.max_depth_m:
        log.warning(
            "--max-depth %g: the weights of %s were trained with %g, so metres will be off by a "
            "factor of %.3g",
            max_depth_m,
            row.name,
            row.max_depth_m,
            max_depth_m / spec.max_depth_m,
        )
    spec = dataclasses.replace(spec, max_depth_m=max_depth_m)
    return _wanted(spec, _on_disk(args.load_from, row), args)


def find_estimator(wanted: Wanted, sizes_hw: Iterable[Size]) -> Estimator:
    """Load the eager model, or the artifacts, that the photos or frames go through.

    An artifact has fixed sizes. If all photos have one size, that exact one is compiled once, and
    the grid is upstream's; else the model's usual sizes, which stretch photos by a few per cent.

    Args:
        sizes_hw: height and width of the photos; looked at only for an artifact.
    Raises:
        UsageError: an artifact of weights or of a greatest depth that it is not compiled with.
        CheckpointError: there are no weights, or they do not fit.
        ArtifactError: there is no artifact, and none can be made.
    """
    spec = wanted.spec
    if wanted.engine == EAGER or (wanted.engine == AUTO and _has_torch()):
        checkpoint = wanted.checkpoint or _official(spec)
        return eager_estimator(spec, checkpoint, False, wanted.input_size, wanted.device)
    if wanted.checkpoint is not None or spec != MODELS.get(spec.name):
        raise UsageError(
            "--engine artifact: compiled with the official weights; compile yours with "
            "`python -m compile --checkpoint FILE`, and run inference.py, or leave --engine out"
        )
    exact = {network_size(size_hw, wanted.input_size) for size_hw in sizes_hw}
    size_hw = exact.pop() if len(exact) == 1 else None
    if _has_torch():
        _official(spec)  # no random weights here: say that there are none
    chosen = choose_or_compile(spec.name, [], PHOTOS, size_hw, wanted.device)
    return artifact_estimator([one.path for one in chosen.artifacts], wanted.device)


def listed(source: Path) -> list[Path]:
    """The files that a .txt list names, one a line; empty lines and ``#`` do not count.

    Relative paths begin at the current folder, as upstream has it, or beside the list.

    Raises:
        InputError: the list cannot be read, or names nothing.
    """
    files = []
    for row in read_rows(source):
        name = row.facts["path"]
        if not name.startswith("#"):
            beside = source.parent / name
            files.append(beside if beside.is_file() and not Path(name).is_file() else Path(name))
    if not files:
        raise InputError(f"{source}: names no file; expected one path a line")
    return list(dict.fromkeys(files))


def output_names(files: Sequence[Path], root: Path) -> dict[Path, Path]:
    """What each file's results are called, without a suffix and below the output folder.

    Upstream's name, the file's stem, as long as no two meet; those that would get their path below
    ``root``, and where that is not enough, their own suffix, too.
    """
    names = {file: Path(file.stem) for file in files}
    for longer in (
        lambda file: _below(file, root).with_suffix(""),
        lambda file: _below(file, root),
    ):
        counts = Counter(str(name).casefold() for name in names.values())
        meet = [file for file, name in names.items() if counts[str(name).casefold()] > 1]
        if meet:
            log.info(
                "%d files, such as %s, would have results of one name: each gets more of its path",
                len(meet),
                meet[0],
            )
        names.update({file: longer(file) for file in meet})
    return names


def _below(file: Path, root: Path) -> Path:
    """A file's path below a folder; of files elsewhere, all parts of it that are names."""
    try:
        return file.relative_to(root)
    except ValueError:
        return Path(*(part for part in file.parts if part not in (file.anchor, "..")))


def _wanted(spec: ModelSpec, checkpoint: Optional[Path], args: argparse.Namespace) -> Wanted:
    size = args.input_size or spec.short_side
    return Wanted(spec, checkpoint, size, args.engine, args.device)


def _refuse_both(model: Optional[str], flag: str, given: object) -> None:
    if model is not None and given is not None:
        raise UsageError(f"--model {model} says which weights already: leave {flag} out")


def _row_of_file(file: Optional[Path]) -> Optional[ModelSpec]:
    """The model whose official weights have this name."""
    if file is None:
        return None
    return next((MODELS[name] for name in NAMES if MODELS[name].remote_file == file.name), None)


def _check_metric(file: Path, row: ModelSpec, encoder: Optional[str]) -> None:
    """Refuse weights whose name says that they cannot be meant."""
    if row.kind != "depth_m":
        metric = MODELS.get(f"{row.encoder}-indoor")
        instead = f", as {FOLDER}/{metric.file}" if metric else ""
        raise CheckpointError(
            f"{file}: by its name the weights of {row.name}, which gives relative {row.kind}, not "
            f"metres; give metric ones{instead}"
        )
    if encoder not in (None, row.encoder):
        raise CheckpointError(
            f"{file}: by its name weights of {row.encoder}, but --encoder is {encoder}"
        )


def _on_disk(file: Optional[Path], row: Optional[ModelSpec]) -> Optional[Path]:
    """The file that was named; official weights are also looked for where they usually are."""
    if file is None or file.is_file():
        return file
    if row is None:
        raise CheckpointError(f"{file}: no such file; expected weights of the encoder")
    log.info("%s is not there: looking for %s where weights usually are", file, row.name)
    return None


def _official(spec: ModelSpec) -> Path:
    """A model's own weights, fetched if they are not here."""
    file = local_checkpoint(spec)
    if file is not None:
        return file
    try:
        return fetch_checkpoint(spec)
    except CheckpointError as error:
        shipped = f", or try --model {DEMO}, which is shipped" if spec.kind == "disparity" else ""
        raise CheckpointError(
            f"{FOLDER}/{spec.file}: not there, and it could not be fetched "
            f"({first_line(error.__cause__ or error)}); get it with `make checkpoints "
            f"MODEL={spec.name}`{shipped}"
        ) from error


def _has_torch() -> bool:
    return importlib.util.find_spec("torch") is not None
