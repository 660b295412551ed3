"""What ``benchmarks.latency`` measured, as Markdown: a table, our best beside theirs, headlines.

The numbers of ``measure`` in, text out.
"""

import statistics
from collections.abc import Iterator
from typing import Any, Optional

from benchmarks.document import markdown_table
from benchmarks.headline import Headline
from benchmarks.latency_sides import CALLS, COMPARED, CPP, EAGER
from benchmarks.limit import sentence
from benchmarks.rounds import times_as_fast

WHY_INEXACT = (
    f"{CPP} is off by more than rounding in float32: it interpolates the position embedding at the "
    "network's own size (518x518), too, where upstream takes it as it is; with that imitated in "
    "upstream's network, the two differ by 1.5e-05 of the range."
)


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown."""
    rows, sides = [], numbers["sides"]
    base = next((side for side in sides if side["side"] == EAGER), sides[0])["seconds_an_image"]
    for side in sides:
        took = side["seconds_an_image"]
        ratios = times_as_fast(base, took)
        median = statistics.median(took)
        least = numbers["least_s"].get(side["precision"])
        version = ", ".join(f"{name} {number}" for name, number in side["versions"].items())
        rows.append(
            [
                f"{side['side']} ({version})",
                side["precision"],
                f"{median * 1e3:,.0f}",
                f"**{statistics.median(ratios):.2f}**",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                f"{least / median:.0%}" if least else "",
                f"{side['peak_mib']:,.0f}",
                f"{side['off']:.0e}",
                f"{side['pearson']:.6f}",
            ]
        )
    header = ["side", "precision", "ms an image", "times the first", "single rounds"]
    header += ["of the limit", "peak MiB", "off by", "correlation"]
    height, width = numbers["size_hw"]
    parts = [
        markdown_table(header, rows),
        f"`{numbers['model']}`, one image at {height}x{width}, seeded weights, "
        f"{numbers['threads']} threads each, medians of {numbers['rounds']} interleaved rounds of "
        f"{CALLS} calls after a warm-up{_in_launches(numbers)}. {numbers['rounds_run']} rounds "
        "were run; in those that "
        f"count, other processes took at most {max(numbers['others_share']):.0%} of the processor. "
        "*Times* are medians of the rounds' ratios. *Off by* is the largest difference from our "
        "eager float32 depth, over its range. *Peak* is the most that the side's whole process "
        "held.",
    ]
    if numbers["rates"]:
        parts.append(sentence(numbers["gflop"], numbers["rates"], numbers["least_s"]))
    parts += [best_against_best(numbers, precision) for precision in COMPARED]
    if any(side["side"] == CPP for side in sides):
        parts.append(WHY_INEXACT)
    parts += [f"Left out: {name}, since {why}." for name, why in numbers["left_out"].items()]
    return "\n\n".join(filter(None, parts))


def _in_launches(numbers: dict[str, Any]) -> str:
    count = numbers.get("launches", 1)
    return f", in each of {count} launches of every side" if count > 1 else ""


def headlines(numbers: dict[str, Any]) -> Iterator[Headline]:
    """Our fastest graph in each precision, beside the fastest peer and upstream's package."""
    height, width = numbers["size_hw"]
    for precision in COMPARED:
        pair = _best(numbers, precision)
        if pair is not None:
            what = f"`{numbers['model']}`, {height}x{width}, {precision}"
            yield _headline(what, *pair)
    eager = next((side for side in numbers["sides"] if side["side"] == EAGER), None)
    fastest = _fastest(numbers, True, "f32")
    if eager is not None and fastest is not None:
        yield _headline(f"`{numbers['model']}`, {height}x{width}, f32", fastest, eager)


def _headline(what: str, ours: dict[str, Any], peer: dict[str, Any]) -> Headline:
    times = statistics.median(times_as_fast(peer["seconds_an_image"], ours["seconds_an_image"]))
    own, beside = f"{_seconds(ours) * 1e3:,.0f} ms", f"{peer['side']}, {peer['precision']}"
    return Headline("One photo through the network", what, own, beside, times)


def best_against_best(numbers: dict[str, Any], precision: str) -> str:
    """Our fastest side in a precision against the peer of ``_best``; empty where there is none."""
    pair = _best(numbers, precision)
    if pair is None:
        return ""
    ours, peer = pair
    ratios = times_as_fast(peer["seconds_an_image"], ours["seconds_an_image"])
    launches = ""
    if numbers.get("launches", 1) > 1:
        rounds = numbers["rounds"]
        starts = range(0, len(ratios), rounds)
        medians = [statistics.median(ratios[start : start + rounds]) for start in starts]
        launches = f"; launches {', '.join(f'{one:.2f}' for one in medians)}"
    return (
        f"In {precision}, {ours['side']} is "
        f"**{statistics.median(ratios):.2f}** times as fast as the best peer ({peer['side']}, "
        f"{peer['precision']}); single rounds {min(ratios):.2f} to "
        f"{max(ratios):.2f}{launches}."
    )


def _best(numbers: dict[str, Any], precision: str) -> Optional[tuple[Any, Any]]:
    """Our fastest side, and the fastest peer in that precision or a higher one."""
    ours = _fastest(numbers, True, precision)
    higher = COMPARED[: COMPARED.index(precision) + 1]
    peers = [_fastest(numbers, False, one) for one in higher]
    peer = min(filter(None, peers), key=_seconds, default=None)
    return None if ours is None or peer is None else (ours, peer)


def _fastest(numbers: dict[str, Any], ours: bool, precision: str) -> Any:
    of = [
        side for side in numbers["sides"] if (side["ours"], side["precision"]) == (ours, precision)
    ]
    return min(of, key=_seconds, default=None)


def _seconds(side: dict[str, Any]) -> float:
    return statistics.median(side["seconds_an_image"])
