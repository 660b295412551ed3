"""The input list of a job, fixed when it begins: a chunk a file, and a page about them.

A job that is continued works on the same list, whatever has come into the folder since.
"""

import hashlib
import itertools
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Optional

from runtime.predict.found import SIMULATED
from runtime.storage import Storage
from serve.batch.listing import Item
from serve.batch.parquet import to_bytes, to_rows

CHUNK = 10_000
CHUNK_BYTES = 256 << 20
PAGE_BYTES = 1 << 20
COLUMNS = {"name": str, "address": str, "size": int, "tag": str, "focal_px": float}


@dataclass(frozen=True)
class Plan:
    """What is to be done, and with what options.

    ``digest`` is of the whole list; ``service_ms`` of a simulated device's call, None if it is one.
    """

    input: str
    options: str
    count: int
    chunks: int
    digest: str
    made: float = 0.0  # seconds since 1970
    service_ms: Optional[float] = None

    def label(self) -> dict[str, Any]:
        """What marks the numbers of a simulated job; empty for a real one."""
        if self.service_ms is None:
            return {}
        return {"simulated": SIMULATED, "service_ms": self.service_ms}


def make_plan(
    storage: Storage,
    folder: str,
    job_input: str,
    options: str,
    items: Iterable[Item],
    service_ms: Optional[float] = None,
) -> Plan:
    """Write the list down; a shard's may be empty."""
    digest, chunks, count = hashlib.sha256(), 0, 0
    for chunk in in_chunks(items, CHUNK):
        rows = [vars(item) for item in chunk]
        for row in rows:
            digest.update(json.dumps(row, sort_keys=True).encode())
        storage.write(_chunk_name(folder, chunks), to_bytes(rows, COLUMNS))
        chunks, count = chunks + 1, count + len(rows)
    plan = Plan(job_input, options, count, chunks, digest.hexdigest(), time.time(), service_ms)
    storage.write(_page_name(folder), json.dumps(asdict(plan), indent=2).encode())
    return plan


def read_plan(storage: Storage, folder: str) -> Optional[Plan]:
    """The plan of a job that began; None if there is none."""
    if storage.stat(_page_name(folder)) is None:
        return None
    return Plan(**json.loads(storage.read(_page_name(folder), PAGE_BYTES)))


def read_items(storage: Storage, folder: str, plan: Plan) -> Iterator[Item]:
    """The list, a chunk in memory at a time."""
    for number in range(plan.chunks):
        data = storage.read(_chunk_name(folder, number), CHUNK_BYTES)
        for row in to_rows(data):
            yield Item(**row)


def in_chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of this size, the last one shorter; one list in memory at a time."""
    left = iter(items)
    while chunk := list(itertools.islice(left, size)):
        yield chunk


def _chunk_name(folder: str, number: int) -> str:
    return f"{folder}/plan/{number:06d}.parquet"


def _page_name(folder: str) -> str:
    return f"{folder}/plan.json"
