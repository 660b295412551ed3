"""Where a model's weights are: its row in the table, given to ``runtime.hub``.

A model's row in, a file's path out; nothing is loaded.
"""

import logging
from pathlib import Path
from typing import Optional

from compile.registry import DEMO, ROWS, ModelSpec
from runtime.errors import CheckpointError
from runtime.hub import FOLDER, FOLDER_VARIABLE, fetch_weights, find_weights

log = logging.getLogger(__name__)

WITHOUT_WEIGHTS = "vits"  # run with random ones where there are none at all


def local_checkpoint(spec: ModelSpec) -> Optional[Path]:
    """The model's weights on this machine, if they are there.

    In ``checkpoints/``, in ``models/<name>/``, in ``$DEPTH_CHECKPOINT_DIR``, then beside this
    package, where demo is however it was installed.
    """
    return find_weights(spec.name, spec.file) if spec.file else None


def default_model() -> str:
    """The first model, in the registry's order, that has weights on this machine."""
    return next((row.name for row in ROWS if local_checkpoint(row)), WITHOUT_WEIGHTS)


def fetch_checkpoint(spec: ModelSpec, folder: Path = FOLDER) -> Path:
    """Download a model's official weights, check them and write down what they are.

    Raises:
        CheckpointError: upstream has published none, they cannot be reached, or they arrive
            damaged.
    """
    if spec.name == DEMO:
        raise CheckpointError(
            f"{FOLDER}/{spec.file} is missing: it is part of the repository, get it back with "
            f"`git checkout {FOLDER}/{spec.file}`, or make it anew with `make train-demo`"
        )
    if spec.repo is None or spec.file is None:
        raise CheckpointError(
            f"{spec.name}: upstream has published no weights; give a file with --checkpoint, or "
            "run it with --seeded-weights"
        )
    if spec.successor is not None:
        log.warning(
            "upstream trained %s again after a mistake and recommends %s instead",
            spec.name,
            spec.successor,
        )
    try:
        return fetch_weights(spec.repo, spec.file, spec.licence, folder)
    except CheckpointError as error:
        raise CheckpointError(
            f"{spec.name}: {error}; put the file into {FOLDER}/ or a folder named by "
            f"{FOLDER_VARIABLE}, or run with --seeded-weights"
        ) from error
