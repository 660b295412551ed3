"""The input list of a job, fixed when it begins: a chunk a file, and a page about them.

A job that is continued works on the same list, whatever has come into the folder since.
"""

import hashlib
import itertools
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Optional

from runtime.artifact.folder import Artifact
from runtime.errors import InputError
from runtime.predict.found import SIMULATED, provenance_of
from runtime.walk import UNREAD
from serve.batch.items import Item
from serve.batch.job_folder import SUCCESS, JobFolder
from serve.batch.parquet import to_bytes, to_rows

PAGE = "plan.json"
CHUNK = 10_000
CHUNK_BYTES = 256 << 20
PAGE_BYTES = 1 << 20
SCHEMA_VERSION = 2  # of plan.json and of all beside it; 1 had no number, no limit, no provenance
PLAN_COLUMNS = {
    "name": str,
    "address": str,
    "size": int,
    "tag": str,
    "focal_px": float,
    "points": str,
}
LATER_COLUMNS = ("points",)  # that an earlier version did not write
FIELD_TYPES: dict[str, tuple[type, ...]] = {  # of the values in plan.json
    "input": (str,),
    "options": (str,),
    "provenance": (dict,),
    "limit": (int, type(None)),
    "input_tag": (str,),
    "service_ms": (int, float, type(None)),
    "schema_version": (int,),
    "count": (int,),
    "chunks": (int,),
    "digest": (str,),
    "made": (int, float),
    "id": (str,),
    "left_out": (dict,),
    "unused_focal": (int,),
}
LATER: dict[str, Any] = {"left_out": {}, "unused_focal": 0}  # what an early version 2 lacks
LACKING_IN_1: dict[str, Any] = {"provenance": {}, "limit": None, "input_tag": "", "id": ""}


@dataclass(frozen=True)
class JobPlan:
    """What is to be done, and with what.

    Args:
        input: what was listed.
        options: digest of what decides a result, beside the photo and its focal length.
        provenance: model, artifacts, weights, licence, and the warning if there is one.
        limit: of inputs, if it is a trial.
        input_tag: tells this content of a list from another; "" for a folder.
        service_ms: of a simulated device's call; None if the device is real.
        schema_version: of what was read.
        count, chunks, digest: of the list itself, filled in by ``make_plan``.
        made: seconds since 1970.
        id: what the names of its chunks begin with.
        left_out: how many files of each kind the listing did not take, as ``LeftOut.facts``.
        unused_focal: rows with a focal length that the model does not use.
    """

    input: str
    options: str
    provenance: dict[str, Any] = field(default_factory=dict)
    limit: Optional[int] = None
    input_tag: str = ""
    service_ms: Optional[float] = None
    schema_version: int = SCHEMA_VERSION
    count: int = 0
    chunks: int = 0
    digest: str = ""
    made: float = 0.0
    id: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    unused_focal: int = 0

    @property
    def unread(self) -> int:
        """Folders that the listing could not read: whatever lies in them has no record."""
        return self.left_out.get(UNREAD, 0)

    def facts(self) -> dict[str, Any]:
        """What marks the results of this plan: a trial, a simulation, and where they come from.

        And what the inputs are not.
        """
        facts: dict[str, Any] = {} if self.limit is None else {"limit": self.limit}
        facts.update({"left_out": self.left_out} if self.left_out else {})
        facts.update({"unused_focal": self.unused_focal} if self.unused_focal else {})
        if self.service_ms is not None:
            facts.update(simulated=SIMULATED, service_ms=self.service_ms)
        return {**facts, **self.provenance}

    def chunk(self, number: int) -> str:
        """The name of a part of the list."""
        return f"plan/{self.id}-{number:06d}.parquet" if self.id else f"plan/{number:06d}.parquet"


def provenance_facts(artifacts: Sequence[Artifact], simulated: bool) -> dict[str, Any]:
    """Where a job's results come from; each result says which of the artifacts ran."""
    each = [provenance_of(artifact, simulated).facts() for artifact in artifacts]
    facts = dict(each[0])
    facts["artifacts"] = [one.pop("artifact") for one in each]
    facts.pop("artifact")
    return facts


def make_plan(
    folder: JobFolder,
    plan: JobPlan,
    items: Iterable[Item],
    noted: Callable[[], dict[str, Any]] = dict,
) -> JobPlan:
    """Write the list down; a shard's may be empty.

    What was there before holds until all of it is written: a listing that fails or is killed
    changes nothing.

    Args:
        plan: all but the list itself.
        noted: asked at the end for ``left_out`` and ``unused_focal``.
    """
    plan = replace(plan, id=uuid.uuid4().hex[:12], made=time.time())
    digest, chunks, count = hashlib.sha256(), 0, 0
    try:
        for chunk in in_chunks(items, CHUNK):
            rows = [vars(item) for item in chunk]
            for row in rows:
                digest.update(json.dumps(row, sort_keys=True).encode())
            folder.write(plan.chunk(chunks), to_bytes(rows, PLAN_COLUMNS))
            chunks, count = chunks + 1, count + len(rows)
    except BaseException:
        for number in range(chunks):
            folder.delete(plan.chunk(number))
        raise
    plan = replace(plan, count=count, chunks=chunks, digest=digest.hexdigest(), **noted())
    folder.delete(SUCCESS)
    folder.write(PAGE, json.dumps(asdict(plan), indent=2).encode())
    for name in list(folder.below("plan/")):
        if not name.startswith(f"plan/{plan.id}-"):
            folder.delete(name)
    return plan


def read_plan(folder: JobFolder) -> Optional[JobPlan]:
    """The plan of a job that began; None if there is none.

    Raises:
        InputError: it is damaged, or of a newer version than this one.
        StorageError: it cannot be read.
    """
    if folder.stat(PAGE) is None:
        return None
    data, where = folder.read(PAGE, PAGE_BYTES), folder.address(PAGE)
    try:
        facts = {"schema_version": 1, **LATER, **json.loads(data)}
    except (ValueError, RecursionError, TypeError) as error:
        raise _damaged(where, f"no JSON object: {error}") from None
    version = facts["schema_version"]
    if version not in (1, SCHEMA_VERSION):
        raise InputError(
            f"{where}: schema_version {version!r}, this program reads 1 to {SCHEMA_VERSION}; use "
            "the one that began the job, or give another output"
        )
    if version == 1:
        facts = {**LACKING_IN_1, **facts}
    for name, kinds in FIELD_TYPES.items():
        if name not in facts or not isinstance(facts[name], kinds):
            raise _damaged(where, f"{name} is {facts.get(name)!r}")
    return JobPlan(**{name: facts[name] for name in FIELD_TYPES})


def _damaged(where: str, why: str) -> InputError:
    return InputError(
        f"{where}: damaged ({why}); remove it and run the job again: what is done is kept"
    )


def the_plan(folder: JobFolder) -> JobPlan:
    """The plan of a job that must have begun.

    Raises:
        InputError: there is none, or as for ``read_plan``.
    """
    plan = read_plan(folder)
    if plan is None:
        raise InputError(f"{folder.output.address}: no job there; begin it with `run`")
    return plan


def read_items(folder: JobFolder, plan: JobPlan) -> Iterator[Item]:
    """The list, a chunk in memory at a time.

    Raises:
        InputError: a chunk is missing or damaged.
    """
    for number in range(plan.chunks):
        name = plan.chunk(number)
        try:
            data = folder.read(name, CHUNK_BYTES)
            for row in to_rows(data, folder.address(name), PLAN_COLUMNS, LATER_COLUMNS):
                yield Item(**row)
        except InputError as error:
            raise InputError(
                f"{error}; remove {folder.address(PAGE)} and run the job again: what is done is "
                "kept"
            ) from None


def in_chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of this size, the last one shorter; one list in memory at a time."""
    left = iter(items)
    while chunk := list(itertools.islice(left, size)):
        yield chunk
