"""Where a training stands, on disk: small safetensors files and a JSON, replaced as one.

Named tensors and a few numbers in, a folder out, and back. Nothing in it can run code. Each file
stays below 16 MB, so that a training can move between machines in pieces.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from runtime.errors import CheckpointError

LARGEST_BYTES = 15 * 2**20


def write_state(folder: Path, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]) -> None:
    """Write beside ``folder``, then put it in its place: a kill leaves the old or the new."""
    fresh, old = folder.with_name(folder.name + ".new"), folder.with_name(folder.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        bytes_ = tensor.numel() * tensor.element_size()
        if shards[-1] and size + bytes_ > LARGEST_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        size += bytes_
    for number, shard in enumerate(shards):
        save_file(shard, str(fresh / f"tensors-{number:02}.safetensors"))
    (fresh / "numbers.json").write_text(json.dumps(numbers))
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def read_state(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what ``write_state`` wrote.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():  # killed between the two renames
        old.rename(folder)
    try:
        numbers = json.loads((folder / "numbers.json").read_text())
        tensors: dict[str, torch.Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            tensors.update(load_file(str(file)))
    except Exception as error:
        raise CheckpointError(f"{folder}: no training to resume ({error})") from error
    return tensors, numbers
