"""The demonstration as a person sees it, drawn with rich; without a terminal it is plain text."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from io import TextIOWrapper

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from notifier.cli.draw import STYLES
from notifier.demo.lives import Life
from notifier.demo.server import Arrival
from notifier.model import DeliveryState, Event
from notifier.store import HistoryRow

WIDTH = 96
SHOWN = 2
"""Watches that the excerpt of the configuration shows."""
_SIGNS = {
    "succeeded": "green", "output": "green", "recovered": "green", "again": "green", "failed": "red",
    "lost": "red", "not found": "red", "unreachable": "red", "canceled": "yellow", "aborted": "yellow",
    "stuck": "yellow",
}  # fmt: skip


class Screen:
    """Prints as things happen."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # where the encoding has no such signs
        self._console = Console(highlight=False)
        if self._console.width > WIDTH:
            self._console = Console(highlight=False, width=WIDTH)
        self._start = time.monotonic()

    def opening(self, config: str, cast: list[Life]) -> None:
        """What is going to be seen."""
        lines = config.splitlines()
        kept = lines[: len(lines) - len(cast) + SHOWN]
        kept.append(f"  # ... and {len(cast) - SHOWN} more")
        self._console.print(Text.assemble(("notifier", "bold"), ": the real daemon, on predictions played by an API on "
                            "this machine. No network, no key; less than half a minute."))  # fmt: skip
        excerpt = Syntax("\n".join(kept), "yaml", background_color="default", word_wrap=True)
        self._console.print(Panel(excerpt, title="config.yaml", title_align="left", border_style="dim"))

    def arrival(self, arrival: Arrival) -> None:
        """A message, as its channel got it. The second channel's are a line, because they say the same."""
        at = (f"{time.monotonic() - self._start:5.1f} s ", "dim")
        style = next((style for word, style in _SIGNS.items() if word in arrival.title), "cyan")
        if arrival.channel != "team":
            self._console.print(Text.assemble(at, (f"#{arrival.channel} ", "bold magenta"), (arrival.title, style)))
            return
        title = Text.assemble(at, ("#team", "bold blue"))
        content = Group(Text(arrival.title, style=f"bold {style}"), Text(arrival.body))
        self._console.print(Panel(content, title=title, title_align="left", border_style=style, box=box.ROUNDED))

    def closing(
        self, cast: list[Life], polls: Mapping[str, int], history: list[HistoryRow], seconds: float, *, complete: bool
    ) -> None:
        """What happened, as a table, and what to do next."""
        table = Table(title="What happened", title_style="bold", title_justify="left", box=box.SIMPLE_HEAD,
                      pad_edge=False)  # fmt: skip
        table.add_column("prediction")
        table.add_column("seen", ratio=1)
        for heading in ("polls", "notices", "delivered"):
            table.add_column(heading, justify="right")
        for life in cast:
            rows = [row for row in history if row.key is not None and row.key.id == life.id]
            seen = _seen(rows).append(f"\n{life.plot}", style="dim")
            table.add_row(life.name, seen, str(polls[life.id]), str(len(rows)), _delivered(rows))
        table.add_section()
        table.add_row("in all", f"{seconds:.0f} s", str(sum(polls.values())), str(len(history)), _delivered(history))
        self._console.print(table)
        if not complete:
            self._console.print(Text("The time was up before everything was told.", style="red"))
        self._console.print("What is finished is not polled any more, also after a restart.\n")
        self._console.print("Next: copy config.example.yaml to config.yaml; put your token, channels and predictions "
                            "into it.")  # fmt: skip
        self._console.print(Text.assemble("Then: ", ("notifier check", "bold"), ", ", ("notifier test", "bold"),
                            " (sends a test message), ", ("notifier run", "bold"), "."))  # fmt: skip


def _seen(rows: list[HistoryRow]) -> Text:
    """What was seen of a prediction, from its notices: `starting → processing → succeeded → output`."""
    words = [row.before for row in rows[:1]]
    words += [row.status if row.event == Event.STATUS else row.event for row in rows]
    return Text(" → ").join(Text(word, style=STYLES.get(word, _SIGNS.get(word, ""))) for word in words if word)


def _delivered(rows: list[HistoryRow]) -> str:
    deliveries = [each for row in rows for each in row.deliveries]
    return f"{sum(each.state == DeliveryState.SENT for each in deliveries)} of {len(deliveries)}"
