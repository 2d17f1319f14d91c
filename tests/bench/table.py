"""What was measured beside what it is measured by and where the bar is, a row each."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One bar. `value` is in the unit of `first` and `then`, the two heights of the bar; it is to be no higher."""

    what: str
    measured: str
    """For people, with the spread."""
    value: float = math.nan
    unit: str = ""
    first: float | None = None
    then: float | None = None
    yardstick: str = ""
    ratio: float | None = None
    """To the yardstick."""

    def verdict(self) -> str:
        """Which of the bar's two heights were reached; nothing where there is no bar."""
        heights = [height for height in (self.first, self.then) if height is not None]
        if not heights:
            return ""
        if self.then is not None and self.value <= self.then:
            return "then"
        return "first" if self.first is not None and self.value <= self.first else "NO"

    def cells(self) -> list[str]:
        """As strings."""
        heights = [f"{height:g} {self.unit}".strip() for height in (self.first, self.then) if height is not None]
        ratio = "" if self.ratio is None else f"{self.ratio:.3f}"
        return [self.what, self.measured, self.yardstick, ratio, " / ".join(heights), self.verdict()]


HEAD = ["bar", "measured: median (least-most)", "yardstick in the same run", "ratio", "first / then", "reached"]


def table(rows: list[Row]) -> str:
    """All of them, with what the machine was doing besides."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", f"{os.cpu_count()} cores, load average now {load()}"])


def load() -> str:
    """The load average of one, five and fifteen minutes."""
    return " ".join(f"{each:.1f}" for each in os.getloadavg())
