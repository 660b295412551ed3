"""The benchmarks by name, in groups: the menu of ``python -m benchmarks``.

A name in; its line of the menu, or its module, out. A module is imported only when its command is
asked for, so that the menu needs none of them. Each module has

    ABOUT        its line in the menu: a plain string, read without importing the module
    DESCRIPTION  what its own ``--help`` says
    EXAMPLE      what comes after its name on a command line
    add_options  takes an argparse parser
    measure      from the parsed arguments to the numbers
    table        from the numbers to Markdown
    PAGE         of docs/, where ``--doc`` writes

and, if it has them,

    section      of that page, from the arguments and the machine's slug
    headlines    the numbers' lines in the summary
    draw         writes pictures of the numbers, with ``--doc``
"""

import argparse
import ast
import functools
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

GROUPS = {
    "speed and memory, for a first look": (
        "latency", "end2end", "scripts", "throughput", "load", "compile", "growth",
    ),
    "parts of the way": (
        "stages", "video", "sequence", "forms", "da3", "cuda", "start", "memory", "points",
        "exports", "splats",
        "hostile",
    ),
    "many photos, many requests": (
        "batch", "kills", "fleet", "chip", "inputs", "soak", "connections",
    ),
    "what it does to the depth": ("decode", "precisions", "buckets", "casts", "steady"),
    "on an Inf1": ("neuron",),
}  # fmt: skip
NAMES = tuple(name for group in GROUPS.values() for name in group)
FILES = {"compile": "compiling"}  # the others are called as their commands are


def load(name: str) -> ModuleType:
    """The module behind a command."""
    return importlib.import_module(f"benchmarks.{FILES.get(name, name)}")


@functools.cache
def about(name: str) -> str:
    """A command's line in the menu.

    Raises:
        LookupError: its module does not assign a string to ABOUT.
    """
    source = Path(__file__).with_name(f"{FILES.get(name, name)}.py").read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "ABOUT":
            return str(ast.literal_eval(statement.value))
    raise LookupError(f"benchmarks/{FILES.get(name, name)}.py has no ABOUT")


def menu() -> str:
    """The commands in groups, a line each."""
    width = max(map(len, NAMES))
    lines = []
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {name:{width}}  {about(name)}" for name in group)]
    return "\n".join(lines[1:])


def page_of(module: ModuleType) -> str:
    """The page of docs/ that holds a benchmark's tables."""
    return str(module.PAGE)


def section_of(module: ModuleType, args: argparse.Namespace, slug: str) -> str:
    """The section of that page.

    There is one for each torch version and processor, which change the ratios more than anything
    else does, unless the module says otherwise.
    """
    own: Any = getattr(module, "section", None)
    return str(own(args, slug)) if own else f"{args.command} {slug}"
