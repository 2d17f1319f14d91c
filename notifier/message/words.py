"""The built-in words: what each notice says, from its facts alone. Pure functions that no odd fact makes fail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import humanize

from notifier.message import incidents, kept, text
from notifier.message.values import Metrics, duration, moment, until
from notifier.model import Event, Notice, Status

ARROW = " → "
NAME_LENGTH = 100
"""Characters of a watch's name that are quoted."""
LINE_LENGTH = 300
"""Characters of one log line that are quoted."""

_STATUS_SIGNS = {
    Status.STARTING: "🕓",
    Status.PROCESSING: "⏳",
    Status.SUCCEEDED: "✅",
    Status.FAILED: "❌",
    Status.CANCELED: "🚫",
    Status.ABORTED: "🛑",
}
_EVENT_SIGNS = {
    Event.STATUS: "❔",  # a status nobody knows; the others have signs of their own
    Event.ERROR: "⚠️",
    Event.OUTPUT: "📦",
    Event.STUCK: "🐌",
    Event.UNREACHABLE: "📡",
    Event.RECOVERED: "💚",
    Event.LOST: "🔍",
    Event.LET_GO: "👋",
    Event.SAVED: "💾",
    Event.SAVE_FAILED: "📭",
    Event.INCIDENT: "🚨",
    Event.INCIDENT_OVER: "🟢",
    Event.GIVEN_UP: "📪",
    Event.TEST: "🔔",
}
_RECOVERIES = {
    Event.STUCK.value: "moves again",
    Event.UNREACHABLE.value: "can be polled again",
    Event.LOST.value: "was found again",
}


@dataclass(frozen=True, slots=True)
class Room:
    """How much a message may quote: lines of logs, characters of output text and error text, links, and as many places
    of files.
    """

    logs: int = 15
    text: int = 600
    error: int = 1500
    links: int = 1000


def metrics(notice: Notice) -> Metrics:
    """The notice's metrics that are numbers one can show."""
    return Metrics((text.label(name, 40), value) for name, value in notice.metrics if math.isfinite(value))


def status(notice: Notice) -> str | None:
    """The status, fit to be quoted."""
    return word(notice.status)


def word(value: str | None) -> str | None:
    """A status as the API wrote it, fit to be quoted."""
    return text.label(value, 64) if value else None


def name(notice: Notice) -> str:
    """What people call it: the watch, or what an incident is about."""
    given = text.label(notice.name, NAME_LENGTH)
    return given or (notice.key.id if notice.key else "notifier")


def error(notice: Notice, length: int) -> str | None:
    """The error text, at most `length` characters of it; None if there is none."""
    return text.cut(text.quotable(notice.error).strip(), length) or None if notice.error else None


def output_text(notice: Notice, length: int) -> str | None:
    """The beginning of an output that is text."""
    if not notice.text or not length:
        return None
    return text.cut(text.inert(text.without_data(text.clean(notice.text[: text.LONGEST]))).strip(), length) or None


def logs(notice: Notice, lines: int) -> list[str]:
    """The last log lines that are not empty."""
    if not notice.logs or not lines:
        return []
    written = [line.rstrip() for line in text.quotable(notice.logs[-text.LONGEST :]).split("\n")]
    return [text.cut(line, LINE_LENGTH) for line in written if line][-lines:]


def links(notice: Notice, most: int) -> list[str]:
    """The output links, whole; the ones there is no room for are counted in a last line."""
    whole = [url for url in map(text.link, notice.output) if url]
    shown = whole[:most]
    more = len(whole) - len(shown) + sum(len(url) > text.LONGEST for url in notice.output)
    return [*shown, f"… and {more} more"] if more else shown


def sign(notice: Notice) -> str:
    """One sign for what happened, so that a list of titles can be read at a glance."""
    if notice.event is Event.STATUS and notice.status in _STATUS_SIGNS:
        return _STATUS_SIGNS[Status(notice.status)]
    return _EVENT_SIGNS[notice.event]


# --- what happened ----------------------------------------------------------------------------------------------------


def change(notice: Notice) -> str:
    """`processing → succeeded`; `first seen: failed` where nothing was known before."""
    before, after = word(notice.before), status(notice) or "no status"
    if before is None:
        return f"first seen: {after}"
    return after if before == after else f"{before}{ARROW}{after}"


def chain(notices: Sequence[Notice]) -> str:
    """All statuses the notices went through: `starting → processing → succeeded`."""
    seen: list[str] = []
    for value in (value for notice in notices for value in (word(notice.before), status(notice)) if value):
        if not seen or seen[-1] != value:
            seen.append(value)
    return ARROW.join(seen)


def headline(notice: Notice) -> str:
    """What happened in a few words, for a title that names the watch already."""
    after = status(notice)
    match notice.event:
        case Event.STATUS:
            return after or "no status"
        case Event.ERROR:
            return f"error while {after}" if after and after not in (Status.FAILED, Status.ABORTED) else "error"
        case Event.OUTPUT:
            return "output arrived"
        case Event.STUCK:
            return f"stuck in {after}" if after else "stuck"
        case Event.LOST:
            return "vanished" if _seen(notice) else "not found"
        case Event.SAVED:
            return kept.were_kept(notice)
        case Event.SAVE_FAILED:
            return kept.not_kept(notice)
        case Event.INCIDENT:
            return "in trouble"
        case Event.INCIDENT_OVER:
            return "works again"
        case Event.GIVEN_UP:
            return "not delivered"
        case Event.TEST:
            return "test message"
    return notice.event.value.replace("_", " ")


def tally(notice: Notice) -> str:
    """What it is counted as, among many."""
    counts = (Event.SAVED, Event.SAVE_FAILED)  # of files, in their headlines
    return notice.event.value.replace("_", " ") if notice.event in counts else headline(notice)


def title(notices: Sequence[Notice]) -> str:
    """The built-in title of one notice, or of several of one prediction."""
    last = notices[-1]
    who = name(last)
    steps = chain(notices)
    told = steps if len(notices) > 1 and steps.endswith(headline(last)) else ", ".join(map(headline, notices[-3:]))
    if len(told) > 90:
        told = headline(last)
    return f"{sign(last)} {told}" if who == told else f"{sign(last)} {who}: {told}"


def happened(notice: Notice) -> list[str]:
    """What happened: a line that stands on its own and leaves nothing out, then what is quoted in detail."""
    first, *detail = _main(notice)
    if notice.event is not Event.RECOVERED and notice.ends:
        first = f"{first.removesuffix('.')}. {_recovery(notice)}."
    if notice.event in (Event.STUCK, Event.UNREACHABLE, Event.LET_GO) and _changed(notice):
        first += f" The status changed: {change(notice)}."
    return [first, *detail]


def _main(notice: Notice) -> list[str]:
    after = status(notice)
    match notice.event:
        case Event.STATUS:
            known = notice.status in _STATUS_SIGNS
            return [change(notice) + ("" if known else " (a status nobody knows; the watch goes on)")]
        case Event.ERROR:
            return [change(notice) if _changed(notice) else f"An error text appeared; the status is {after}."]
        case Event.OUTPUT:
            return [f"Output arrived after the prediction had {after or 'ended'}."]
        case Event.RECOVERED:
            now = change(notice) if _changed(notice) else f"The status is {after}." if after else ""
            return [f"{_recovery(notice)}{_lasted(notice)}. {now}".strip(), *_detail(notice, "The trouble was: ")]
        case Event.LOST:
            return [f"{_lost(notice)} From now on it is asked for once an hour.", *_detail(notice, "The answer: ")]
        case Event.SAVED:
            size = kept.total_size(notice.files)
            return [f"{kept.were_kept(notice).capitalize()}{f', {size}' if size else ''}.", *_detail(notice)]
        case Event.SAVE_FAILED:
            return [kept.could_not_be_kept(notice), *_detail(notice)]
        case Event.INCIDENT:
            return incidents.began(name(notice), _detail(notice, "The reason: "), notice.since, notice.count)
        case Event.INCIDENT_OVER:
            return incidents.over(name(notice), _detail(notice, "The trouble was: "), notice.since, notice.count)
        case Event.GIVEN_UP:
            return _detail(notice) or ["It is not tried any more."]
        case Event.TEST:
            return ["This is a test message: nothing happened to any prediction.", *_detail(notice)]
    return _trouble(notice)


def _trouble(notice: Notice) -> list[str]:
    """Sentences for stuck, unreachable and let_go."""
    lasting = f" for {duration(notice.since)}" if notice.since is not None else ""
    now = status(notice)
    if notice.event is Event.STUCK:
        # The detail is a remark of our own here, such as "its deadline has passed".
        remark = "".join(_detail(notice)).removesuffix(".")
        more = f" {remark[:1].upper()}{remark[1:]}." if remark else ""
        return [f"It has been {now or 'without a status'}{lasting}, and nothing changed.{more}"]
    last = f"The last known status is {now}." if now else "It was never seen."
    failure = _detail(notice, "The last failure: ")
    if notice.event is Event.UNREACHABLE:
        return [f"It cannot be polled{_tries(notice)}. {last} It is asked on; you are told when it answers.", *failure]
    return [f"It was watched{lasting} and has not ended. {last} It is no longer watched.", *failure]


def _changed(notice: Notice) -> bool:
    return bool(notice.before and notice.status and notice.before != notice.status)


def _recovery(notice: Notice) -> str:
    ended = " and ".join(_RECOVERIES.get(trouble, f"is no longer {word(trouble)}") for trouble in notice.ends)
    return f"It {ended or 'recovered'}"


def _lasted(notice: Notice) -> str:
    return f" after {duration(notice.since)}" if notice.since is not None else ""


def _lost(notice: Notice) -> str:
    if not _seen(notice):
        return f"The API does not know this id{_tries(notice)}: a typo, or another account's?"
    known = word(_seen(notice))
    return f"It vanished: the API no longer knows it{_tries(notice)}. The last known status is {known}."


def _detail(notice: Notice, label: str = "") -> list[str]:
    """What more there is to say; text from elsewhere, like an error, but on one line."""
    return [label + text.one_line(text.quotable(notice.detail), 1000)] if notice.detail else []


def _tries(notice: Notice) -> str:
    times = f"{humanize.intcomma(notice.count)} {'try' if notice.count == 1 else 'tries'}" if notice.count else ""
    spent = f"{' ' if times else ''}over {duration(notice.since)}" if notice.since is not None else ""
    return f" ({times}{spent})" if times or spent else ""


def _seen(notice: Notice) -> str | None:
    """The status last known of a prediction that is lost; None for an id never seen."""
    return notice.before or notice.status


# --- the rest of a message --------------------------------------------------------------------------------------------


def who(notice: Notice) -> list[str]:
    """Which prediction: its name, id and account. Nothing for an incident or a test."""
    if notice.key is None:
        return []
    given = name(notice)
    where = f"{notice.key.id} at {text.label(notice.key.api, 64)}"
    return [where if given == notice.key.id else f"{given} ({where})"]


def facts(notices: Sequence[Notice], room: Room, now: float) -> list[str]:
    """What went wrong, what came out, how long it took, the last log lines: of each the newest, errors all, once."""
    lines = []
    errors = dict.fromkeys(filter(None, (error(notice, room.error) for notice in notices)))
    for told in errors:
        lines += _block("Error", told.split("\n"))
    failed = any(notice.event is Event.STATUS and notice.status == Status.FAILED for notice in notices)
    if failed and not errors:
        lines.append("It gave no error text.")
    lines += _came_out(notices, room, now)
    lines += _took(notices)
    if failed or errors or any(notice.event is Event.STUCK for notice in notices):
        newest = next((notice for notice in reversed(notices) if notice.logs), None)
        lines += _quoted("Last log lines", logs(newest, room.logs)) if newest else []
    return lines


def _took(notices: Sequence[Notice]) -> list[str]:
    took = next((duration(notice.took) for notice in reversed(notices) if notice.took is not None), None)
    last = next((metrics(notice) for notice in reversed(notices) if notice.metrics), Metrics())
    # The times that say nothing but how long it took are not said again.
    measured = Metrics(
        (name, value)
        for name, value in last.items()
        if name not in ("total_time", "predict_time") or duration(value) != took
    )
    line = "; ".join(part for part in (f"took {took}" if took else "", text.cut(str(measured), 200)) if part)
    return [line[:1].upper() + line[1:]] if line else []


def _came_out(notices: Sequence[Notice], room: Room, now: float) -> list[str]:
    """The output, and what became of its files: first what can still be had."""
    files = next((notice.files for notice in reversed(notices) if notice.files), ())
    became = kept.lines(files, room.links)
    last = next((notice for notice in reversed(notices) if _tells_output(notice)), None)
    if last is None:
        return [*became, *_left(notices[-1], room, now)]
    if became and not (last.output or last.text or last.data_removed):
        return became  # of an output that is neither, its files are what there is to say
    output = _output(last, room, now)
    is_there = bool(last.text) or (bool(last.output) and not _is_over(last, now))
    return [*became, *output] if kept.saved(files) and not is_there else [*output, *became]


def _left(notice: Notice, room: Room, now: float) -> list[str]:
    """Where files that could not be kept can still be had."""
    shown = links(notice, room.links) if notice.event is Event.SAVE_FAILED and not _is_over(notice, now) else []
    return ["Still at the provider:", *shown, *_works_until(notice, len(shown), now)] if shown else []


def _is_over(notice: Notice, now: float) -> bool:
    """Whether its links work no longer."""
    return notice.expires is not None and notice.expires < now


def _works_until(notice: Notice, count: int, now: float) -> list[str]:
    works = until(notice.expires, now)
    verb = "worked until" if _is_over(notice, now) else "works until" if count == 1 else "work until"
    return [f"The link{'s' * (count > 1)} {verb} {works}."] if works else []


def _tells_output(notice: Notice) -> bool:
    if notice.event in (Event.SAVED, Event.SAVE_FAILED):
        return False  # it tells of files
    there = bool(notice.has_output or notice.output or notice.text or notice.data_removed)
    return there or (notice.event is Event.STATUS and notice.status == Status.SUCCEEDED)


def _output(notice: Notice, room: Room, now: float) -> list[str]:
    shown = links(notice, room.links)
    if shown:
        return ["Output:", *shown, *_works_until(notice, len(shown), now)]
    if notice.text:
        written = output_text(notice, room.text)
        return _block("Output", written.split("\n")) if written else ["The output is text."]
    if notice.data_removed:
        return ["The output was already removed by the provider."]
    return ["There is output, but neither a link nor text."] if notice.has_output else ["No output so far."]


def _block(label: str, lines: Sequence[str]) -> list[str]:
    """Quoted text beside its label where it is one line, else under it."""
    return [f"{label}: {lines[0]}"] if len(lines) == 1 else _quoted(label, lines)


def _quoted(label: str, lines: Sequence[str]) -> list[str]:
    """Quoted lines under their label, so marked that none of them can pass for one of ours."""
    return [f"{label}:", *(f"> {line}" for line in lines)] if lines else []


def late(notice: Notice, now: float) -> list[str]:
    """When it was seen, where that was more than a minute ago: a delivery may have waited for its channel."""
    at = moment(notice.time)
    if at is None or now - notice.time <= 60:
        return []
    return [f"Seen at {at}, {humanize.naturaldelta(now - notice.time)} ago."]


def variables(notice: Notice, room: Room, now: float) -> Mapping[str, object]:
    """What a template can name. All are strings fit to be quoted, or None where they do not apply, but for
    `output` (list of links), `files` (list of places), `count` (a number) and `metrics` (numbers by name). Times and
    durations are written out.

    `status` is the event in words where there is no status (an incident, an id never seen).
    """
    return {
        "name": name(notice),
        "id": notice.key.id if notice.key else None,
        "api": notice.key.api if notice.key else None,
        "event": notice.event.value,
        "before": word(notice.before),
        "status": status(notice) or headline(notice),
        "error": error(notice, room.error),
        "output": links(notice, room.links),
        "text": output_text(notice, room.text),
        "expires": until(notice.expires, now),
        "files": kept.places(notice.files, room.links),
        "took": duration(notice.took) if notice.took is not None else None,
        "metrics": metrics(notice),
        "logs": "\n".join(logs(notice, room.logs)) or None,
        "detail": "\n".join(_detail(notice)) or None,
        "notice": notice.notice,
        "since": duration(notice.since) if notice.since is not None else None,
        "count": notice.count,
    }


VARIABLES = frozenset(variables(Notice("", Event.TEST, 0.0), Room(), 0.0))
"""Every name a template can use."""
