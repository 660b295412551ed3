"""Score a model over a dataset: what one photo scores, and what all of them say together.

An estimator and a dataset in, outcomes out. Reads photos, writes nothing.
"""

import dataclasses
import io
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

import numpy as np
from PIL import Image

from apps.estimators import Estimator
from metric_depth.datasets import Dataset
from metric_depth.metrics import (
    PairCounts,
    count_pairs,
    mean_scores,
    score_map,
    score_metres,
    to_disparity,
)
from metric_depth.pictures import strip
from metric_depth.samples import Entry
from runtime.errors import DepthError

log = logging.getLogger(__name__)

SHOWN = 12  # pictures a run, evenly spaced over its photos
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Outcome:
    """What became of one photo: scores, or the error that stopped it.

    ``picture`` is a JPEG of photo, truth and prediction, where one was wanted.
    """

    name: str
    scores: dict[str, Optional[float]] = field(default_factory=dict)
    unaligned: dict[str, float] = field(default_factory=dict)
    pairs: PairCounts = field(default_factory=PairCounts)
    seconds: float = 0.0
    picture: Optional[bytes] = None
    error: Optional[str] = None


def judge_all(estimator: Estimator, dataset: Dataset) -> Iterator[Outcome]:
    """Score every sample of a dataset; ``SHOWN`` of them get a picture.

    Yields:
        one outcome a sample, in order; a bad sample is an outcome with an error.
    """
    shown = {index * len(dataset.entries) // SHOWN for index in range(SHOWN)}
    for index, entry in enumerate(dataset.entries):
        try:
            yield judge(estimator, entry, index in shown)
        except (DepthError, OSError, MemoryError, RuntimeError) as error:
            # RuntimeError: what torch and the engines raise where memory ends or a kernel fails
            log.debug("%s", entry.name, exc_info=True)
            text = str(error).strip() or type(error).__name__
            yield Outcome(entry.name, error=text.splitlines()[0])


def judge(estimator: Estimator, entry: Entry, with_picture: bool) -> Outcome:
    """Read, predict and score one sample.

    Raises:
        DepthError: a photo, a truth or a prediction that cannot be used.
    """
    sample = entry.load()
    start = time.perf_counter()
    prediction = estimator(sample.rgb).depth
    seconds = time.perf_counter() - start
    disparity = to_disparity(prediction, estimator.kind)
    scores: dict[str, Optional[float]] = {}
    unaligned: dict[str, float] = {}
    if sample.depth_m is not None and sample.scored is not None:
        truth = (sample.depth_m, sample.scored, sample.max_depth_m)
        scores = score_map(disparity, *truth)
        if estimator.kind == "depth_m":
            unaligned = score_metres(prediction, *truth)
    picture = jpeg(strip(sample, disparity)) if with_picture else None
    pairs = count_pairs(disparity, sample.pairs)
    return Outcome(
        name=entry.name,
        scores=scores,
        unaligned=unaligned,
        pairs=pairs,
        seconds=seconds,
        picture=picture,
    )


def jpeg(pixels: np.ndarray) -> bytes:
    """Encode a picture, uint8 (H, W, 3) RGB."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def summarise(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What a run says of its photos: means, pooled pairs and errors."""
    good = [outcome for outcome in outcomes if outcome.error is None]
    pairs = sum((outcome.pairs for outcome in good), PairCounts())
    return {
        "photos": len(good),
        "failed": [{"name": o.name, "error": o.error} for o in outcomes if o.error is not None],
        "scores": {**mean_scores(o.scores for o in good), **pairs.scores()},
        "unaligned": mean_scores(o.unaligned for o in good),
        "pairs": dataclasses.asdict(pairs),
        "seconds_per_photo": float(np.median([o.seconds for o in good])) if good else None,
    }
