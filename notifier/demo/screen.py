"""The demonstration as a person sees it, drawn with rich; without a terminal it is plain text."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from notifier.cli.draw import STYLES
from notifier.demo.lives import Life
from notifier.demo.server import Arrival
from notifier.store import HistoryRow

WIDTH = 96
_SIGNS = {
    "succeeded": "green", "output": "green", "recovered": "green", "again": "green", "failed": "red",
    "lost": "red", "not found": "red", "unreachable": "red", "canceled": "yellow", "aborted": "yellow",
    "stuck": "yellow",
}  # fmt: skip


class Screen:
    """Prints as things happen."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        if self._console.width > WIDTH:
            self._console = Console(highlight=False, width=WIDTH)
        self._start = time.monotonic()

    def opening(self, config: str, cast: list[Life]) -> None:
        """What is going to be seen."""
        excerpt = config.partition("watchlist:")[0].rstrip()
        self._console.print(Text("notifier", style="bold") + Text(": the real daemon, on predictions played by an API "
                            "on this machine. No network, no key; half a minute."))  # fmt: skip
        self._console.print(
            Panel(
                Group(Syntax(excerpt, "yaml", background_color="default", word_wrap=True),
                      Text(f"watchlist: # {len(cast)} predictions, polled every second", style="dim")),
                title="config.yaml", title_align="left", border_style="dim",
            )
        )  # fmt: skip

    def arrival(self, arrival: Arrival) -> None:
        """A message, as its channel got it. The second channel's are a line, because they say the same."""
        at = Text(f"{time.monotonic() - self._start:5.1f} s ", style="dim")
        style = next((style for word, style in _SIGNS.items() if word in arrival.title), "cyan")
        if arrival.channel != "team":
            self._console.print(
                at + Text(f"#{arrival.channel} ", style="bold magenta") + Text(arrival.title, style=style)
            )
            return
        title = Text.assemble(at, ("#team", "bold blue"))
        content = Group(Text(arrival.title, style=f"bold {style}"), Text(arrival.body))
        self._console.print(Panel(content, title=title, title_align="left", border_style=style, box=box.ROUNDED))

    def closing(
        self, cast: list[Life], polls: Mapping[str, int], history: list[HistoryRow], missing: int, seconds: float
    ) -> None:
        """What happened, as a table, and what to do next."""
        table = Table(title="What happened", title_style="bold", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("prediction")
        table.add_column("told", ratio=1)
        for heading in ("polls", "notices", "delivered"):
            table.add_column(heading, justify="right")
        for life in cast:
            rows = [row for row in history if row.key is not None and row.key.id == life.id]
            deliveries = [each for row in rows for each in row.deliveries]
            sent = sum(each.state == "sent" for each in deliveries)
            name = Text.assemble(life.name, "\n", (life.plot, "dim"))
            table.add_row(name, _told(rows), str(polls[life.id]), str(len(rows)), f"{sent} of {len(deliveries)}")
        self._console.print(table)
        if missing:
            self._console.print(Text(f"{missing} notices were still on their way when the time was up.", style="red"))
        self._console.print(
            f"{sum(polls.values())} polls and {len(history)} notices in {seconds:.0f} s. What is finished is not "
            "polled any more."
        )
        self._console.print(
            "Next: copy config.example.yaml to config.yaml and put your token, your channel and your predictions into "
            "it; let `notifier check` and `notifier test` say what they think of it; then `notifier run`."
        )


def _told(rows: list[HistoryRow]) -> Text:
    """The notices in a few words: `processing -> succeeded, output`."""
    said: list[Text] = []
    for row in rows:
        word = (row.status or "") if row.event == "status" else row.event
        said.append(Text(word, style=STYLES.get(word, _SIGNS.get(word, ""))))
    return Text(", ").join(said)
