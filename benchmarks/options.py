"""Options that several benchmarks share: a parser in, changed; each help ends in its default."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from compile.registry import MODELS
from runtime.artifact.manifest import PRECISIONS
from runtime.command_line import positive, size_hw

SQUARE_HW, VIEW_HW = (518, 518), (280, 504)  # of V2's tables, and of Depth Anything 3's
SERVED = Path("artifacts/demo-252x336-b1-openvino")


def add_number(
    parser: argparse.ArgumentParser,
    flag: str,
    default: float,
    help: str = "",
    kind: Callable[[str], Any] = positive,
    metavar: str = "N",
) -> None:
    """A number."""
    text = f"{help}; default {default}" if help else f"default {default}"
    parser.add_argument(flag, type=kind, default=default, metavar=metavar, help=text)


def add_rounds(parser: argparse.ArgumentParser, default: int = 5) -> None:
    """How many rounds count."""
    add_number(parser, "--rounds", default, metavar="R")


def add_model(parser: argparse.ArgumentParser, default: str, choices: Sequence[str]) -> None:
    """Which model."""
    parser.add_argument(
        "--model", default=default, choices=list(choices), help=f"default {default}"
    )


def add_size(parser: argparse.ArgumentParser, default_hw: tuple[int, int]) -> None:
    """Height and width of what is measured."""
    words = "{}x{}".format(*default_hw)
    parser.add_argument(
        "--size", type=size_hw, default=default_hw, metavar="HxW", help=f"default {words}"
    )


def size_words(size: tuple[int, int]) -> str:
    """In the name of a table's place: nothing for the usual size."""
    return "" if size == SQUARE_HW else "{}x{} ".format(*size)


def add_models(parser: argparse.ArgumentParser, *default: str) -> None:
    """Which models."""
    _add_some(parser, "--models", default, list(MODELS), "default")


def add_precisions(parser: argparse.ArgumentParser, *default: str) -> None:
    """In which precisions our graphs run."""
    help = "of our graphs, where a target has them; default"
    _add_some(parser, "--precisions", default, PRECISIONS, help)


def add_targets(parser: argparse.ArgumentParser, *default: str) -> None:
    """For which targets a model is compiled."""
    _add_some(parser, "--targets", default, list(default), "default")


def _add_some(
    parser: argparse.ArgumentParser,
    flag: str,
    default: Sequence[str],
    choices: Sequence[str],
    help: str,
) -> None:
    text = f"{help} {' '.join(default)}"
    parser.add_argument(flag, nargs="+", default=list(default), choices=choices, help=text)


def add_artifacts(parser: argparse.ArgumentParser, help: str) -> None:
    """A folder of artifacts."""
    parser.add_argument("--artifacts", type=Path, metavar="FOLDER", help=help)


def add_artifact(parser: argparse.ArgumentParser) -> None:
    """The artifact that is served."""
    parser.add_argument(
        "--artifact", type=Path, default=SERVED, metavar="FOLDER", help=f"default {SERVED}"
    )


def add_scratch(parser: argparse.ArgumentParser) -> None:
    """Where to work."""
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="to work in")
