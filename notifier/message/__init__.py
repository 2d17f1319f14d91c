"""Title and body of a message from notices alone: facts in, words out.

Everything that came from elsewhere is quoted as data (`text`), the words are ours (`words`) or a person's own
(`templates`), and all of it is cut to what the channel takes: log lines first, then text, then error text, then links
from the end. Links are given whole or not at all; the notice ids always stay.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from notifier.logs import event
from notifier.message import templates, text, words
from notifier.message.words import Room
from notifier.model import Event, Message, Notice

__all__ = ["BODY_LIMIT", "TITLE_LIMIT", "Message", "digest", "plain", "template_problem", "write"]

TITLE_LIMIT = 200
BODY_LIMIT = 3000
"""Characters, where a channel says nothing else."""

_log = logging.getLogger(__name__)


def template_problem(source: str) -> str | None:
    """What is wrong with a title or body template (syntax, an unknown variable or filter), or None. No exceptions."""
    return templates.problem(source, words.VARIABLES)


def write(
    notices: Sequence[Notice],
    *,
    title: str | None = None,
    body: str | None = None,
    limit: int = BODY_LIMIT,
    now: float,
) -> Message:
    """The message for one notice, or for several of one prediction in the order they happened (at least one).

    `title` and `body` are templates; without them, or where one fails, the words are built in. With several notices the
    title speaks of the last, and the body template is written out once for each. `limit` is the most characters the
    body may have (with less than some 40 it is the notice id alone), `now` the wall time (Unix seconds) it is read at.
    Never raises, whatever the facts or the templates are.
    """
    last = notices[-1]
    heading = _from_template("title", title, [last], Room(), now) or words.title(notices)
    ids = [notice.notice for notice in notices]
    source = body

    def compose(room: Room) -> str:
        nonlocal source
        own = _from_template("body", source, notices, room, now)
        if own is not None:
            return _with_ids(own, ids, limit)
        source = None  # it failed once: no second try with less room
        lines = [*_changes(notices, room), *words.who(last), *words.facts(notices, room, now)]
        return text.clean("\n".join([*lines, *_late(notices, now), _footer(ids, limit)]))

    most_links = max(len(notice.output) for notice in notices)
    return Message(_title(heading), _fitted(compose, _footer(ids, limit), limit, most_links))


def _changes(notices: Sequence[Notice], room: Room) -> list[str]:
    """What happened; with several notices, when each happened, those in the middle left out where there are many."""
    if len(notices) == 1:
        return words.happened(notices[0])
    lines = [f"{words.moment(notice.time) or ''} {words.happened(notice)[0]}".strip() for notice in notices]
    first = [words.chain(notices)] if len(words.chain(notices)) <= 300 else []
    if len(lines) > room.changes:
        kept = max(2, room.changes)
        lines = [lines[0], f"… {len(lines) - kept} more changes …", *lines[len(lines) - kept + 1 :]]
    return [*first, *lines, *words.happened(notices[-1])[1:]]


def _late(notices: Sequence[Notice], now: float) -> list[str]:
    return words.late(notices[0], now) if len(notices) == 1 else []


def _from_template(kind: str, source: str | None, notices: Sequence[Notice], room: Room, now: float) -> str | None:
    """What the template writes, or None where there is none, it fails, or it writes nothing."""
    if source is None:
        return None
    try:
        written = [templates.render(source, words.variables(notice, room, now)) for notice in notices]
    except Exception as error:  # noqa: BLE001 - a template is a person's program; whatever it does, the message goes out
        reason = re.sub(r"\w+://\S*", "[link]", text.one_line(text.quotable(str(error)), 200))
        event(_log, logging.WARNING, "template failed, built-in text used", template=kind,
              notice=notices[-1].notice, reason=f"{type(error).__name__}: {reason}")  # fmt: skip
        return None
    return "\n\n".join(part.strip() for part in written).strip() or None


def digest(notices: Sequence[Notice], *, limit: int = BODY_LIMIT, now: float) -> tuple[Message, int]:
    """One message for many notices of different predictions, and how many of them, from the first, it tells.

    As many as fit into `limit` characters, at least one; only those are in the text. `now` as for `write`.
    """
    told = 0
    entries: list[str] = []
    for notice in notices:
        entry = _entry(notice, now)
        ids = [other.notice for other in notices[: told + 1]]
        if len("\n".join([*entries, entry, _remaining(len(notices)), _footer(ids, limit)])) > limit:
            break
        entries.append(entry)
        told += 1
    if told < 2:
        return write(notices[:1], limit=limit, now=now), 1
    rest = [_remaining(len(notices) - told)] if told < len(notices) else []
    counts = Counter(words.headline(notice) for notice in notices[:told])
    heading = f"📋 {told} notices: " + ", ".join(f"{count} {what}" for what, count in counts.most_common(8))
    footer = _footer([notice.notice for notice in notices[:told]], limit)
    body = "\n".join([*entries, *rest, footer])
    return Message(_title(heading), text.clean(body)), told


def _entry(notice: Notice, now: float) -> str:
    """One notice in a digest: a line on what happened, then the error or the links with their end, indented."""
    short = Room(logs=0, text=200, error=300, links=5)
    first, *more = words.happened(notice)
    about = words.who(notice)
    facts = words.facts([notice], short, now)
    told = f"{about[0]}: {first}" if about else first
    return "\n".join([f"{words.sign(notice)} {told}", *(f"   {line}" for line in [*more, *facts])])


def _remaining(count: int) -> str:
    return f"… {count} more follow."


def plain(notice: Notice) -> Message:
    """The short form for a message that was refused for its content: no links, no quoted text, nothing but ASCII."""
    name = words.name(notice).encode("ascii", "ignore").decode().strip()
    what = words.headline(notice).encode("ascii", "ignore").decode().strip()
    who = notice.key.id if notice.key else notice.event.value
    before = (words.word(notice.before) or "").encode("ascii", "ignore").decode()
    changed = f"{before} -> {what}" if before and before != what and notice.event is Event.STATUS else what
    line = f"{name} ({who}): {changed}" if name and name != who else f"{who}: {changed}"
    body = f"{line}\nThe full message was refused.\nnotice {notice.notice}"
    return Message(_title(f"{name or who}: {what}"), body)


def _title(heading: str) -> str:
    return text.one_line(text.clean(heading), TITLE_LIMIT)


# --- cutting ----------------------------------------------------------------------------------------------------------


def _footer(ids: Sequence[str], limit: int) -> str:
    """`notice 7k3q9x2m4d`, or all ids of several; where they would fill a small channel, the first and the last."""
    if len(ids) == 1:
        return f"notice {ids[0]}"
    whole = f"notices {', '.join(ids)}"
    return whole if len(ids) == 2 or len(whole) <= limit // 2 else f"notices {ids[0]}, …, {ids[-1]}"


def _with_ids(content: str, ids: Sequence[str], limit: int) -> str:
    """A person's own body, cleaned, and after it the notice ids that it lacks."""
    content = text.clean(content)
    missing = [each for each in ids if not re.search(rf"(?<!\w){re.escape(each)}(?!\w)", content)]
    return f"{content}\n{_footer(missing, limit)}" if missing else content


def _fitted(compose: Callable[[Room], str], footer: str, limit: int, most_links: int) -> str:
    """The body with as much of everything as fits into `limit` characters, and at the very least its footer."""
    steps = [Room(), Room(logs=6), Room(logs=2), Room(logs=0), Room(logs=0, text=200), Room(logs=0, text=0)]
    steps += [Room(logs=0, text=0, error=length, changes=10) for length in (600, 200, 80)]
    for room in steps:
        body = compose(room)
        if len(body) <= limit:
            return body
    # The most links that fit, by halving.
    least = replace(steps[-1], changes=3)
    fits, too_many = -1, most_links + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if len(compose(replace(least, links=middle))) <= limit:
            fits = middle
        else:
            too_many = middle
    body = compose(replace(least, links=max(fits, 0)))
    if fits >= 0:
        return body
    # Longer than the channel takes even so: its end gives way to the footer.
    return f"{text.cut_lines(body, limit - len(footer) - 1)}\n{footer}" if limit > len(footer) + 2 else footer
