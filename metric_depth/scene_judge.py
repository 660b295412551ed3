"""Score a model over scenes: what one scores, and what all of them say together.

An estimator and a dataset of scenes in, outcomes out. Reads photos, writes nothing.
"""

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from metric_depth.judge import SHOWN, jpeg
from metric_depth.metrics import mean_scores
from metric_depth.pictures import scene_strip
from metric_depth.scene_estimators import SceneEstimator
from metric_depth.scene_folders import SceneDataset
from metric_depth.scene_samples import SceneEntry, truth_of_view
from metric_depth.scene_scores import SceneScores, score_scene
from runtime.errors import DepthError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneOutcome:
    """What became of one scene: scores, or the error that stopped it.

    ``picture`` is a JPEG of photos, truth and what was found, where one was wanted.
    """

    name: str
    views: int = 0
    unit: str = ""
    depth_from: str = ""
    scores: Optional[SceneScores] = None
    seconds: float = 0.0
    picture: Optional[bytes] = None
    error: Optional[str] = None


def judge_scenes(
    estimator: SceneEstimator, dataset: SceneDataset, given_cameras: bool = False
) -> Iterator[SceneOutcome]:
    """Score every scene of a dataset; ``SHOWN`` of them get a picture.

    Args:
        given_cameras: tell the network the true cameras; depth and points are then judged alone.
    Yields:
        one outcome a scene, in order; a bad scene is an outcome with an error.
    """
    shown = {index * len(dataset.entries) // SHOWN for index in range(SHOWN)}
    for index, entry in enumerate(dataset.entries):
        try:
            yield judge_scene(estimator, entry, given_cameras, index in shown)
        except (DepthError, OSError, MemoryError, RuntimeError) as error:
            # RuntimeError: what torch and the engines raise where memory ends or a kernel fails
            log.debug("%s", entry.name, exc_info=True)
            text = str(error).strip() or type(error).__name__
            yield SceneOutcome(entry.name, error=text.splitlines()[0])


def judge_scene(
    estimator: SceneEstimator, entry: SceneEntry, given_cameras: bool, with_picture: bool
) -> SceneOutcome:
    """Read, find and score one scene.

    Raises:
        DepthError: a photo, a truth or what was found cannot be used.
    """
    sample = entry.load()
    cameras = (sample.extrinsics, sample.intrinsics) if given_cameras else None
    start = time.perf_counter()
    found = estimator.find(sample.photos, cameras)
    seconds = time.perf_counter() - start
    scores = score_scene(found.scene, found.views, sample, given_cameras)
    picture = None
    if with_picture:
        truths = None
        if sample.depth is not None:
            truths = [
                truth_of_view(depth, view, sample.max_depth).depth
                for depth, view in zip(sample.depth, found.views)
            ]
        photos = [view.rgb for view in found.views]
        picture = jpeg(scene_strip(photos, truths, (scores.scale or 1.0) * found.scene.depth))
    return SceneOutcome(
        name=entry.name,
        views=len(sample.photos),
        unit=sample.unit,
        depth_from=sample.depth_from,
        scores=scores,
        seconds=seconds,
        picture=picture,
    )


def summarise_scenes(outcomes: Sequence[SceneOutcome]) -> dict[str, Any]:
    """What a run says of its scenes: means over scenes, each of which counts the same."""
    good = [outcome for outcome in outcomes if outcome.scores is not None]
    scores = [outcome.scores for outcome in good if outcome.scores is not None]
    return {
        "scenes": len(good),
        "photos": sum(outcome.views for outcome in good),
        "failed": [{"name": o.name, "error": o.error} for o in outcomes if o.error is not None],
        "scores": mean_scores({**one.pose, **one.aligned} for one in scores),
        "unaligned": mean_scores(one.unaligned for one in scores),
        "units": sorted({outcome.unit for outcome in good}),
        "depth_from": sorted({o.depth_from for o in good if o.scores and o.scores.aligned}),
        "seconds_per_scene": float(np.median([o.seconds for o in good])) if good else None,
    }


def sample_facts(outcome: SceneOutcome) -> dict[str, Any]:
    """One scene as the JSON file has it, without its picture."""
    assert outcome.scores is not None
    return {
        "name": outcome.name,
        "views": outcome.views,
        "unit": outcome.unit,
        "depth_from": outcome.depth_from if outcome.scores.aligned else None,
        **dataclasses.asdict(outcome.scores),
        "seconds": round(outcome.seconds, 4),
    }
