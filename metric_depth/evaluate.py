"""python -m metric_depth.evaluate: a model or artifacts against datasets, to JSON and a page."""

import argparse
import dataclasses
import datetime
import logging
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Optional, Union

from apps.estimators import Estimator, artifact_estimator, eager_estimator
from compile.registry import DEMO, MODELS
from metric_depth.datasets import DATASETS, Dataset, DatasetName, open_dataset, parse_name
from metric_depth.judge import Outcome, judge_all, summarise
from metric_depth.report import SCHEMA, picture_path, plain_name, table, write_page, write_run
from metric_depth.scene_estimators import (
    SceneEstimator,
    artifact_scenes,
    check_finds_cameras,
    eager_scenes,
)
from metric_depth.scene_folders import GENERATED_VIEWS, VIEWS, SceneDataset, open_scenes
from metric_depth.scene_judge import SceneOutcome, judge_scenes, sample_facts, summarise_scenes
from metric_depth.scene_report import SCENE_SCHEMA, scene_table, shown_scenes
from runtime.command_line import DONE, FAILED, UsageError, positive, run_command
from runtime.errors import InputError
from runtime.machine import describe_machine
from runtime.optional import require
from runtime.scene.views import PROCESS_RES

LINE_EVERY_S = 60.0
AnyDataset = Union[Dataset, SceneDataset]
AnyOutcome = Union[Outcome, SceneOutcome]

EXAMPLES = """datasets:
  generated            scenes that training never saw, made as they are needed
  motorcycle[:FOLDER]  Middlebury's motorcycle from scikit-image 0.19.3, if that is installed
  da2k:FOLDER          annotations.json and its photos, as DA-2K has them
  nyu:FOLDER           rgb_N.jpg and sync_depth_N.png (16 bits, millimetres); also N.jpg and N.png
  kitti:FOLDER         DRIVE/image_02/data/N.png, DRIVE/proj_depth/groundtruth/image_02/N.png

scenes with known cameras, for models that find cameras; FOLDER is a scene or holds scenes:
  views                generated scenes seen from several places
  colmap:FOLDER        images/ and sparse/0/, or transforms.json, cameras.json; depth/NAME.png
                       (millimetres) or NAME.npy, or COLMAP's stereo/depth_maps, if they are there
  eth3d:FOLDER         images/, dslr_calibration_undistorted/, ground_truth_depth/
  scannetpp:FOLDER     dslr/undistorted_images/, dslr/nerfstudio/transforms_undistorted.json,
                       dslr/undistorted_depths/

examples:
  python -m metric_depth.evaluate                                the demo model, generated scenes
  python -m metric_depth.evaluate --model vits --dataset generated motorcycle da2k:DA-2K
  python -m metric_depth.evaluate --artifact artifacts/vits-518x518-b1-onnx --count 20
  python -m metric_depth.evaluate --model vits --checkpoint my.safetensors --dataset nyu:nyu_test
  python -m metric_depth.evaluate --model da3-small --dataset views colmap:room --views 8
"""

log = logging.getLogger("evaluate")


def dataset_name(text: str) -> DatasetName:
    """``KIND`` or ``KIND:FOLDER``."""
    try:
        return parse_name(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m metric_depth.evaluate",
        description="Score a model's depth against true depth and ordered point pairs. Prints a "
        "table; writes a JSON file a dataset and one page with pictures over all that the output "
        "folder holds.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", choices=list(MODELS), help=f"of the registry; default {DEMO}")
    parser.add_argument(
        "--artifact", type=Path, nargs="+", metavar="FOLDER", help="compiled artifacts instead"
    )
    weights = parser.add_mutually_exclusive_group()
    weights.add_argument("--checkpoint", type=Path, metavar="FILE", help="the model's weights")
    weights.add_argument(
        "--seeded-weights", action="store_true", help="random weights: what no training scores"
    )
    parser.add_argument(
        "--dataset",
        type=dataset_name,
        nargs="+",
        default=[DatasetName("generated")],
        metavar="D",
        help=f"of {', '.join(DATASETS)}, see below; default generated",
    )
    parser.add_argument("--output", type=Path, default=Path("evaluation"), help="folder")
    parser.add_argument(
        "--count",
        type=positive,
        metavar="N",
        help="photos of each dataset, or scenes of each, evenly spaced",
    )
    parser.add_argument(
        "--views",
        type=positive,
        metavar="N",
        help=f"photos of each scene, evenly spaced; default {GENERATED_VIEWS} of generated ones, "
        f"up to {VIEWS} of others",
    )
    parser.add_argument(
        "--given-cameras",
        action="store_true",
        help="tell the model the true cameras of scenes, and judge depth and points alone",
    )
    parser.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="a model's input: the photo's shorter side in pixels, for scenes the longer one; "
        "default what suits it",
    )
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    command = shlex.join(["python", "-m", "metric_depth.evaluate", *arguments])
    return run_command(
        build_parser(),
        lambda args: FAILED if run(args, command) else DONE,
        arguments,
        stopped="stopped; the datasets done so far stay",
    )


def run(args: argparse.Namespace, command: str) -> int:
    """Evaluate as the command line says; returns how many photos failed.

    Raises:
        UsageError: options that do not go together.
        DepthError: no such dataset or model, or one that cannot be used.
        OSError: the output folder cannot be written.
    """
    if args.artifact and (args.checkpoint or args.seeded_weights or args.size):
        raise UsageError("--checkpoint, --seeded-weights and --size do not go with --artifact")
    if len({plain_name(name.title) for name in args.dataset}) < len(args.dataset):
        raise UsageError("--dataset: two of them would write the same files; rename a folder")
    with_scenes = any(name.has_scenes for name in args.dataset)
    if not with_scenes and (args.views is not None or args.given_cameras):
        raise UsageError("--views and --given-cameras are for scenes: --dataset views, colmap:...")
    if with_scenes:
        require("scipy.spatial", "evaluate")
        if not args.artifact:
            check_finds_cameras(MODELS[args.model or DEMO])
    opened = [_open(name, args) for name in args.dataset]  # before minutes of work
    args.output.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()  # before the run: its load average must not be our own
    about: dict[str, Any] = {"command": command, "machine": machine}
    photos: list[dict[str, Any]] = []
    scenes: list[dict[str, Any]] = []
    files = []
    estimators: dict[bool, Any] = {}
    for name, dataset in zip(args.dataset, opened):
        if name.has_scenes not in estimators:
            estimators[name.has_scenes] = _estimator(args, name.has_scenes)
        facts, outcomes = judged(estimators[name.has_scenes], dataset, args.given_cameras)
        facts.update(about)
        files.append(save(args.output, facts, outcomes))
        (scenes if name.has_scenes else photos).append(facts)
        page = write_page(args.output, shown_scenes(args.output))
    for text, runs in ((table(photos), photos), (scene_table(scenes), scenes)):
        if runs:
            print(text)
    for file in [*files, page]:
        print(file)
    return sum(len(facts["failed"]) for facts in photos + scenes)


def _open(name: DatasetName, args: argparse.Namespace) -> AnyDataset:
    if name.has_scenes:
        return open_scenes(name.kind, name.folder, name.title, args.count, args.views)
    return open_dataset(name, args.count)


def judged(
    estimator: Union[Estimator, SceneEstimator], dataset: AnyDataset, given_cameras: bool
) -> tuple[dict[str, Any], list[AnyOutcome]]:
    """Judge a model on a dataset: what is said of the run, and its photos' or scenes' outcomes."""
    outcomes: list[Any]
    facts: dict[str, Any] = {
        "model": estimator.model,
        "label": plain_name(estimator.label),
        "dataset": plain_name(dataset.title),
        "about": dataset.about,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "weights": dataclasses.asdict(estimator.weights),
        "estimator": estimator.facts,
    }
    if isinstance(estimator, Estimator):
        assert isinstance(dataset, Dataset)
        outcomes = list(watch(judge_all(estimator, dataset), dataset, "photo"))
        facts.update({"evaluation": SCHEMA, "output_kind": estimator.kind})
        return {**facts, **summarise(outcomes)}, outcomes
    assert isinstance(dataset, SceneDataset)
    outcomes = list(watch(judge_scenes(estimator, dataset, given_cameras), dataset, "scene"))
    facts.update({"scene_evaluation": SCENE_SCHEMA, "given_cameras": given_cameras})
    return {**facts, **summarise_scenes(outcomes)}, outcomes


def _estimator(args: argparse.Namespace, scenes: bool) -> Union[Estimator, SceneEstimator]:
    """The model or the artifacts that are judged."""
    estimator: Union[Estimator, SceneEstimator]
    if args.artifact:
        of_artifacts: Any = artifact_scenes if scenes else artifact_estimator
        estimator = of_artifacts(args.artifact, args.device, args.model or "")
    else:
        spec = MODELS[args.model or DEMO]
        size = args.size or (PROCESS_RES if scenes else spec.short_side)
        eager: Any = eager_scenes if scenes else eager_estimator
        estimator = eager(spec, args.checkpoint, args.seeded_weights, size, args.device)
    log.info("%s, %s", estimator.label, estimator.facts["how"])
    if estimator.weights.seeded:
        log.warning("RANDOM WEIGHTS: these scores are those of noise, not of %s", estimator.model)
    return estimator


def save(folder: Path, facts: dict[str, Any], outcomes: Sequence[AnyOutcome]) -> Path:
    """Write a run with its photos' or scenes' scores and pictures; returns the JSON file."""
    samples, pictures = [], {}
    for index, outcome in enumerate(outcomes):
        if outcome.error is not None:
            continue
        path = picture_path(facts, index) if outcome.picture else None
        if path and outcome.picture:
            pictures[path] = outcome.picture
        told: Any = sample_facts if isinstance(outcome, SceneOutcome) else _photo_facts
        sample = {**told(outcome), "picture": path}
        samples.append(sample)
    return write_run(folder, {**facts, "samples": samples}, pictures)


def _photo_facts(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "scores": outcome.scores,
        "unaligned": outcome.unaligned,
        "pairs": dataclasses.asdict(outcome.pairs),
        "seconds": round(outcome.seconds, 4),
    }


def watch(outcomes: Iterable[AnyOutcome], dataset: AnyDataset, unit: str) -> Iterator[AnyOutcome]:
    """Pass outcomes on, with progress on a terminal or a line a minute, and errors at once."""
    from tqdm import tqdm

    failed, last_line, total = 0, time.monotonic(), len(dataset.entries)
    terminal = sys.stderr.isatty() and total > 1
    with tqdm(total=total, desc=dataset.title, unit=unit, disable=not terminal) as bar:
        for number, outcome in enumerate(outcomes, start=1):
            if outcome.error is not None:
                failed += 1
                tqdm.write(f"failed: {outcome.name}: {outcome.error}", file=sys.stderr)
            bar.update()
            if not terminal and time.monotonic() - last_line > LINE_EVERY_S:
                last_line = time.monotonic()
                log.info("%s: %d of %d, %d failed", dataset.title, number, total, failed)
            yield outcome


if __name__ == "__main__":
    sys.exit(main())
