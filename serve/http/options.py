"""What a client may ask for: in the address, in SageMaker's custom attributes, or in the body.

Names and values in, one frozen ``Options`` out; a name or a value that is not known is refused.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from exports.colour import COLORMAPS
from runtime.errors import InputError
from runtime.scene.reference_view import DEFAULT_STRATEGY, STRATEGIES
from serve.http.problems import shown

CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
CUSTOM_ATTRIBUTES_LENGTH = 1024  # characters that SageMaker passes on


TIME_LIMIT = "timeout_s"  # an attribute: what X-Request-Timeout says, which SageMaker drops


@dataclass(frozen=True)
class Options:
    """How depth is wanted; ``size`` is None if nobody asked for one."""

    size: Optional[str] = None
    png: str = "16"
    colormap: str = "Spectral_r"
    encoding: str = "base64"
    focal_px: Optional[float] = None
    use_ray_pose: bool = False
    ref_view_strategy: str = DEFAULT_STRATEGY


CHOICES = {
    "size": ("input", "model"),
    "png": ("16", "color"),
    "colormap": COLORMAPS,
    "encoding": ("base64", "list"),
    "use_ray_pose": ("0", "1", "false", "true"),
    "ref_view_strategy": STRATEGIES,
}
NAMES = (*CHOICES, "focal_px")


def parse_options(options: Options, pairs: Iterable[tuple[str, Any]], where: str) -> Options:
    """Add name-value pairs to options.

    Raises:
        InputError: an unknown name, or a value that is not allowed.
    """
    for name, value in pairs:
        if name == "focal_px":
            value = _positive(value)
        elif name in CHOICES:
            value = str(value).lower() if isinstance(value, bool) else value
            if value not in CHOICES[name]:
                raise InputError(f"{name}={shown(value)}: use one of {', '.join(CHOICES[name])}")
            if name == "use_ray_pose":
                value = value in ("1", "true")
        else:
            known = ", ".join(NAMES)
            raise InputError(f"{where} {shown(name)} is unknown; there are {known}")
        options = replace(options, **{name: value})
    return options


def parse_custom_attributes(options: Options, text: str) -> tuple[Options, str]:
    """Add what SageMaker's header asks for, as ``name=value;name=value``.

    The header is anybody's: a trace's number, another program's settings. What is not one of our
    names is left as it is.

    Returns:
        the options, and the parts of the text that are not ours.
    Raises:
        InputError: a value of ours that is not allowed.
    """
    ours, others = [], []
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals and name.strip() == TIME_LIMIT:
            continue
        if equals and name.strip() in NAMES:
            ours.append((name.strip(), value.strip()))
        elif part.strip():
            others.append(part)
    return parse_options(options, ours, CUSTOM_ATTRIBUTES), ";".join(others)


def time_limit_in(text: str) -> Optional[str]:
    """What a text of attributes says of the time limit, in seconds."""
    pairs = [part.partition("=")[::2] for part in text.split(";")]
    found = [value.strip() for name, value in pairs if name.strip() == TIME_LIMIT]
    return found[-1] if found else None


def custom_attributes(facts: Mapping[str, str], others: str = "") -> str:
    """Facts for the header that SageMaker passes on: ``name=value;...`` in ASCII.

    ``others``: what else the caller had put there; it follows ours if there is room for it.
    """
    text = ";".join(f"{name}={value.replace(';', ',')}" for name, value in facts.items())
    text = text.encode("ascii", "replace").decode()[:CUSTOM_ATTRIBUTES_LENGTH]
    whole = f"{text};{others}"
    fits = others and others.isascii() and others.isprintable()
    return whole if fits and len(whole) <= CUSTOM_ATTRIBUTES_LENGTH else text


def _positive(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise InputError(f"focal_px={shown(value)}: give pixels, above 0")
    return number
