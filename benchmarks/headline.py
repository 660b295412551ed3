"""One line of the summary: what was measured, ours, and beside what.

Modules of benchmarks make them of their numbers (``headlines``); ``benchmarks.summary`` prints
them. No files.
"""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Headline:
    """What a reader asks first.

    ``group`` and ``what`` name the row, ``beside`` the other side of the comparison; ``ours`` is
    our number with its unit, ``times`` how many times as fast as the other it is, if there is one.
    """

    group: str
    what: str
    ours: str
    beside: str = ""
    times: Optional[float] = None

    @property
    def row(self) -> tuple[str, str, str]:
        """What runs of several Pythons share."""
        return self.group, self.what, self.beside

    @property
    def cell(self) -> str:
        """Ours, and the ratio."""
        return self.ours if self.times is None else f"{self.ours}, **{self.times:.2f}x**"
