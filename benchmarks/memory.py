"""Peak memory of Depth Anything 3 against the number of views, with and without chunked heads.

Each case runs in a process of its own, because a process's peak never falls again.
"""

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.document import markdown_table
from benchmarks.spent import run

log = logging.getLogger(__name__)

IN_MEMORY = (1, 8)  # max_views_in_memory
CASE = """
import json, resource, sys
import torch
from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
name, views, height, width, in_memory = sys.argv[1], *map(int, sys.argv[2:])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
model = DepthAnything3(name, max_views_in_memory=in_memory)
fill_seeded(model)
loaded = peak()
model(torch.zeros(1, views, 3, height, width))
print(json.dumps({"loaded_mib": loaded, "peak_mib": peak()}))
"""


def measure(name: str, size_hw: tuple[int, int], views: Sequence[int]) -> dict[str, Any]:
    """Run one pass for each number of views and each ``max_views_in_memory``."""
    cases = []
    for count in views:
        for in_memory in IN_MEMORY:
            log.info("%s, %d views, %d at once", name, count, in_memory)
            words = [name, *map(str, (count, *size_hw, in_memory))]
            spent = run([sys.executable, "-c", CASE, *words])
            facts = json.loads(spent.stdout.splitlines()[-1])
            cases.append({"views": count, "in_memory": in_memory, **facts})
    return {"model": name, "size_hw": list(size_hw), "cases": cases}


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    peaks = {(case["views"], case["in_memory"]): case["peak_mib"] for case in numbers["cases"]}
    views = list(dict.fromkeys(case["views"] for case in numbers["cases"]))
    rows = [[str(n), *(f"{peaks[n, in_memory]:,.0f}" for in_memory in IN_MEMORY)] for n in views]
    header = ["views", *(f"MiB, heads decode {n} at once" for n in IN_MEMORY)]
    loaded = max(case["loaded_mib"] for case in numbers["cases"])
    height, width = numbers["size_hw"]
    return (
        f"{markdown_table(header, rows)}\n\n"
        f"`{numbers['model']}`, eager float32, views of {height}x{width}: the most that the whole "
        f"process held. {loaded:,.0f} MiB of it is Python, torch and the weights."
    )
