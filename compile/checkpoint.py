"""A model of the table with its weights.

A model's row in; the eager float32 model out, its weights read from a file or made from nothing,
and what they are.
"""

import hashlib
import logging
from pathlib import Path
from typing import Optional

import torch
from torch import nn

from compile.registry import ROWS, ModelSpec
from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
from depth_anything_3.pretrained import looks_of_models
from depth_anything_v2.dpt import DepthAnythingV2
from layers.checkpoint import Look, load_checkpoint
from layers.vit import VITS
from runtime.artifact.manifest import WeightsSpec
from runtime.files import sha256_of

log = logging.getLogger(__name__)


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
    """As ``load_eager``, without what is around Depth Anything 3's network."""
    model, weights = load_eager(spec, checkpoint)
    return network_of(model), weights


def load_eager(spec: ModelSpec, checkpoint: Optional[Path]) -> tuple[nn.Module, WeightsSpec]:
    """Build a model and give it weights.

    Args:
        checkpoint: a file; None takes reproducible random weights instead.
    Returns:
        the float32 model in eval mode, and what its weights are.
    Raises:
        CheckpointError: the file cannot be read, or does not fit.
    """
    if checkpoint is None:
        model = build_model(spec)
        fill_seeded(model)
        weights = WeightsSpec("seeded", _state_digest(model), "none: random numbers")
        return model, weights
    log.info("weights: %s, licence %s", checkpoint, spec.licence)
    model = build_model(spec)
    load_checkpoint(model, checkpoint, spec.name, known_looks())
    weights = WeightsSpec("checkpoint", sha256_of(checkpoint), spec.licence, checkpoint.name)
    return model, weights


def known_looks() -> dict[str, Look]:
    """What the weights of every model of the table look like, by its name."""
    v2 = {row.name: Look("v2", VITS[row.encoder].dim) for row in ROWS if row.family == "v2"}
    return {**v2, **looks_of_models()}


def _state_digest(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
