"""Title and body of a message from notices alone: facts in, words out.

Everything that came from elsewhere is quoted as data (`text`), the words are ours (`words`) or a person's own
(`templates`), and all of it is cut to what the channel takes: log lines first, then text, then error text, then links
and places of files from the end. Those are given whole or not at all; the notice ids always stay.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from notifier.logs import event, is_news
from notifier.message import templates, text, values, words
from notifier.message.words import Room
from notifier.model import Event, Message, Notice

__all__ = ["BODY_LIMIT", "TITLE_LIMIT", "Message", "digest", "join", "plain", "template_problem", "write"]

TITLE_LIMIT = 200
BODY_LIMIT = 3000
"""Characters, where a channel says nothing else."""

_SHORT = Room(logs=0, text=200, error=300, links=5)
"""What is quoted of each notice where a message tells many."""

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
    Of more notices than `join` would tell, not all need be in the text. Never raises, whatever the facts or the
    templates are.
    """
    return _message(_Words(notices, title, body, limit, now), len(notices))


def join(
    notices: Sequence[Notice],
    *,
    title: str | None = None,
    body: str | None = None,
    limit: int = BODY_LIMIT,
    now: float,
) -> tuple[Message, int]:
    """Like `write`, for any number of notices, and how many of them, from the first, the message tells.

    As many as fit with all that happened and something of each error and output; at least one.
    """
    if len(notices) == 1:
        return write(notices, title=title, body=body, limit=limit, now=now), 1
    words_of = _Words(notices, title, body, limit, now)
    told, too_many = 1, len(notices) + 1
    while too_many - told > 1:
        middle = (told + too_many) // 2
        if len(words_of.body(middle, _SHORT)) <= limit:
            told = middle
        else:
            too_many = middle
    return _message(words_of, told), told


def _message(words_of: _Words, told: int) -> Message:
    shown = words_of.notices[:told]
    most_links = max(max(len(notice.output), len(notice.files)) for notice in shown)
    footer = _footer([notice.notice for notice in shown], words_of.limit)
    title = words_of.title(told)
    return Message(title, _fitted(lambda room: words_of.body(told, room), footer, words_of.limit, most_links))


class _Words:
    """The title and body of the first so many of one prediction's notices, with any room for what is quoted."""

    def __init__(self, notices: Sequence[Notice], title: str | None, body: str | None, limit: int, now: float) -> None:
        self.notices, self.limit = notices, limit
        self._title, self._body, self._now = title, body, now

    def title(self, told: int) -> str:
        shown = self.notices[:told]
        own = _from_template("title", self._title, shown[-1:], Room(), self._now)
        return _title(own or words.title(shown))

    def body(self, told: int, room: Room) -> str:
        shown = self.notices[:told]
        ids = [notice.notice for notice in shown]
        own = _from_template("body", self._body, shown, room, self._now)
        if own is not None:
            return _with_ids(own, ids, self.limit)
        self._body = None  # it failed once: no second try with less room
        rest = [_remaining(len(self.notices) - told)] if told < len(self.notices) else []
        lines = [*self._changes(shown), *words.facts(shown, room, self._now), *words.who(shown[-1]), *rest]
        return text.clean("\n".join([*lines, _footer(ids, self.limit)]))

    def _changes(self, shown: Sequence[Notice]) -> list[str]:
        """What happened; with several notices, when each happened, and all statuses where the title may lack them."""
        last = words.happened(shown[-1])
        if len(shown) == 1:
            return [last[0], *words.late(shown[0], self._now), *last[1:]]
        lines = [f"{values.moment(notice.time) or ''}: {words.happened(notice)[0]}".lstrip(": ") for notice in shown]
        chain = words.chain(shown)
        return [*([chain] if self._title is not None and len(chain) <= 300 else []), *lines, *last[1:]]


def _from_template(kind: str, source: str | None, notices: Sequence[Notice], room: Room, now: float) -> str | None:
    """What the template writes, or None where there is none, it fails, or it writes nothing."""
    if source is None:
        return None
    try:
        written = [templates.render(source, words.variables(notice, room, now)) for notice in notices]
    except Exception as error:  # noqa: BLE001 - a template is a person's program; whatever it does, the message goes out
        reason = re.sub(r"\w+://\S*", "[link]", text.one_line(text.quotable(str(error)), 200))
        level = logging.WARNING if is_news("template", kind, source, reason) else logging.DEBUG
        event(_log, level, "template failed, built-in text used", template=kind,
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
    counts = Counter(words.tally(notice) for notice in notices[:told])
    heading = f"📋 {told} notices: " + ", ".join(f"{count} {what}" for what, count in counts.most_common(8))
    footer = _footer([notice.notice for notice in notices[:told]], limit)
    body = "\n".join([*entries, *rest, footer])
    return Message(_title(heading), text.clean(body)), told


def _entry(notice: Notice, now: float) -> str:
    """One notice in a digest: a line on what happened, then the error or the links with their end, indented."""
    first, *more = words.happened(notice)
    about = words.who(notice)
    facts = [*words.late(notice, now), *more, *words.facts([notice], _SHORT, now)]
    told = f"{about[0]}: {first}" if about else first
    return "\n".join([f"{words.sign(notice)} {told}", *(f"   {line}" for line in facts)])


def _remaining(count: int) -> str:
    return f"… {count} more follow."


def plain(notice: Notice) -> Message:
    """The short form for a message that was refused for its content: no links, no quoted text, nothing but ASCII."""
    what = _ascii(words.headline(notice))
    name = _ascii(words.name(notice))
    who = notice.key.id if notice.key else name or "notifier"
    before = _ascii(words.word(notice.before) or "")
    changed = f"{before} -> {what}" if before and before != what and notice.event is Event.STATUS else what
    line = f"{name} ({who}): {changed}" if name and name != who else f"{who}: {changed}"
    body = f"{line}\nThe full message was refused.\nnotice {notice.notice}"
    return Message(_title(f"{name or who}: {what}"), body)


def _ascii(quoted: str) -> str:
    """What keeps a mention from being one is not ASCII: a blank takes its place."""
    return quoted.replace(text.CUT, "...").replace(text.JOINER, " ").encode("ascii", "ignore").decode().strip()


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
    steps += [Room(logs=0, text=0, error=length) for length in (600, 200, 80)]
    for room in steps:
        body = compose(room)
        if len(body) <= limit:
            return body
    # The most links that fit, by halving.
    least = steps[-1]
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
