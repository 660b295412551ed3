"""Many machines: Ray Data's actors, each with an engine; the same records as on one machine.

Ray restarts an actor that dies and gives its work to another. A photo that was done twice has the
same result under the same name, and one record.
"""

import json
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any, Optional

from runtime.artifact.folder import Artifact
from runtime.engines import CPU, ON_CUDA
from runtime.engines.inferentia import CORES_A_CHIP, cores_of
from runtime.optional import require
from serve.batch.items import Item
from serve.batch.job import BatchJob
from serve.batch.local import engines, run_on
from serve.batch.photos import Photos
from serve.batch.plan import in_chunks
from serve.batch.records import Record

CHUNK = 5000  # items given to Ray at once
ITEM, RECORD = "item", "record"  # columns; texts are what Arrow holds of any name
TOGETHER = 32  # items an actor takes at once: reading and writing overlap within them


class Engine:
    """An actor's state: the job, and engines that are loaded once."""

    def __init__(
        self,
        job: BatchJob,
        artifacts: Sequence[Artifact],
        options: str,
        threads: Optional[int],
    ) -> None:
        self.job = job
        self.photos = Photos(job, options, job.open().output)
        self.predictors = engines(job, artifacts, threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Items in, records out: a column of JSON each."""
        items = [Item(**json.loads(text)) for text in batch[ITEM]]
        records = run_on(self.predictors, self.job, self.photos, items)
        return {RECORD: [json.dumps(asdict(record)) for record in records]}


def run_on_ray(
    job: BatchJob, artifacts: Sequence[Artifact], photos: Photos, items: Iterable[Item]
) -> Iterator[Record]:
    """Work on items as they come; a record each, in the order in which they are done.

    Joins the cluster that ``RAY_ADDRESS`` names, or begins one on this machine.
    """
    ray, data = begin_ray(), _quiet_data()
    one = replace(job.placed(), workers=0)  # an actor's own: what its device is best served by
    actors = max(1, job.workers)
    placed = [replace(artifact, path=artifact.path.absolute()) for artifact in artifacts]
    cores = max(cores_of(artifact.manifest) for artifact in artifacts)
    target = artifacts[0].manifest.target
    resources = actor_resources(target, job.device, actors, ray, cores)
    threads = None if actors == 1 else resources["num_cpus"]
    for chunk in in_chunks(items, CHUNK):
        rows = data.from_items([{ITEM: json.dumps(asdict(item))} for item in chunk])
        found = rows.map_batches(
            Engine,
            fn_constructor_args=(one, placed, photos.options, threads),
            batch_size=TOGETHER,
            compute=data.ActorPoolStrategy(min_size=1, max_size=actors),
            **resources,
        )
        for row in found.iter_rows():
            yield Record(**json.loads(row[RECORD]))


def _quiet_data() -> Any:
    """Ray Data, whose plans are told in its file, not between our own lines on the console."""
    data = require("ray.data", "ray")
    data.DataContext.get_current().enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)
    return data


def begin_ray() -> Any:
    """Ray, joined to the cluster that ``RAY_ADDRESS`` names, or begun on this machine.

    Raises:
        MissingDependency: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to its makers otherwise
    ray = require("ray", "ray")
    if not ray.is_initialized():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # how it will treat GPUs
            ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    return ray


def actor_resources(
    target: str, device: str, workers: int, ray: Any, cores: int = 1
) -> dict[str, Any]:
    """What an actor asks of the cluster: NeuronCores, a GPU, or its share of the processors."""
    if target in CORES_A_CHIP:
        return {"num_cpus": 1, "resources": {"neuron_cores": cores}}
    if target in ON_CUDA and device != CPU and ray.cluster_resources().get("GPU"):
        return {"num_cpus": 1, "num_gpus": 1}
    cpus = ray.cluster_resources().get("CPU", 1)
    return {"num_cpus": max(1, int(cpus // (workers + 1)))}
