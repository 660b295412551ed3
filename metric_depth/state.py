"""Where a training stands, on disk: small safetensors files and a JSON, replaced as one.

Named tensors and a few numbers in, a folder out, and back. Nothing in it can run code. Each file
stays below 16 MB, so that a training can move between machines in pieces.
"""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from runtime.errors import CheckpointError
from runtime.files import PARTIAL, partial_name, replace_folder, sweep, write_whole

LARGEST_BYTES = 15 * 2**20
NUMBERS = "numbers.json"  # written last: a state that has it is whole


def write_state(folder: Path, tensors: dict[str, torch.Tensor], numbers: dict[str, Any]) -> None:
    """Write beside ``folder``, then put it in its place: a kill leaves the old or the new.

    Raises:
        OSError: the disk refuses; what was there is still there.
    """
    sweep(folder.parent)
    scratch = folder.parent / partial_name()
    fresh = scratch / folder.name
    fresh.mkdir(parents=True)
    try:
        for number, shard in enumerate(_shards(tensors)):
            save_file(shard, str(fresh / f"tensors-{number:02}.safetensors"))
        write_whole(fresh / NUMBERS, json.dumps(numbers).encode())
        replace_folder(fresh, folder)
        scratch.rmdir()
    except Exception:  # Ctrl-C and SIGTERM leave it, as SIGKILL does: it may be all that there is
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _shards(tensors: dict[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """The tensors in their order, in parts that are small enough for a file."""
    shard: dict[str, torch.Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        bytes_ = tensor.numel() * tensor.element_size()
        if shard and size + bytes_ > LARGEST_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor.detach().cpu().contiguous()
        size += bytes_
    yield shard


def read_state(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what ``write_state`` wrote.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    try:
        if not folder.exists():
            _recover(folder)
        numbers = json.loads((folder / NUMBERS).read_text())
        tensors: dict[str, torch.Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            tensors.update(load_file(str(file)))
    except Exception as error:
        raise CheckpointError(f"{folder}: no training to resume ({error})") from error
    return tensors, numbers


def _recover(folder: Path) -> None:
    """Put a state in its place that was whole, but whose writer was killed before it did so."""
    whole = [file.parent for file in folder.parent.glob(f"{PARTIAL}*/{folder.name}/{NUMBERS}")]
    for fresh in sorted(whole, key=lambda one: one.stat().st_mtime)[-1:]:
        fresh.rename(folder)
        with contextlib.suppress(OSError):  # the old one is in another
            fresh.parent.rmdir()
