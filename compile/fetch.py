"""Where weights are: on this machine, or with upstream.

A model's row in, a file's path out; nothing is loaded.
"""

import json
import os
from pathlib import Path
from typing import Optional

from compile.registry import DEMO, ROWS, ModelSpec
from runtime import shipped
from runtime.artifact.folder import sha256_of
from runtime.errors import CheckpointError
from runtime.optional import require

FOLDER = Path("checkpoints")
FOLDER_VARIABLE = "DEPTH_CHECKPOINT_DIR"
WITHOUT_WEIGHTS = "vits"  # run with random ones where there are none at all


def local_checkpoint(spec: ModelSpec) -> Optional[Path]:
    """The model's weights in ``checkpoints/`` or ``$DEPTH_CHECKPOINT_DIR``, if they are there.

    Then in ``checkpoints/`` beside this package, where demo is however it was installed.
    """
    folders = [FOLDER]
    if os.environ.get(FOLDER_VARIABLE):
        folders.append(Path(os.environ[FOLDER_VARIABLE]))
    folders.append(shipped.CHECKPOINTS)
    files = [folder / spec.file for folder in folders if spec.file]
    return next((file for file in files if file.is_file()), None)


def default_model() -> str:
    """The first model, in the registry's order, that has weights on this machine."""
    return next((row.name for row in ROWS if local_checkpoint(row)), WITHOUT_WEIGHTS)


def fetch_checkpoint(spec: ModelSpec, folder: Path = FOLDER) -> Path:
    """Download a model's official weights, check them and write down what they are.

    ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are honoured. The size and, where the server names it,
    the sha256 are compared; both are written to ``<file>.json`` beside the weights.

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
    hub = require("huggingface_hub", "torch")
    file = folder / spec.file
    try:
        told = hub.get_hf_file_metadata(hub.hf_hub_url(spec.repo, spec.remote_file))
        hub.hf_hub_download(spec.repo, spec.remote_file, local_dir=file.parent)
    except Exception as error:  # the hub raises a dozen unrelated classes; the message names it
        raise CheckpointError(
            f"{spec.name}: cannot fetch {spec.remote_file} from {spec.repo} "
            f"({type(error).__name__}: {first_line(error)}); put the file into {FOLDER}/ or a "
            f"folder named by {FOLDER_VARIABLE}, or run with --seeded-weights"
        ) from error
    size, digest = file.stat().st_size, sha256_of(file)
    expected = told.etag if told.etag and len(told.etag) == 64 else digest
    if (told.size or size) != size or expected != digest:
        file.unlink()
        raise CheckpointError(
            f"{file}: arrived as {size} bytes with sha256 {digest}, expected {told.size} and "
            f"{expected}; removed, fetch it again"
        )
    facts = {
        "repo": spec.repo,
        "revision": told.commit_hash,
        "bytes": size,
        "sha256": digest,
        "licence": spec.licence,
    }
    file.with_name(file.name + ".json").write_text(json.dumps(facts, indent=2) + "\n")
    return file


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return (str(error).strip().splitlines() or ["no message"])[0]
