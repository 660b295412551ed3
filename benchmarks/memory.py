"""Peak memory of Depth Anything 3 against the number of views, with and without chunked heads.

Each case runs in a process of its own, because a process's peak never falls again.
"""

import argparse
import json
import logging
import sys
from typing import Any

from benchmarks.document import markdown_table
from benchmarks.options import VIEW_HW, add_model
from benchmarks.spent import run
from depth_anything_3.config import NETWORKS
from runtime.command_line import positive

log = logging.getLogger(__name__)

ABOUT = "peak memory of Depth Anything 3 against the number of views"
DESCRIPTION = "One eager pass over some views at 280x504, each in a process of its own."
EXAMPLE = "--model da3-base --views 1 8 --doc"
PAGE = "performance-memory.md"

VIEWS = [1, 4, 16, 32]
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


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "da3-small", list(NETWORKS))
    parser.add_argument(
        "--views",
        type=positive,
        nargs="+",
        default=VIEWS,
        metavar="N",
        help=" ".join(map(str, VIEWS)),
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Run one pass for each number of views and each ``max_views_in_memory``."""
    cases = []
    for count in args.views:
        for in_memory in IN_MEMORY:
            log.info("%s, %d views, %d at once", args.model, count, in_memory)
            words = [args.model, *map(str, (count, *VIEW_HW, in_memory))]
            spent = run([sys.executable, "-c", CASE, *words])
            facts = json.loads(spent.stdout.splitlines()[-1])
            cases.append({"views": count, "in_memory": in_memory, **facts})
    return {"model": args.model, "size_hw": list(VIEW_HW), "cases": cases}


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
