"""Weights into a model, all of them and no others.

Names to tensors in; the model, filled, out. What is read never runs code.
"""

from collections.abc import Mapping

import torch

SHOWN = 5  # names given of each kind of difference


def tied_groups(model: torch.nn.Module) -> list[list[str]]:
    """Names that stand for one and the same tensor, in groups of two and more."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, value in model.state_dict().items():
        if value.numel():
            groups.setdefault((value.data_ptr(), value.numel()), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def differences(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> list[str]:
    """How a state dict differs from what a model expects, in words; empty if it fits.

    Of names that share a tensor one is enough: safetensors files keep no second copy.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    spared = {
        name
        for group in tied_groups(model)
        if sum(name in found for name in group) == 1
        for name in group
    }
    kinds = {
        "missing": [k for k in expected if k not in found and k not in spared],
        "not expected": [k for k in found if k not in expected],
        "of another shape": [
            f"{k} {found[k]} instead of {expected[k]}"
            for k in expected
            if k in found and found[k] != expected[k]
        ],
    }
    return [_listed(kind, names) for kind, names in kinds.items() if names]


def fill(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy weights that fit (``differences`` is empty) into a model, as float32."""
    whole = {name: value.float() for name, value in state.items()}
    for group in tied_groups(model):
        present = [name for name in group if name in whole]
        for name in group:
            whole.setdefault(name, whole[present[0]])
    model.load_state_dict(whole)


def _listed(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{more}"
