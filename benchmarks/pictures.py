"""Charts for the documents: panels side by side, each with one message. PNG files out."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.files import write_whole
from runtime.optional import require

INK, GRID, COLOURS = "#222222", "#dddddd", ("#1f6f8b", "#b5543a")


@dataclass(frozen=True)
class Panel:
    """One chart: values at the places of the shared axis, and their unit."""

    title: str
    unit: str
    values: Sequence[float]


def draw_lines(file: Path, axis: str, places: Sequence[float], panels: Sequence[Panel]) -> None:
    """Draw panels side by side, a point at each place on the axis, labelled with its value.

    Both axes begin at 0, so that twice as much looks like twice as much.

    Args:
        axis: what grows, with its unit.
    Raises:
        MissingDependency: matplotlib is not installed.
    """
    figure, charts = _charts(panels, 3.2)
    for chart, panel, colour in charts:
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
        chart.set_xticks(places)
        chart.set_xlabel(axis)
        chart.set_ylabel(panel.unit)
        chart.set_xlim(-0.06 * max(places), 1.08 * max(places))
        chart.set_ylim(0, 1.2 * max(panel.values))
        chart.grid(axis="y", color=GRID)
    _write(figure, file)


def draw_bars(file: Path, names: Sequence[str], panels: Sequence[Panel]) -> None:
    """Draw panels side by side, a bar for each name, labelled with its value.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    figure, charts = _charts(panels, 0.9 + 0.45 * len(names))
    for chart, panel, colour in charts:
        bars = chart.barh(range(len(names)), panel.values, color=colour, height=0.6)
        chart.bar_label(bars, list(map(_short, panel.values)), padding=4, color=INK, fontsize=9)
        chart.set_yticks(range(len(names)), names)
        chart.invert_yaxis()
        chart.set_xlabel(panel.unit)
        chart.set_xlim(0, 1.18 * max(panel.values))
        chart.grid(axis="x", color=GRID)
    _write(figure, file)


def _charts(panels: Sequence[Panel], inches: float) -> tuple[Any, list[tuple[Any, Panel, str]]]:
    """A figure of this height, and an empty chart and a colour for each panel."""
    require("matplotlib", "dev").use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(4.6 * len(panels), inches), dpi=120)
    for chart, panel in zip(axes, panels):
        chart.set_title(panel.title, loc="left", fontsize=11, color=INK)
        chart.set_axisbelow(True)
        for side in ("top", "right"):
            chart.spines[side].set_visible(False)
    return figure, list(zip(axes, panels, COLOURS))


def _write(figure: Any, file: Path) -> None:
    figure.tight_layout()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    write_whole(file, picture.getvalue())


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
