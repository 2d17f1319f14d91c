"""What the reading verbs show to people, drawn with rich (imported only by the verbs that draw)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.text import Text

from notifier.data import asked_for, moment
from notifier.decide import shortfall
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
    "saved": "green",
    "lost": "red",
}

WIDE = 100_000
"""Columns of what is no terminal: whoever reads a pipe or a file wants each line whole."""
LONGEST_ERROR = 500
"""Characters of an error text that a person is shown; all of it is in the JSON."""
LEAST_NAME = 12
"""Columns that a name keeps on a narrow terminal."""


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDE)


def _styled(word: str | None) -> Text:
    return Text(word or "-", style=STYLES.get(word or "", ""))


def _short(seconds: float) -> str:
    """A duration in at most four characters: `45s`, `12m`, `3h`, `90d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _ago(iso: str | None) -> str:
    """A time as people say it: `2m ago`, `in 20s`."""
    if iso is None:
        return "-"
    away = (datetime.now(UTC) - datetime.fromisoformat(iso)).total_seconds()
    return f"{_short(away)} ago" if away >= 0 else f"in {_short(-away)}"


def _until(iso: str | None, *, running: bool) -> str:
    """When the next poll is due. It is noted every ten seconds only, so one that lies back is about to be."""
    if iso is not None and running and datetime.fromisoformat(iso) <= datetime.now(UTC):
        return "now"
    return _ago(iso) if running else "-"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_ERROR else f"{text[: LONGEST_ERROR - 1]}…"


def _plain(text: str) -> Text:
    """Text from elsewhere: no markup and no control characters, which a terminal would obey."""
    return Text("".join(character if character.isprintable() else " " for character in text))


Row = tuple[Sequence[Text | str], Sequence[Text]]
"""The cells of a line, and what is told below it."""


def _grid(console: Console, title: str, header: Sequence[str], rows: Sequence[Row], cut: int | None = None) -> None:
    """Columns as wide as their widest cell, save the one to `cut` where the terminal is too narrow; what is told below
    a line is indented.
    """
    lines = [[Text(cell) if isinstance(cell, str) else cell for cell in cells] for cells, _ in rows]
    widths = [max(map(cell_len, column)) for column in zip(header, *(map(str, line) for line in lines), strict=True)]
    if cut is not None:
        widths[cut] -= max(0, min(widths[cut] - LEAST_NAME, sum(widths) + 2 * len(widths) - 2 - console.width))

    def line(cells: Iterable[Text]) -> Text:
        fitted = [cell.copy() for cell in cells]
        for cell, width in zip(fitted, widths, strict=True):
            cell.truncate(width, overflow="ellipsis", pad=True)
        whole = Text("  ").join(fitted)
        whole.rstrip()
        return whole

    console.print(Text(title, style="bold"))
    if rows:
        console.print(line(Text(cell, style="dim") for cell in header))
    for cells, (_, below) in zip(lines, rows, strict=True):
        console.print(line(cells))
        for text in below:
            _indented(console, text)
    console.print()


def _indented(console: Console, text: Text) -> None:
    """One line of its own, or as many as a terminal needs, four columns in."""
    for part in text.wrap(console, max(LEAST_NAME, console.width - 4)):
        part.rstrip()
        console.print(Text("    ") + part)


def summary(config: Config, latency: Mapping[str, float]) -> None:
    """What `check` says of a good configuration. `latency` is how long a poll of an account takes, where known."""
    console = _console()
    console.print(
        f"[green]{escape(str(config.path))} is fine[/green]: {_many(len(config.watches), 'watch', 'watches')}, "
        f"{_many(len(config.channels), 'channel', 'channels')}, {_many(len(config.files), 'file', 'files')}"
    )
    rows: list[Row] = []
    for name, api in config.apis.items():
        watches = sum(watch.key.api == name for watch in config.watches)
        asked = asked_for(config, name)
        behind = shortfall(asked=asked, rate=api.rate, concurrency=api.concurrency, latency=latency.get(name))
        note = [Text(behind, style="yellow")] if behind else []
        rows.append(((name, str(watches), _number(asked), _number(api.rate)), note))
    _grid(console, "", ("account", "watches", "polls/s asked", "allowed"), rows)
    channels = ", ".join(config.channels)
    console.print(f"channels: {escape(channels)}; operators: {escape(', '.join(config.operators))}")
    if config.outputs is not None:
        saved = sum(watch.rules.save for watch in config.watches)
        console.print(
            Text(f"outputs of {_many(saved, 'watch', 'watches')} are kept in ") + _plain(config.outputs.directory)
        )
    for warning in config.warnings:
        console.print(Text("warning: ", style="yellow") + _plain(warning), soft_wrap=False)


def _number(value: float) -> str:
    return f"{value:.1g}" if 0 < value < 0.01 else f"{value:,.2f}".removesuffix("0").removesuffix(".0")


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def status(found: JSON) -> None:
    """What `status` says."""
    console = _console()
    running = "[green]the daemon is running[/green]" if found["running"] else "[red]the daemon is not running[/red]"
    console.print(f"{found['as_of']}: {running}\n")
    _watches(console, found["watches"], running=found["running"])
    for account in found["accounts"]:
        if account["shortfall"]:
            console.print(Text(f"account {account['name']} cannot keep up: {account['shortfall']}\n", style="yellow"))
    rows: list[Row] = [
        (
            (
                each["name"],
                str(each["waiting"]),
                str(each["given_up"]),
                _ago(each["last_sent"]),
                _ago(each["failing_since"]),
            ),
            _channel_troubles(each),
        )
        for each in found["channels"]
    ]
    _grid(console, "channels", ("name", "waiting", "given up", "last sent", "failing since"), rows)
    if any(each["given_up"] for each in found["channels"]):
        console.print("`notifier history` shows what was given up, `notifier resend` sends it again.\n")
    if found["incidents"]:
        rows = [
            ((each["kind"], _plain(each["subject"]), _ago(each["since"])), [_plain(each["detail"])])
            for each in found["incidents"]
        ]
        _grid(console, "incidents", ("kind", "subject", "since"), rows)
    if found["outputs"]:
        _outputs(console, found["outputs"])


def _outputs(console: Console, outputs: JSON) -> None:
    counts = [f"{outputs['saved']:,} kept", *_on_their_way_and_gone(outputs)]
    console.print(Text.assemble(("outputs", "bold"), f": {', '.join(counts)}, in ", _plain(outputs["directory"])))


def _on_their_way_and_gone(counts: Mapping[str, int]) -> list[str]:
    """Of the files that are not kept, how many there are by their state."""
    words = (("waiting", "on its way" if counts["waiting"] == 1 else "on their way"), ("lost", "lost"))
    return [f"{counts[state]:,} {word}" for state, word in (*words, ("removed", "removed")) if counts.get(state)]


def _watches(console: Console, watches: list[JSON], *, running: bool) -> None:
    """The watches; without the columns that would say nothing: names that are ids, the only account."""
    named = any(watch["name"] != watch["id"] for watch in watches)
    several = len({watch["api"] for watch in watches}) > 1
    header = ("status", *(["name"] if named else []), "id", *(["account"] if several else []), "polled", "next")
    rows: list[Row] = [
        (
            (
                _styled(watch["status"]),
                *([_plain(watch["name"] if watch["name"] != watch["id"] else "")] if named else []),
                watch["id"],
                *([watch["api"]] if several else []),
                _ago(watch["last_polled"]),
                _next_poll(watch, running=running),
            ),
            [*_troubles(watch), *_kept(watch["files"])],
        )
        for watch in watches
    ]
    _grid(console, "watches" if rows else "no watches", header, rows, cut=1 if named else None)


def _next_poll(watch: JSON, *, running: bool) -> str:
    if watch["done"] or watch["let_go"]:
        return "never: done" if watch["done"] else "never: let go"
    return _until(watch["next_poll"], running=running)


def _troubles(watch: JSON) -> list[Text]:
    """What is wrong with a watch, a line each."""
    found = []
    if watch["trouble"] or watch["failures"]:
        failed = _many(watch["failures"], "failed poll", "failed polls") if watch["failures"] else ""
        found.append(": ".join(filter(None, (", ".join((*watch["trouble"], failed)).strip(", "), watch["failure"]))))
    if watch["error"]:
        found.append(_cut(f"error: {watch['error']}"))
    return [Text(style="yellow").append_text(_plain(text)) for text in found]


def _kept(files: Sequence[JSON]) -> list[Text]:
    """What became of a watch's files: `3 kept`, `1 of 3 kept, 2 on their way`, `2 lost`."""
    if not files:
        return []
    counts = Counter(file["state"] for file in files)
    of_all = "" if counts["saved"] == len(files) else f" of {len(files)}"
    kept = [f"{counts['saved']}{of_all} kept"] if counts["saved"] else []
    told = ", ".join([*kept, *_on_their_way_and_gone(counts)])
    return [Text(f"files: {told}", style="yellow" if counts["lost"] else "")]


def _channel_troubles(channel: JSON) -> list[Text]:
    found = []
    if channel["failing_since"] and channel["last_error"]:
        found.append(channel["last_error"])
    if not channel["configured"]:
        found.append("no longer configured: what waits, waits until it is back")
    return [Text(style="yellow").append_text(_plain(text)) for text in found]


def history(found: list[JSON]) -> None:
    """What `history` says."""
    console = _console()
    for notice in found:
        change = " → ".join(dict.fromkeys(filter(None, (notice["before"], notice["after"]))))
        who = notice["name"] if notice["id"] in (None, notice["name"]) else f"{notice['name']} ({notice['id']})"
        head = Text.assemble((notice["time"], "dim"), "  ", (notice["event"], "bold"), "  ", _plain(who))
        if change:
            head.append("  ").append_text(_plain(change))
        console.print(head.append(f"  notice {notice['notice']}", style="dim"), soft_wrap=False)
        for name in ("error", "detail"):
            if notice[name]:
                _indented(console, _plain(_cut(f"{name}: {notice[name]}")))
        for each in notice["deliveries"]:
            recipient = f" ({each['recipient']})" if each["recipient"] else ""
            line = Text(f"{each['delivery']:>6}  {each['channel']}{recipient}: ") + _styled(each["state"])
            line.append(f", {_many(each['attempts'], 'attempt', 'attempts')}")
            if each["last_error"]:
                line.append("; before: " if each["state"] == "sent" else ": ").append_text(_plain(each["last_error"]))
            _indented(console, line)


def files(found: list[JSON]) -> None:
    """Where the files of a prediction are, or why not; each place on a line of its own, to be copied."""
    console = _console()
    console.print(Text("files", style="bold"))
    for file in found:
        line = Text(f"{file['number']:>6}  ") + _styled(file["state"])
        if file["size"] is not None:
            line.append(f", {decimal(file['size'])}")
        if file["state"] == "waiting" and file["expires"]:
            line.append(f", given up {_ago(file['expires'])}")
        if file["state"] != "saved" and file["error"]:
            line.append(": ").append_text(_plain(file["error"]))
        _indented(console, line)
        where = file["place"] if file["state"] == "saved" else file["source"]
        console.print(Text(" " * 12) + _plain(where or ""))


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
