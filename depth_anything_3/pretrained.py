"""Official weights of Depth Anything 3: where they are, and which model they are of.

A folder, a file, a model's name or a name on the Hugging Face Hub in; the file of weights and the
model's name out. The weights themselves are not opened here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from depth_anything_3.config import NAMES, NESTED, NETWORKS
from layers.checkpoint import Look
from layers.vit import VITS
from runtime.errors import CheckpointError, InputError
from runtime.hub import WEIGHTS, fetch_to_cache, find_weights

CONFIG = "config.json"
CONFIG_BYTES = 1 << 20
OWNER = "depth-anything"  # on the Hub
OWN_OPTIONS = ("dtype", "max_views_in_memory")
SOURCE, DEVICE = "pretrained_model_name_or_path", "map_location"  # as Hugging Face's mixin has them
USELESS = ("strict", "resume_download", "proxies")
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")


class Pretrained(NamedTuple):
    """One model's weights."""

    file: Path
    model_name: str


class Sorted(NamedTuple):
    """What ``from_pretrained`` is given, by who takes it."""

    source: Union[str, Path]
    hub: dict[str, Any]
    device: Any
    own: dict[str, Any]


def sort_options(source: Union[str, Path, None], options: Mapping[str, Any]) -> Sorted:
    """Options of upstream's ``from_pretrained``, which is Hugging Face's mixin, by who takes them.

    Raises:
        InputError: an unknown one, or no source.
    """
    named = options.get(SOURCE)
    if (source is None) == (named is None):
        raise InputError("from_pretrained: give one folder, file or name")
    known = (SOURCE, DEVICE, *USELESS, *HUB_OPTIONS, *OWN_OPTIONS)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: use {', '.join((*OWN_OPTIONS, *HUB_OPTIONS))}")
    if options.get("proxies"):
        raise InputError("proxies: set HTTPS_PROXY in the environment")
    hub, own = (
        {name: options[name] for name in names if name in options}
        for names in (HUB_OPTIONS, OWN_OPTIONS)
    )
    place: Any = source if named is None else named
    return Sorted(place, hub, options.get(DEVICE), own)


def find_pretrained(
    source: Union[str, Path], model_name: Optional[str] = None, **hub_options: Any
) -> Pretrained:
    """Find the weights of a model.

    Args:
        source: a folder with ``model.safetensors``, or such a file; a name out of
            ``depth_anything_3.config.NAMES``, looked for in ``checkpoints/``, ``models/<name>/``
            and ``$DEPTH_CHECKPOINT_DIR``, then on the Hub; or a name on the Hub.
        model_name: which model it is. By default the one that ``config.json`` names beside the
            weights, or else the one that the folder is called after.
        hub_options: see ``runtime.hub.fetch_to_cache``.
    Raises:
        CheckpointError: files are missing, or do not say which model they are of; or the Hub
            cannot be reached.
    """
    path, asked = Path(source), str(source).lower()
    if path.is_file():
        return Pretrained(path, model_name or _name_of(path, path.resolve().parent.name))
    if path.is_dir():
        file = path / WEIGHTS
        return Pretrained(file, model_name or _name_of(file, path.resolve().name))
    if asked not in NAMES:
        file = _fetch(str(source), **hub_options)
        return Pretrained(file, model_name or _name_of(file, asked.rpartition("/")[2]))
    found = find_weights(asked, f"{asked}/{WEIGHTS}")
    file = found or _fetch(f"{OWNER}/{asked.upper()}", **hub_options)
    return Pretrained(file, model_name or asked)


def looks_of_models() -> dict[str, Look]:
    """What the official weights of each model look like, by its name."""
    looks = {
        name: Look("v3", VITS[spec.encoder].dim, spec.any_view, spec.gaussians)
        for name, spec in NETWORKS.items()
    }
    for name, (any_view, _) in NESTED.items():
        looks[name] = looks[any_view]._replace(family="nested")
    return looks


def _name_of(weights: Path, called: str) -> str:
    """The model's name as ``config.json`` beside the weights gives it, else as they are called."""
    file, name = weights.with_name(CONFIG), None
    if file.is_file():
        try:
            if file.stat().st_size > CONFIG_BYTES:
                raise CheckpointError(f"{file}: over {CONFIG_BYTES} bytes, not a model's config")
            name = json.loads(file.read_text(encoding="utf-8")).get("model_name")
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{file}: cannot be read as a model's config ({error})"
            ) from error
    for candidate in (str(name).lower(), called.lower()):
        if candidate in NAMES:
            return candidate
    said = f"{file} is not there" if not file.is_file() else f"{file}: model_name is {name!r}"
    raise CheckpointError(
        f"{said}, and {called!r} is no model's name; say which one it is: call the folder so, or "
        f"in Python give model_name=, one of {', '.join(NAMES)}"
    )


def _fetch(repo: str, **hub_options: Any) -> Path:
    try:
        for name in (CONFIG, WEIGHTS):
            file = fetch_to_cache(repo, name, **hub_options)
    except CheckpointError as error:
        raise CheckpointError(
            f"{repo}: no such folder, and {error}; give a folder with {WEIGHTS} and {CONFIG}, or "
            f"one of {', '.join(NAMES)}"
        ) from error
    return file
