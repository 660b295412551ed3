"""The table of emulated casts, for the documents: a model and photos in, each mode's errors out."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from compile.checkpoint import load_model
from compile.fetch import local_checkpoint
from compile.numerics import (
    MEAN_TOLERANCE,
    PEARSON_TOLERANCE,
    ModeError,
    measure_model,
    recommend,
    table,
)
from compile.registry import find_model
from runtime.photo.find import find_photos

SIZE_HW = (518, 518)


def measure(model: str, source: Path) -> dict[str, Any]:
    """Emulate every mode on every photo, with the model's weights if they are here, else seeded."""
    spec = find_model(model)
    network, weights = load_model(spec, local_checkpoint(spec))
    photos = find_photos(source)
    errors = measure_model(network, SIZE_HW, photos)
    return {
        "model": model,
        "weights": "seeded weights" if weights.seeded else str(weights.file),
        "photos": [photo.name for photo in photos],
        "modes": [asdict(error) for error in errors],
    }


def text(numbers: dict[str, Any]) -> str:
    """The table, and what it recommends."""
    errors = [ModeError(**mode) for mode in numbers["modes"]]
    best = recommend(errors)
    verdict = f"`--casts {best.mode}`" if best else "none of them"
    return (
        f"{table(errors)}\n\n"
        f"`{numbers['model']}` ({numbers['weights']}), {len(numbers['photos'])} photos at "
        f"{SIZE_HW[0]}x{SIZE_HW[1]}, the worst photo of each measure; max and mean are shares of "
        f"the range. Fastest with a mean of at most {MEAN_TOLERANCE:.0%} and a correlation of at "
        f"least {PEARSON_TOLERANCE}: {verdict}. Emulated, not measured on Inferentia."
    )
