"""What was measured on a GPU as Markdown: beside what is expected, and beside the best peer."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from benchmarks.cuda_sides import HOST, OURS
from benchmarks.document import markdown_table

TIMES_PEER = 1.3  # as fast as the best peer of the same run, at least
HEADER = ["side", "ms a call", "images/s", "times best peer", "of the limit", "1 - correlation"]


@dataclass(frozen=True)
class Expected:
    """What a case should reach on an H100-class GPU in 16 bits, on the device."""

    words: str
    figure: str  # of ``figures``
    bound: float

    def met(self, figures: Mapping[str, float]) -> bool:
        """Whether figures reach it."""
        found = figures[self.figure]
        return found <= self.bound if self.figure == "ms" else found >= self.bound


EXPECTED = {
    ("vits", 1): Expected("2.0 ms at most", "ms", 2.0),
    ("vits", 32): Expected("3,000 images/s at least", "rate", 3000),
    ("vitl", 16): Expected("45 % of the limit at least", "share", 0.45),
}


def figures(case: Mapping[str, Any], product_rate: float) -> dict[str, dict[str, float]]:
    """What is said of each side: ms a call, images a second, share of the limit, times best peer.

    Like is compared with like: 16 bits with 16 bits, host to host with host to host.
    """
    took = {side: statistics.median(s) for side, s in case["seconds_an_image"].items()}
    least, found = case["gflop_an_image"] * 1e9 / product_rate, {}
    for side, seconds in took.items():
        rivals = [
            s for other, s in took.items()
            if not other.startswith(OURS) and (HOST in other) == (HOST in side)
        ]  # fmt: skip
        found[side] = {
            "ms": seconds * case["batch"] * 1000,
            "rate": 1 / seconds,
            "share": least / seconds,
        }
        if side.startswith(OURS) and "f32" not in side and rivals:
            found[side]["times"] = min(rivals) / seconds
    return found


def best_of_ours(found: Mapping[str, Mapping[str, float]]) -> Optional[str]:
    """Our fastest side in 16 bits on the device; host to host if there is none."""
    ours = [side for side in found if side.startswith(OURS) and "f32" not in side]
    on_device = [side for side in ours if HOST not in side]
    return min(on_device or ours, key=lambda side: found[side]["ms"], default=None)


def table(numbers: dict[str, Any]) -> str:
    """The numbers of ``measure`` as Markdown: what was expected and found, then every side."""
    dry = numbers["device"] == "the processor"
    expected, sides, missing = [], [], []
    for case in numbers["cases"]:
        name = f"`{case['model']}` x {case['batch']}"
        found = figures(case, numbers["product_rate"])
        verdict = ["", "not measured", "", "", ""]
        if not dry:
            verdict = _verdict((case["model"], case["batch"]), found)
        expected.append([name, *verdict])
        for side, of_side in found.items():
            pearson, times = case["pearson"].get(side), of_side.get("times")
            sides.append(
                [
                    f"{name}, {side}",
                    f"{of_side['ms']:,.2f}",
                    f"{of_side['rate']:,.0f}",
                    f"**{times:.2f}**" if times else "",
                    f"{of_side['share']:.0%}" if of_side["share"] else "",
                    "" if pearson is None else f"{max(0.0, 1 - pearson):.0e}",
                ]
            )
        missing += [f"- {name}, {side}: {why}" for side, why in case.get("left_out", {}).items()]
    height, width = numbers["size_hw"]
    parts = [
        "**Dry run on the processor: the steps, and no speed of anything.**" if dry else "",
        markdown_table(["case", "expected", "best of ours", "", "of the best peer", ""], expected),
        markdown_table(HEADER, sides),
        "Left out:\n\n" + "\n".join(missing) if missing else "",
        f"{numbers['device']}, CUDA {numbers['cuda']}; {height}x{width}, seeded weights, medians "
        "of "
        f"{numbers['rounds']} interleaved rounds after a warm-up. Expected is of an H100-class "
        "GPU. The limit is the time of the network's products at the rate of one large bfloat16 "
        f"product, {numbers['product_rate'] / 1e12:,.1f} TFLOP/s in the same run. Correlation is "
        "with the eager network in float32 without TF32.",
    ]
    return "\n\n".join(filter(None, parts))


def _verdict(case: tuple[str, int], found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What a case should reach, what it reached, and whether that is enough."""
    side, wanted = best_of_ours(found), EXPECTED.get(case)
    words = wanted.words if wanted else ""
    if side is None:
        return [words, "none in 16 bits", "", "", ""]
    best = found[side]
    times = best.get("times")
    reached = f"{side[len(OURS) :]}: {best['ms']:,.2f} ms, {best['rate']:,.0f} images/s"
    reached += f", {best['share']:.0%} of the limit" if best["share"] else ""
    return [
        words,
        reached,
        ("yes" if wanted.met(best) else "**no**") if wanted else "",
        f"{times:.2f}, expected {TIMES_PEER}" if times else "no peer ran",
        ("yes" if times >= TIMES_PEER else "**no**") if times else "",
    ]
