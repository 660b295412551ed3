"""Configurations of upstream's form to networks: the known classes, and which numbers they take.

A mapping as ``depth_anything_3.cfg.load_config`` gives it in; modules with random weights out. A
class is found in a table, by upstream's path and name, and never imported by a name. What our
networks do not have is refused.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from torch import nn

from depth_anything_3.camera import CameraDec, CameraEnc
from depth_anything_3.config import DA3Spec
from depth_anything_3.dpt import DPT
from depth_anything_3.dual_dpt import DualDPT
from depth_anything_3.gs_dpt import GSDPT, RAW
from depth_anything_3.model import Backbone, DepthAnything3Net
from depth_anything_3.nested import NestedDepthAnything3Net
from layers.dpt import LEVELS
from layers.vit import VITS
from runtime.errors import InputError
from runtime.scene.gaussians import DEGREE, MAX_SPREAD, MIN_SPREAD

log = logging.getLogger(__name__)

OBJECT = "__object__"
ENCODERS = ("vits", "vitb", "vitl", "vitg")
DIMS = sorted({VITS[name].dim * times for name in ENCODERS for times in (1, 2)})  # of tokens
WIDEST = 8192  # channels; upstream's widest has 1024
NOWHERE = -1  # as a block: views never meet
# What our splats are made with: runtime.scene.gaussians
SPLATS = {
    "sh_degree": DEGREE,
    "pred_color": False,
    "pred_offset_depth": True,
    "pred_offset_xy": True,
    "gaussian_scale_min": MIN_SPREAD,
    "gaussian_scale_max": MAX_SPREAD,
}

Config = Mapping[str, Any]


class Known(NamedTuple):
    """One of upstream's classes: ours that stands for it, its keys, and how it is made."""

    kind: Any
    keys: tuple[str, ...]
    make: Callable[[Config], Any]


def create(config: Config) -> Any:
    """A network, or the part of one, with random weights: see ``cfg.create_object``."""
    return _known_of(config).make(config)


def known(path: Any, name: Any) -> Known:
    """The row of one of upstream's classes.

    Raises:
        InputError: there is none.
    """
    row = KNOWN.get(f"{path}.{name}")
    if row is None:
        raise InputError(
            f"{path}.{name}: only classes of this package are made, and nothing else is imported: "
            f"{', '.join(KNOWN)}"
        )
    return row


def spec_of(config: Config) -> DA3Spec:
    """The numbers of one network.

    Raises:
        InputError: a key or a number that no network here has.
    """
    _known_of(config, "DepthAnything3Net")
    net, head = _part(config, "net"), _part(config, "head")
    encoder, taps, alternate_from = _encoder(net)
    any_view = alternate_from is not None
    dim, splats = VITS[encoder].dim, "gs_head" in config
    features, out_channels = _head(head, "DualDPT" if any_view else "DPT", dim * (1 + any_view))
    missing = [name for name in ("cam_enc", "cam_dec") if any_view and name not in config]
    if missing:
        log.warning("the configuration has no %s; this network has both", " and no ".join(missing))
    extra = [name for name in ("cam_enc", "cam_dec", "gs_head") if name in config and not any_view]
    if extra:
        raise InputError(f"{', '.join(extra)}: only a network whose views meet has it: alt_start")
    for name, key, expected in (("cam_enc", "dim_out", dim), ("cam_dec", "dim_in", 2 * dim)):
        if name in config:
            kind = "CameraEnc" if name == "cam_enc" else "CameraDec"
            _known_of(_part(config, name), kind)
            _number(config[name], key, expected)
    if splats and _head(_part(config, "gs_head"), "GSDPT", 2 * dim) != (features, out_channels):
        raise InputError("gs_head: features and out_channels must be those of head")
    if splats != ("gs_adapter" in config):
        raise InputError("gs_head and gs_adapter: a network has both or none")
    if splats:
        _adapter(_part(config, "gs_adapter"))
    return DA3Spec(encoder, taps, features, out_channels, alternate_from, splats)


def _known_of(config: Any, *names: str) -> Known:
    """The class that a mapping asks for, and that it asks for nothing else.

    Args:
        names: that it may have; none: any.
    """
    said = config.get(OBJECT) if isinstance(config, Mapping) else None
    if not isinstance(said, Mapping):
        raise InputError(f"{type(config).__name__}: expected a mapping with {OBJECT}")
    row = known(said.get("path"), said.get("name"))
    name = said["name"]
    if names and name not in names:
        raise InputError(f"{OBJECT}: {name}, expected {' or '.join(names)}")
    if said.get("args") != "as_params" or set(said) != {"path", "name", "args"}:
        raise InputError(f"{OBJECT} of {name}: give path, name and args: as_params, nothing else")
    strange = [str(key) for key in config if key not in (OBJECT, *row.keys)]
    if strange:
        raise InputError(f"{name}: no key {', '.join(strange)}; it has {', '.join(row.keys)}")
    return row


def _part(config: Config, name: str) -> Config:
    part = config.get(name)
    if not isinstance(part, Mapping):
        raise InputError(f"{name}: expected a mapping with {OBJECT}")
    return part


def _encoder(net: Config) -> tuple[str, tuple[int, int, int, int], Optional[int]]:
    """Its name, the blocks that are tapped, and the first in which views meet."""
    _known_of(net, "DinoV2")
    name = net.get("name")
    if name not in ENCODERS:
        raise InputError(f"net.name={name!r}: use one of {', '.join(ENCODERS)}")
    depth = VITS[name].depth
    starts = [net.get(key, NOWHERE) for key in ("alt_start", "qknorm_start", "rope_start")]
    start = starts[0]
    if len(set(map(repr, starts))) > 1 or not _is_whole(start, NOWHERE, depth - 1) or start == 0:
        raise InputError(
            f"net: alt_start, qknorm_start, rope_start are {starts}, expected one number for all, "
            f"1 to {depth - 1}, or {NOWHERE}"
        )
    any_view = start != NOWHERE
    if net.get("cat_token", True) is not any_view:
        raise InputError(f"net.cat_token={net.get('cat_token', True)!r}: expected {any_view} here")
    first = start - 1 if any_view else 0
    taps: Any = net.get("out_layers")
    if not _are_whole(taps, first, depth - 1) or sorted(set(taps)) != list(taps):
        raise InputError(
            f"net.out_layers={taps!r}: expected {LEVELS} blocks, ascending, {first} to {depth - 1}"
        )
    return name, _four(taps), start if any_view else None


def _head(
    head: Config, name: str, dim: Optional[int] = None
) -> tuple[int, tuple[int, int, int, int]]:
    """Its features and channels.

    Args:
        dim: of the tokens that it decodes; None: whatever it says.
    """
    _known_of(head, name)
    outputs = {"DualDPT": 2, "DPT": 1, "GSDPT": RAW + 1}[name]
    _number(head, "dim_in", dim)
    if head.get("output_dim", outputs) != outputs:
        raise InputError(f"{name}.output_dim={head['output_dim']!r}: expected {outputs}")
    features: Any = head.get("features")
    channels: Any = head.get("out_channels")
    if not _is_whole(features, 8, WIDEST) or features % 8:
        raise InputError(f"{name}.features={features!r}: expected a multiple of 8 up to {WIDEST}")
    if not _are_whole(channels, 1, WIDEST):
        raise InputError(
            f"{name}.out_channels={channels!r}: expected {LEVELS} numbers, 1 to {WIDEST}"
        )
    return features, _four(channels)


def _adapter(adapter: Config) -> None:
    _known_of(adapter, "GaussianAdapter")
    for key, expected in SPLATS.items():
        if adapter.get(key, expected) != expected:
            raise InputError(f"gs_adapter.{key}={adapter[key]!r}: splats here have {expected!r}")


def _number(part: Config, key: str, expected: Optional[int]) -> int:
    """A width of tokens: the expected one, or one that any encoder has."""
    value = part.get(key)
    may = DIMS if expected is None else [expected]
    if type(value) is not int or value not in may:
        raise InputError(f"{part[OBJECT]['name']}.{key}={value!r}: expected {_one_of(may)}")
    return value


def _one_of(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


def _is_whole(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _are_whole(values: Any, low: int, high: int) -> bool:
    numbers = values if isinstance(values, Sequence) and not isinstance(values, str) else ()
    return len(numbers) == LEVELS and all(_is_whole(value, low, high) for value in numbers)


def _four(numbers: Sequence[int]) -> tuple[int, int, int, int]:
    first, second, third, fourth = numbers
    return first, second, third, fourth


# --- how each is made


def _network(config: Config) -> nn.Module:
    return DepthAnything3Net(spec_of(config)).eval()


def _nested(config: Config) -> nn.Module:
    any_view, metric = (spec_of(_part(config, name)) for name in ("anyview", "metric"))
    if not any_view.any_view or metric.any_view:
        raise InputError("anyview and metric: expected a network whose views meet, and one not")
    return NestedDepthAnything3Net(any_view, metric).eval()


def _backbone(config: Config) -> nn.Module:
    encoder, taps, alternate_from = _encoder(config)
    return Backbone(DA3Spec(encoder, taps, 0, (0, 0, 0, 0), alternate_from)).eval()


def _decoder(kind: Any) -> Callable[[Config], nn.Module]:
    def make(config: Config) -> nn.Module:
        features, out_channels = _head(config, kind.__name__)
        return kind(_number(config, "dim_in", None), features, out_channels).eval()

    return make


def _camera(kind: Any, key: str) -> Callable[[Config], nn.Module]:
    def make(config: Config) -> nn.Module:
        return kind(_number(config, key, None)).eval()

    return make


def _no_module(config: Config) -> nn.Module:
    raise InputError("GaussianAdapter: no module here; networks with gs_head find splats without")


HEAD_KEYS = ("dim_in", "output_dim", "features", "out_channels")
NET_KEYS = ("name", "out_layers", "alt_start", "qknorm_start", "rope_start", "cat_token")
PARTS = ("net", "head", "cam_enc", "cam_dec", "gs_head", "gs_adapter")
_MODEL = "depth_anything_3.model"
KNOWN = {
    f"{_MODEL}.da3.DepthAnything3Net": Known(DepthAnything3Net, PARTS, _network),
    f"{_MODEL}.da3.NestedDepthAnything3Net": Known(
        NestedDepthAnything3Net, ("anyview", "metric"), _nested
    ),
    f"{_MODEL}.dinov2.dinov2.DinoV2": Known(Backbone, NET_KEYS, _backbone),
    f"{_MODEL}.dualdpt.DualDPT": Known(DualDPT, HEAD_KEYS, _decoder(DualDPT)),
    f"{_MODEL}.dpt.DPT": Known(DPT, HEAD_KEYS, _decoder(DPT)),
    f"{_MODEL}.gsdpt.GSDPT": Known(GSDPT, HEAD_KEYS, _decoder(GSDPT)),
    f"{_MODEL}.cam_enc.CameraEnc": Known(CameraEnc, ("dim_out",), _camera(CameraEnc, "dim_out")),
    f"{_MODEL}.cam_dec.CameraDec": Known(CameraDec, ("dim_in",), _camera(CameraDec, "dim_in")),
    f"{_MODEL}.gs_adapter.GaussianAdapter": Known(type(None), tuple(SPLATS), _no_module),
}
