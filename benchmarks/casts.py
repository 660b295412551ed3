"""The table of emulated casts, for the documents: a model and photos in, each mode's errors out."""

import argparse
from typing import Any

from benchmarks.options import SQUARE_HW, VIEW_HW, add_model
from compile.checkpoint import load_model
from compile.emulated import VIEWS, emulate
from compile.fetch import local_checkpoint
from compile.registry import MODELS, find_model
from runtime.photo.find import find_photos

ABOUT = "what Inferentia's casts do to the depth, emulated"
DESCRIPTION = (
    "Emulate neuron-cc's cast modes on photos and compare with float32: at 518x518, and for "
    "any-view models at 280x504, in scenes of one photo and of three."
)
EXAMPLE = "--model demo --doc"
PAGE = "numerics.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``measure`` reads."""
    add_model(parser, "vits", list(MODELS))


def section(args: argparse.Namespace, slug: str) -> str:
    """One a model, the same on every machine: it is emulated."""
    return f"casts {args.model}"


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Emulate every mode on every photo, with the model's weights if they are here, else seeded."""
    spec = find_model(args.model)
    network, weights = load_model(spec, local_checkpoint(spec))
    photos = find_photos(args.input)
    size_hw = VIEW_HW if spec.any_view else SQUARE_HW
    found = emulate(spec, network, size_hw, photos)
    return {
        "model": spec.name,
        "weights": "seeded weights" if weights.seeded else str(weights.file),
        "size_hw": list(size_hw),
        "photos": [photo.name for photo in photos],
        "views": list(VIEWS) if spec.any_view else [1],
        **found.facts(),
        "table": found.table(),
        "asked": found.asked(),
        "recommended": found.recommended(),
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown, and what they recommend."""
    best = numbers["recommended"]
    height, width = numbers["size_hw"]
    verdict = f"`--casts {best}`" if best else "none of them"
    return (
        f"{numbers['table']}\n\n"
        f"`{numbers['model']}` ({numbers['weights']}), {len(numbers['photos'])} photos at "
        f"{height}x{width}, the worst of each measure; max and mean are shares of the range. "
        f"Fastest with {numbers['asked']}: {verdict}. Emulated, not measured on Inferentia."
    )
