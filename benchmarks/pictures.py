"""Line charts for the documents: time beside memory, against what grows. PNG files out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.optional import require

INK, ACCENT, SECOND = "#222222", "#1f6f8b", "#b5543a"


@dataclass(frozen=True)
class Panel:
    """One chart: values at the places of the shared axis, and their unit."""

    title: str
    unit: str
    values: Sequence[float]


def draw(
    file: Path, axis: str, places: Sequence[float], names: Sequence[str], panels: Sequence[Panel]
) -> None:
    """Draw panels side by side, every point labelled with its value.

    Args:
        axis: what grows, with its unit.
        places: where each point stands on the axis, which is logarithmic; names: what it is called.
    Raises:
        MissingDependency: matplotlib is not installed.
    """
    require("matplotlib", "dev").use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.2), dpi=120)
    for chart, panel, colour in zip(axes, panels, (ACCENT, SECOND)):
        chart.plot(places, panel.values, marker="o", color=colour, linewidth=2)
        for place, value in zip(places, panel.values):
            chart.annotate(
                _short(value),
                (place, value),
                textcoords="offset points",
                xytext=(0, 8),
                ha="center",
                color=INK,
                fontsize=9,
            )
        chart.set_title(panel.title, loc="left", fontsize=11, color=INK)
        chart.set_xscale("log")
        chart.set_xticks(places, names)
        chart.set_xticks([], minor=True)
        chart.set_xlabel(axis)
        chart.set_ylabel(panel.unit)
        chart.set_ylim(0, max(panel.values) * 1.2)
        chart.margins(x=0.1)
        chart.grid(axis="y", color="#dddddd")
        chart.set_axisbelow(True)
        for side in ("top", "right"):
            chart.spines[side].set_visible(False)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})
    pyplot.close(figure)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
