"""Weights: read from a file safely, and filled into a model, all of them and no others.

A file in, as upstream, a training script or Hugging Face's transformers saved it; a model out whose
every weight is set, as float32. What is read never runs code, and what does not fit is refused
with the difference.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch

from layers.file_kind import SAVE_AGAIN, kind_in_words
from layers.torch_zip import load_zip
from layers.transformers_names import has_transformers_names, official_names
from layers.vit import VITS
from runtime.errors import CheckpointError, DepthError, first_line
from runtime.optional import require

log = logging.getLogger(__name__)

# Around the weights; a model goes before its average
WRAPPINGS = (
    *("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params"),
    *("ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema"),
)
AVERAGED = "n_averaged"  # what torch's AveragedModel counts beside the weights
PREFIXES = ("module.", "_orig_mod.", "model.")  # before every name: DDP, torch.compile, Lightning
OWN_PREFIX = "model."  # which the official names of Depth Anything 3 have themselves
DEEPEST = 8  # wrappings around wrappings
SHOWN = 5  # names given of each kind of difference

# How torch names what it refuses to build
FOREIGN_CLASS = re.compile(r"[Uu]nsupported (?:class|(?:global: )?GLOBAL) ([\w.]+)")
ZIP_START = b"PK\x03\x04"
TORCH_SAYS = "WeightsUnpickler error:"  # before its reason
LARGEST_HEADER = 100_000_000  # bytes of names in a safetensors file


class Look(NamedTuple):
    """What the names and shapes of weights say about their model."""

    family: str  # v2, v3 or nested
    width: int  # channels of the encoder
    cameras: bool = False
    splats: bool = False


ROOTS = {"v2": "pretrained.", "v3": "backbone.pretrained.", "nested": "da3.backbone.pretrained."}
FAMILIES = {
    "v2": "Depth Anything V2",
    "v3": "Depth Anything 3",
    "nested": "nested Depth Anything 3",
}


def load_checkpoint(
    model: torch.nn.Module, file: Path, name: str, known: Mapping[str, Look]
) -> None:
    """Fill a model with the weights of a file, as float32.

    Args:
        file: safetensors, or torch's zip format (``.pth``, ``.pt``, ``.bin``).
        name: of the model, for the error's text.
        known: what the weights of other models look like, by name.
    Raises:
        CheckpointError: the file cannot be read, or is not of this model; the text says how it
            differs and what it looks like.
    """
    state, layout = read_state_dict(file), ""
    if has_transformers_names(state):
        log.info("%s: in the layout of Hugging Face's transformers, converted", file)
        state, layout = official_names(state), ", in the layout of Hugging Face's transformers,"
    own = OWN_PREFIX if all(key.startswith(OWN_PREFIX) for key in model.state_dict()) else ""
    named = {own + key: value for key, value in state.items()}
    found = differences(model, named)
    if found:
        look = _look_in_words(state, name, known)
        raise CheckpointError(f"{file}{layout} does not fit {name}: {'; '.join(found)}{look}")
    fill(model, named)


def read_state_dict(file: Path) -> dict[str, torch.Tensor]:
    """Read weights without running anything that is in the file.

    Returns:
        names to tensors, in the file's dtypes; without the optimizer, the numbers and the options
        that training keeps beside them, and without what is before every name.
    Raises:
        CheckpointError: no such file, another format, damaged, or something other than tensors.
    """
    try:
        if not file.is_file():
            kind = "a folder, give the file in it" if file.is_dir() else "no such file"
            raise CheckpointError(f"{file}: {kind}")
        content = _reader_of(file)(file)
    except DepthError:
        raise
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({first_line(error)})") from error
    except Exception as error:  # unpickling and zip errors of every kind mean the same here
        class_in_it = FOREIGN_CLASS.search(str(error))
        reason = f"damaged ({first_line(error)}); fetch it again"
        if class_in_it:
            reason = f"holds more than tensors, numbers and text: {class_in_it[1]}"
        raise CheckpointError(f"{file}: {reason}, or {SAVE_AGAIN}, the weights alone") from error
    return _without_prefix(_without_wrapping(content, file))


def differences(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> list[str]:
    """How a state dict differs from what a model expects, in words; empty if it fits.

    Of names that share a tensor one is enough: safetensors files keep no second copy.
    """
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if not expected.keys() & found.keys():
        theirs, ours = _listed(found), _listed(expected)
        return [f"no name in common: found {theirs}; expected {ours}"]
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
        "no dense floats": [k for k in expected if k in found and not _is_dense(state[k])],
    }
    return [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds.items() if names]


def fill(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy weights that fit (``differences`` is empty) into a model, as float32."""
    whole = {name: value.float() for name, value in state.items()}
    for group in tied_groups(model):
        present = [name for name in group if name in whole]
        for name in group:
            whole.setdefault(name, whole[present[0]])
    model.load_state_dict(whole)


def tied_groups(model: torch.nn.Module) -> list[list[str]]:
    """Names that stand for one and the same tensor, in groups of two and more."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name, value in model.state_dict().items():
        if value.numel():
            groups.setdefault((value.data_ptr(), value.numel()), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def look_of(state: Mapping[str, torch.Tensor]) -> Optional[Look]:
    """What weights under official names, without ``model.``, look like; None if like no model."""
    for family, root in ROOTS.items():
        token = state.get(f"{root}cls_token")
        if token is not None and token.ndim:
            cameras, splats = (
                any(f"{part}." in name for name in state) for part in ("cam_dec", "gs_head")
            )
            return Look(family, token.shape[-1], cameras, splats)
    return None


def _look_in_words(state: Mapping[str, torch.Tensor], name: str, known: Mapping[str, Look]) -> str:
    look = look_of(state)
    if look is None:
        alone = "cls_token" in state and any(key.startswith("blocks.") for key in state)
        return ". The file looks like an encoder (DINOv2) without a depth head" if alone else ""
    names = [other for other, its in known.items() if its == look]
    if name in names:
        return ""
    if len(names) == 1:
        return f". The file looks like {names[0]}: use that model"
    if names:
        return f". The file looks like {', '.join(names[:-1])} or {names[-1]}: use one of these"
    widths = {spec.dim: encoder for encoder, spec in VITS.items()}
    encoder = widths.get(look.width, "an encoder that is unknown here")
    return f". The file looks like {FAMILIES[look.family]} with {encoder}, width {look.width}"


def _reader_of(file: Path) -> Any:
    """The function that reads a file of this format, told by how it begins.

    Raises:
        CheckpointError: another format; the text says which.
    """
    with file.open("rb") as opened:
        start = opened.read(512)
    if start.startswith(ZIP_START):
        return load_zip
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LARGEST_HEADER:
        return _load_safetensors
    unknown = f"not a checkpoint in safetensors or torch's zip format; {SAVE_AGAIN}"
    raise CheckpointError(f"{file}: {kind_in_words(start) or unknown}")


def _load_safetensors(file: Path) -> Any:
    return require("safetensors.torch", "torch").load_file(str(file))


def _without_wrapping(content: Any, file: Path) -> dict[str, torch.Tensor]:
    for _ in range(DEEPEST):
        inner = [content.get(key) for key in WRAPPINGS] if isinstance(content, Mapping) else []
        content = next((part for part in inner if isinstance(part, Mapping)), content)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{file}: not a state dict (names to tensors)")
    others = [
        f"{name} ({type(v).__name__})" for name, v in content.items() if not torch.is_tensor(v)
    ]
    if others:
        raise CheckpointError(
            f"{file}: not a state dict (names to tensors), and none under "
            f"{', '.join(WRAPPINGS)}: it holds {_listed(others)}"
        )
    return {str(name): value for name, value in content.items()}


def _without_prefix(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    state = {name: value for name, value in state.items() if name != AVERAGED}
    while state:
        prefix = next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name[len(prefix) :]: value for name, value in state.items()}
    return state


def _is_dense(value: torch.Tensor) -> bool:
    on_cpu = value.device.type == "cpu"  # not where tensors have a shape and no content
    return value.is_floating_point() and value.layout == torch.strided and on_cpu


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return f"{', '.join(listed[:SHOWN])}{more}"
