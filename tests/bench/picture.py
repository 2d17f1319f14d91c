"""The growth curves as an SVG, written by hand: one panel a figure, watches on a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, GAP, TOP = 190, 120, 34, 46
_STYLE = (
    "text{font:11px sans-serif;fill:#57606a}.t{font-size:13px;fill:#24292f}.p{font-size:12px;fill:#24292f}"
    "path{fill:none;stroke:#0969da;stroke-width:2}circle{fill:#0969da}line{stroke:#d0d7de}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One curve: a value for each number of watches."""

    name: str
    watches: Sequence[int]
    values: Sequence[float]


def picture(title: str, panels: Sequence[Panel]) -> str:
    """The whole picture, its panels side by side."""
    width, height = GAP + len(panels) * (WIDTH + GAP), TOP + HEIGHT + 44
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{title}</title><style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/><text class="t" x="{GAP}" y="20">{title}</text>',
    ]
    for index, panel in enumerate(panels):
        parts += _panel(panel, GAP + index * (WIDTH + GAP), TOP)
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: int, top: int) -> list[str]:
    """From zero to a little above the most, so that what is flat looks flat."""
    most = max(panel.values) * 1.25 or 1.0
    low, high = math.log10(panel.watches[0]), math.log10(panel.watches[-1])
    bottom = top + HEIGHT
    places = [
        (left + 14 + (WIDTH - 28) * (math.log10(watches) - low) / (high - low), bottom - HEIGHT * value / most)
        for watches, value in zip(panel.watches, panel.values, strict=True)
    ]
    curve = " L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    parts = [
        f'<text class="p" x="{left}" y="{top - 6}">{panel.name}</text>',
        f'<line x1="{left}" y1="{bottom}" x2="{left + WIDTH}" y2="{bottom}"/><path d="M{curve}"/>',
    ]
    for (x, y), watches, value in zip(places, panel.watches, panel.values, strict=True):
        shown = f"{value:.0f}" if value >= 10 else f"{value:.1f}"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        for height, words in ((y - 7, shown), (bottom + 16, f"{watches:,}")):
            parts.append(f'<text x="{x:.1f}" y="{height:.1f}" text-anchor="middle">{words}</text>')
    return parts
