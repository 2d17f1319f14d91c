"""What the reading verbs show to people, drawn with rich (imported only by the verbs that draw)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import humanize
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from notifier.cli.data import moment
from notifier.model import FINAL, Config, FailedPoll, Observation

JSON = dict[str, Any]
STYLES = {
    "succeeded": "green",
    "failed": "red",
    "canceled": "yellow",
    "aborted": "yellow",
    "sent": "green",
    "given_up": "red",
    "waiting": "yellow",
}


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _styled(word: str | None) -> Text:
    return Text(word or "-", style=STYLES.get(word or "", ""))


def _ago(iso: str | None) -> str:
    """A time as people say it: `2 minutes ago`, `in 20 seconds`."""
    if iso is None:
        return "-"
    return humanize.naturaltime(datetime.fromisoformat(iso), when=datetime.now(UTC))


def _until(iso: str | None, *, running: bool) -> str:
    """When the next poll is due. It is noted every ten seconds only, so one that lies back is about to be."""
    if iso is not None and running and datetime.fromisoformat(iso) <= datetime.now(UTC):
        return "now"
    return _ago(iso) if running else "-"


def _plain(text: str) -> Text:
    """Text from elsewhere: no markup and no control characters, which a terminal would obey."""
    return Text("".join(character if character.isprintable() else " " for character in text))


def summary(config: Config) -> None:
    """What `check` says of a good configuration."""
    console = _console()
    console.print(
        f"[green]{escape(str(config.path))} is fine[/green]: {_many(len(config.watches), 'watch', 'watches')}, "
        f"{_many(len(config.channels), 'channel', 'channels')}, {_many(len(config.files), 'file', 'files')}"
    )
    table = _table("", "account", "watches", "polls/s asked", "allowed", "")
    for name, api in config.apis.items():
        intervals = [watch.rules.interval for watch in config.watches if watch.key.api == name]
        asked = sum(1.0 / interval for interval in intervals)
        note = ""
        if asked > api.rate:
            note = f"more than `rate`: intervals stretch {asked / api.rate:.3g} times"
        table.add_row(name, str(len(intervals)), _number(asked), _number(api.rate), note)
    console.print(table)
    channels = ", ".join(config.channels)
    console.print(f"channels: {escape(channels)}; operators: {escape(', '.join(config.operators))}")
    for warning in config.warnings:
        console.print(Text("warning: ", style="yellow") + _plain(warning))


def _number(value: float) -> str:
    return f"{value:.1g}" if 0 < value < 0.01 else f"{value:,.2f}".removesuffix("0").removesuffix(".0")


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def status(found: JSON) -> None:
    """What `status` says."""
    console = _console()
    running = "[green]the daemon is running[/green]" if found["running"] else "[red]the daemon is not running[/red]"
    console.print(f"{found['as_of']}: {running}\n")
    table = _table("watches", "name", "api", "status", "last polled", "next poll", "failures", "")
    for watch in found["watches"]:
        note = ", ".join((*watch["trouble"], *(["let go"] if watch["let_go"] else [])))
        next_poll = "never: done" if watch["done"] else _until(watch["next_poll"], running=found["running"])
        name = watch["name"] if watch["name"] == watch["id"] else f"{watch['name']} ({watch['id']})"
        error = f"{note}: {watch['error']}" if note and watch["error"] else note or watch["error"] or ""
        table.add_row(_plain(name), watch["api"], _styled(watch["status"]), _ago(watch["last_polled"]), next_poll,
                      str(watch["failures"] or ""), _plain(error))  # fmt: skip
    console.print(table)
    console.print()
    table = _table("channels", "name", "waiting", "given up", "last sent", "failing since", "")
    for channel in found["channels"]:
        note = "" if channel["configured"] else "no longer configured: what waits, waits until it is back"
        table.add_row(channel["name"], str(channel["waiting"]), str(channel["given_up"]), _ago(channel["last_sent"]),
                      _ago(channel["failing_since"]), note)  # fmt: skip
    console.print(table)
    if found["incidents"]:
        console.print()
        table = _table("incidents", "kind", "subject", "since", "detail")
        for each in found["incidents"]:
            table.add_row(each["kind"], _plain(each["subject"]), _ago(each["since"]), _plain(each["detail"]))
        console.print(table)


def history(found: list[JSON]) -> None:
    """What `history` says."""
    console = _console()
    if not found:
        console.print("nothing was told yet")
    for notice in found:
        change = " -> ".join(filter(None, (notice["before"], notice["after"])))
        head = Text.assemble(
            (notice["time"], "dim"), "  ", (notice["event"], "bold"), "  ", _plain(notice["name"]), "  ", change
        )
        head.append(f"  notice {notice['notice']}", style="dim")
        console.print(head)
        if notice["error"]:
            console.print(Text("    error: ") + _plain(notice["error"]))
        for each in notice["deliveries"]:
            recipient = f" ({each['recipient']})" if each["recipient"] else ""
            line = Text(f"    {each['delivery']:>6}  {each['channel']}{recipient}: ") + _styled(each["state"])
            line.append(f", {_many(each['attempts'], 'attempt', 'attempts')}")
            if each["last_error"]:
                line.append(": ").append_text(_plain(each["last_error"]))
            console.print(line)


def poll(api: str, prediction_id: str, seen: Observation | FailedPoll) -> None:
    """What `poll` says."""
    console = _console()
    if isinstance(seen, FailedPoll):
        console.print(Text(f"{prediction_id} at {api}: ", style="red") + _plain(seen.reason))
        return
    console.print(Text(f"{prediction_id} at {api}: ") + _styled(seen.status))
    facts: list[tuple[str, str | None]] = [
        ("created", moment(seen.created_at)),
        ("started", moment(seen.started_at)),
        ("completed", moment(seen.completed_at)),
        ("error", seen.error),
        ("text", seen.text),
        ("metrics", ", ".join(f"{name} {value:g}" for name, value in seen.metrics) or None),
        ("remark", seen.remark),
    ]
    for name, value in facts:
        if value:
            console.print(Text(f"  {name}: ", style="dim") + _plain(value))
    for link in seen.output:
        console.print(Text("  output: ", style="dim") + _plain(link))
    if seen.data_removed:
        console.print("  the provider has removed its data")
    elif seen.status in FINAL and not seen.has_output:
        console.print("  no output")
    for line in (seen.logs or "").splitlines():
        console.print(Text("  | ", style="dim") + _plain(line))
