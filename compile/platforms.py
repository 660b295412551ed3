"""Where a model should run: Inf1, Inf2, CPU and GPU instances beside each other. Estimates.

What one call needs, a rate and prices in; images a second, instances and dollars out, with the
source of each figure. No figure of an instance was measured on that instance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from compile.resources import UTILISATION, Needs
from runtime.engines.inferentia import INF1
from runtime.errors import InputError

PRICES = Path(__file__).parent / "data" / "prices.json"
PRICE_FIELDS = {"dollars_h", "kind", "source"}
SLOWER = 0.5  # of a measured speed, on a machine that we have not seen: the pessimistic end


@dataclass(frozen=True)
class Platform:
    """One instance type. ``gflop_s`` is what it does of our graphs: (pessimistic, optimistic).

    ``shares_host``: network and photos take the same processors.
    """

    name: str
    chip: str
    vcpus: int
    gflop_s: tuple[float, float]
    source: str
    shares_host: bool = False


@dataclass(frozen=True)
class Price:
    """Dollars an hour, of which kind (on-demand, reserved, spot), and who says so."""

    dollars_h: float
    kind: str
    source: str


@dataclass(frozen=True)
class Row:
    """A platform for one model and rate. Pairs are (pessimistic, optimistic).

    ``rate`` is what chip and host do together; ``chip_rate`` the chip alone.
    """

    platform: Platform
    chip_rate: tuple[float, float]
    rate: tuple[float, float]
    count: tuple[int, int]
    price: Optional[Price]
    dollars_per_million: Optional[tuple[float, float]]


def _cpu(name: str, chip: str, vcpus: int, ms: float, source: str) -> Platform:
    """A CPU, from the milliseconds that vits took on two processors of its kind."""
    best = VITS_GFLOP / ms * 1e3 / 2 * vcpus
    return Platform(name, chip, vcpus, (SLOWER * best, best), source, shares_host=True)


def _device(
    name: str, chip: str, vcpus: int, tflops: float, share: tuple[float, float], source: str
) -> Platform:
    return Platform(name, chip, vcpus, (1e3 * tflops * share[0], 1e3 * tflops * share[1]), source)


VITS_GFLOP = 114.6  # at 518x518, as docs/performance-network.md counts it
MEASURED = (
    "estimated: {ms:.0f} ms of vits in bf16 on 2 processors of {what}, measured here by `python -m "
    "benchmarks latency --model vits` (docs/performance-network.md), times its vCPUs; half of it "
    "if the vCPUs are slower"
)
AMD_MS, INTEL_MS = 330.0, 349.0
AMD = MEASURED.format(ms=AMD_MS, what="an AMD EPYC")
INTEL = MEASURED.format(ms=INTEL_MS, what="an Intel Xeon with AMX")
INF2_SHARE = (0.15, 0.36)
INF2_SOURCE = (
    "estimated: 190 TFLOPS a chip, of which AWS's ViT-B/16 reaches 36 % (published: 1,955 images/s "
    "on inf2.xlarge, 35.1 GFLOP each); 15 % if our larger images suit it less"
)
GPU_SHARE = (0.15, 0.40)
GPU_SOURCE = "estimated: {tflops} TFLOPS in float16, {where}, 15 to 40 % of it, a guess"
L4 = GPU_SOURCE.format(
    tflops=125, where="published: https://hmc-tech.com/gpu/nvidia-l4-vs-nvidia-a16"
)
A10G = GPU_SOURCE.format(tflops=70, where="itself an estimate")
INF1_SOURCE = (
    f"estimated: 16 TFLOPS a core, {UTILISATION[0]:.0%} to {UTILISATION[1]:.0%} of it, as "
    "published for other transformers, and the copies (`python -m compile plan`)"
)

OTHERS = (
    _device("inf2.xlarge", "1 Inferentia 2", 4, 190, INF2_SHARE, INF2_SOURCE),
    _device("g5.xlarge", "1 A10G", 4, 70, GPU_SHARE, A10G),
    _device("g6.xlarge", "1 L4", 4, 125, GPU_SHARE, L4),
    _cpu("c7a.2xlarge", "8 AMD vCPUs", 8, AMD_MS, AMD),
    _cpu("c7a.8xlarge", "32 AMD vCPUs", 32, AMD_MS, AMD),
    _cpu("c7i.2xlarge", "8 Intel vCPUs", 8, INTEL_MS, INTEL),
    _cpu("c7i.8xlarge", "32 Intel vCPUs", 32, INTEL_MS, INTEL),
)


def read_prices(file: Optional[Path] = None) -> dict[str, Price]:
    """Prices by instance: a JSON object of objects with dollars_h, kind and source.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    path = file or PRICES
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: no JSON ({error})") from None
    if not isinstance(facts, dict):
        raise InputError(f'{path}: give {{"inf1.xlarge": {{"dollars_h": 0.11, ...}}, ...}}')
    return {name: _price(path, name, one) for name, one in facts.items()}


def _price(path: Path, name: str, one: Any) -> Price:
    if not isinstance(one, dict) or set(one) != PRICE_FIELDS:
        raise InputError(f"{path}: {name} needs the fields {', '.join(sorted(PRICE_FIELDS))}")
    dollars = one["dollars_h"]
    number = isinstance(dollars, (int, float)) and not isinstance(dollars, bool)
    if not (number and math.isfinite(dollars) and dollars > 0):
        raise InputError(f"{path}: {name} dollars_h={dollars!r}: give dollars an hour, above 0")
    return Price(float(dollars), str(one["kind"]), str(one["source"]))


def compare(needs: Needs, images_s: float, prices: dict[str, Price], host_ms: float) -> list[Row]:
    """One row an instance type.

    Args:
        host_ms: processor time an image takes beside the network.
    Raises:
        InputError: a rate that is not positive.
    """
    if not (images_s > 0 and math.isfinite(images_s)):
        raise InputError(f"rate {images_s}: give images a second, above 0")
    rows = []
    for size in INF1[:3]:
        slow, fast = (size.cores * rate for rate in needs.core_rate)
        platform = Platform(
            size.name, f"{size.chips} Inferentia", size.vcpus, (0.0, 0.0), INF1_SOURCE
        )
        rows.append(_row(platform, (slow, fast), images_s, prices, host_ms))
    for platform in OTHERS:
        gflop = needs.gflop / needs.shape[0]
        slow, fast = (speed / gflop for speed in platform.gflop_s)
        rows.append(_row(platform, (slow, fast), images_s, prices, host_ms))
    return rows


def _row(
    platform: Platform,
    chip: tuple[float, float],
    images_s: float,
    prices: dict[str, Price],
    host_ms: float,
) -> Row:
    host = 1e3 * platform.vcpus / host_ms
    if platform.shares_host:
        slow, fast = (1 / (1 / speed + 1 / host) for speed in chip)
    else:
        slow, fast = (min(speed, host) for speed in chip)
    price = prices.get(platform.name)
    dollars = None
    if price is not None:
        dollars = (_per_million(price, slow), _per_million(price, fast))
    counts = (math.ceil(images_s / slow), math.ceil(images_s / fast))
    return Row(platform, chip, (slow, fast), counts, price, dollars)


def _per_million(price: Price, images_s: float) -> float:
    return 1e6 / images_s / 3600 * price.dollars_h


def as_json(needs: Needs, rows: Sequence[Row], images_s: float) -> str:
    """The answer for programs."""
    facts = {"estimate": True, "rate": images_s, "needs": asdict(needs)}
    return json.dumps({**facts, "platforms": [asdict(row) for row in rows]}, indent=2)


def as_text(needs: Needs, rows: Sequence[Row], images_s: float) -> str:
    """The answer for people: a Markdown table, then where its figures are from."""
    batch, _, height, width = needs.shape
    lines = [
        f"`{needs.model}` at {height}x{width}, {batch} at once, for {images_s:,.0f} images/s: "
        "ESTIMATES, pessimistic to optimistic; no figure was measured on the instance it is for.",
        "",
        "| instance | chip | chip images/s | with its host | instances | $/h, kind | $/million | |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    notes: dict[str, str] = {}
    for row in rows:
        price = row.price
        marks = [notes.setdefault(row.platform.source, f"[{len(notes) + 1}]")]
        if price is not None:
            marks.append(notes.setdefault(f"price {price.source}", f"[{len(notes) + 1}]"))
        dollars = "" if price is None else f"{price.dollars_h:.3f} {price.kind}"
        million = "" if row.dollars_per_million is None else _span(row.dollars_per_million, 2)
        lines.append(
            f"| {row.platform.name} | {row.platform.chip} | {_span(row.chip_rate, 0)} | "
            f"{_span(row.rate, 0)} | {_span(row.count, 0)} | {dollars} | {million} | "
            f"{' '.join(marks)} |"
        )
    lines += [""] + [f"{mark} {source}  " for source, mark in notes.items()]
    lines.append("Reserved and on-demand prices do not compare: give your own with --prices FILE.")
    return "\n".join(lines)


def _span(pair: tuple[float, float], digits: int) -> str:
    first, second = (f"{value:,.{digits}f}" for value in pair)
    return first if first == second else f"{first} - {second}"
