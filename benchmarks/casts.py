"""The table of emulated casts, for the documents: a model and photos in, each mode's errors out."""

import argparse
from dataclasses import asdict
from typing import Any

from benchmarks.options import SQUARE_HW, add_model
from compile import numerics
from compile.checkpoint import load_model
from compile.fetch import local_checkpoint
from compile.numerics import MEAN_TOLERANCE, PEARSON_TOLERANCE, ModeError
from compile.registry import MODELS, find_model
from runtime.photo.find import find_photos

ABOUT = "what Inferentia's casts do to the depth, emulated"
DESCRIPTION = "Emulate neuron-cc's cast modes on photos at 518x518 and compare with float32."
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
    errors = numerics.measure_model(network, SQUARE_HW, photos)
    return {
        "model": spec.name,
        "weights": "seeded weights" if weights.seeded else str(weights.file),
        "photos": [photo.name for photo in photos],
        "modes": [asdict(error) for error in errors],
    }


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown, and what they recommend."""
    errors = [ModeError(**mode) for mode in numbers["modes"]]
    best = numerics.recommend(errors)
    height, width = SQUARE_HW
    verdict = f"`--casts {best.mode}`" if best else "none of them"
    return (
        f"{numerics.table(errors)}\n\n"
        f"`{numbers['model']}` ({numbers['weights']}), {len(numbers['photos'])} photos at "
        f"{height}x{width}, the worst photo of each measure; max and mean are shares of "
        f"the range. Fastest with a mean of at most {MEAN_TOLERANCE:.0%} and a correlation of at "
        f"least {PEARSON_TOLERANCE}: {verdict}. Emulated, not measured on Inferentia."
    )
