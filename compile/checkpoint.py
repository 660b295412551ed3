"""Weights: read safely and load strictly.

A model's row in; an eager float32 model with its weights out, and where they came from. What is
loaded never runs code: safetensors, or pickles read with ``weights_only``.
"""

import hashlib
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import torch
from torch import nn

from compile.fetch import first_line
from compile.registry import ROWS, ModelSpec
from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
from depth_anything_v2.dpt import DepthAnythingV2
from layers.vit import VITS
from layers.weights import differences, fill
from runtime.artifact.folder import sha256_of
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import CheckpointError
from runtime.optional import require

log = logging.getLogger(__name__)


def read_state_dict(file: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint without running anything in it.

    Args:
        file: ``.safetensors``, or a zip-format ``.pth`` / ``.pt``.
    Raises:
        CheckpointError: no such file, another format, damaged, or something other than tensors.
    """
    if not file.is_file():
        raise CheckpointError(f"{file}: no such file")
    try:
        if file.suffix == ".safetensors":
            state: Any = require("safetensors.torch", "torch").load_file(str(file))
        else:
            _check_pickle(file)
            state = torch.load(str(file), map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # unpickling and zip errors of every kind mean the same here
        raise CheckpointError(
            f"{file}: damaged, or holds more than tensors ({first_line(error)})"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]  # as upstream's metric training saves it
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise CheckpointError(f"{file}: not a state dict (names to tensors)")
    return dict(state)


def _check_pickle(file: Path) -> None:
    """Refuse what ``weights_only`` does not guard on older torch (CVE-2025-32434).

    torch 1.13 hands a TorchScript archive to ``torch.jit.load`` whatever the flag says, and reads
    old-format files by other code; both are refused before torch sees them.
    """
    if not zipfile.is_zipfile(file):
        raise CheckpointError(
            f"{file}: not a checkpoint in torch's zip format; save it again with a current torch, "
            "or as safetensors"
        )
    with zipfile.ZipFile(file) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    if "constants.pkl" in names or "data.pkl" not in names:
        raise CheckpointError(f"{file}: a TorchScript archive or other zip, not a state dict")


def load_strictly(model: torch.nn.Module, state: Mapping[str, torch.Tensor], what: str) -> None:
    """Load weights that fit exactly.

    Raises:
        CheckpointError: names or shapes differ; the text lists how.
    """
    found = differences(model, state)
    if found:
        raise CheckpointError(f"{what} does not fit: {'; '.join(found)}{_model_of(state)}")
    fill(model, state)


def _model_of(state: Mapping[str, torch.Tensor]) -> str:
    """Name the model that a state dict looks like, if it does."""
    token = state.get("pretrained.cls_token")
    width = 0 if token is None else token.shape[-1]
    names = [row.name for row in ROWS if row.family == "v2" and VITS[row.encoder].dim == width]
    return f". The file looks like {names[0]}: use that model" if names else ""


def build_model(spec: ModelSpec) -> nn.Module:
    """The eager model of a row, in eval mode, its weights not yet set.

    Its state dict has the names of the official checkpoint.
    """
    if spec.family == "v3":
        return DepthAnything3(spec.name)
    return DepthAnythingV2(spec.encoder, max_depth=spec.max_depth_m).eval()


def network_of(model: nn.Module) -> nn.Module:
    """What of an eager model is compiled: Depth Anything 3's network without what is around it."""
    return model.model if isinstance(model, DepthAnything3) else model


def load_model(spec: ModelSpec, checkpoint: Optional[Path]) -> tuple[nn.Module, WeightsSpec]:
    """Build a model and give it weights.

    Args:
        checkpoint: a file; None takes reproducible random weights instead.
    Returns:
        the float32 network in eval mode, and what its weights are.
    Raises:
        CheckpointError: the file cannot be read, or does not fit.
    """
    if checkpoint is None:
        model = build_model(spec)
        fill_seeded(model)
        weights = WeightsSpec("seeded", _state_digest(model), "none: random numbers")
        return network_of(model), weights
    log.info("weights: %s, licence %s", checkpoint, spec.licence)
    state = read_state_dict(checkpoint)
    model = build_model(spec)
    load_strictly(model, state, f"{checkpoint} as {spec.name}")
    weights = WeightsSpec("checkpoint", sha256_of(checkpoint), spec.licence, checkpoint.name)
    return network_of(model), weights


def _state_digest(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
