"""Bar charts as plain numbers, which the templates draw as SVG; and how pages write numbers.

Values in, places in pixels of the drawing out. No HTML.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEIGHT = 170
LEFT, RIGHT, TOP, BOTTOM = 42, 25, 12, 22  # margins: the scale stands at the left


@dataclass(frozen=True)
class Bar:
    """A bar from its upper left corner; ``kind`` is 0 for the first series, 1 for the second."""

    x: float
    y: float
    width: float
    height: float
    kind: int
    text: str


@dataclass(frozen=True)
class Chart:
    """A drawing of ``width`` times ``height``; marks are (y, text), labels (x, text)."""

    width: int
    height: int
    bars: list[Bar]
    marks: list[tuple[float, str]]
    labels: list[tuple[float, str]]
    left: int = LEFT
    right: int = RIGHT


def bar_chart(width: int, series: Sequence[Sequence[float]], labels: Mapping[float, str]) -> Chart:
    """Bars side by side, those of the second series upon those of the first.

    Args:
        series: one or two, of one length; at least one value is above 0.
        labels: left edge of a bar, counted in bars -> text.
    """
    count, highest = len(series[0]), max(map(sum, zip(*series)))
    step, scale = (width - LEFT - RIGHT) / count, (HEIGHT - TOP - BOTTOM) / highest
    floor = HEIGHT - BOTTOM
    bars = []
    for number, stack in enumerate(zip(*series)):
        y = float(floor)
        for kind, value in enumerate(stack):
            y -= value * scale
            bars.append(
                Bar(
                    x=round(LEFT + number * step, 1),
                    y=round(y, 1),
                    width=round(max(step - 1, 0.5), 1),
                    height=round(value * scale, 1),
                    kind=kind,
                    text=number_text(value),
                )
            )
    return Chart(
        width=width,
        height=HEIGHT,
        bars=bars,
        marks=[
            (round(floor - value * scale, 1), number_text(value))
            for value in (0.0, highest / 2, highest)
        ],
        labels=[(round(LEFT + place * step, 1), text) for place, text in labels.items()],
    )


def number_text(value: float) -> str:
    """``1,234``, ``12.3``, ``0.0123``."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def seconds_text(seconds: float) -> str:
    """``1.5 h``, ``20 min``, ``3 s``, ``15 ms``; ``0`` for none."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms" if seconds else "0"
