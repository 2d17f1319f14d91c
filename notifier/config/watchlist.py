"""Entries of the watchlist, from the main file and from included ones alike, to watches."""

from __future__ import annotations

from dataclasses import dataclass, field

from notifier.config import values
from notifier.config.document import Document, Mapping, Node, Scalar, Sequence
from notifier.config.findings import Findings
from notifier.config.schema import At, Context, DefaultKeys, EntryKeys, Problem, Shown, check
from notifier.config.wording import either, join
from notifier.model import Api, Key, Rules, Watch


@dataclass
class Watchlist:
    """Takes lists of entries, one after the other; `watches` grows by the entries that are right."""

    context: Context
    findings: Findings
    apis: dict[str, Api]
    """Empty where something else than the entries is wrong already: then they are only checked."""
    defaults: DefaultKeys
    watches: list[Watch] = field(default_factory=list)
    _first: dict[Key, tuple[Document, int]] = field(default_factory=dict)
    _chosen: dict[tuple[object, ...], Rules] = field(default_factory=dict)
    _equal: dict[Rules, Rules] = field(default_factory=dict)

    def take(self, document: Document, entries: Sequence, path: str) -> None:
        """Add the entries of a list that stands at `path`, or report what is wrong with them."""
        for index, item in enumerate(entries.items):
            data = {"id": item.data()} if isinstance(item, Scalar) else item.data()
            entry = check(EntryKeys, data, self.context)
            if isinstance(entry, EntryKeys):
                key = self._key(document, item, f"{path}[{index}]", entry.id, entry.api)
                if key and self.apis:
                    self._add(self.apis[key.api], key, entry)
                continue
            for problem in entry:
                self.findings.problem(document, item, f"{path}[{index}]", problem)
            # What the id and the account say is worth knowing at once, although another key is wrong.
            if isinstance(data, dict):
                self._key(document, item, f"{path}[{index}]", _id_of_wrong(data.get("id")), data.get("api"))

    def _key(
        self, document: Document, item: Node, path: str, named: tuple[str | None, str] | None, api: object
    ) -> Key | None:
        """Which prediction an entry means, unless that is unknown, or the same as another's; then it is reported."""
        base_url, prediction = named or (None, "")
        account = self._account(base_url) if api is None else api
        if account is None and len(self.context.apis) > 1:
            text = f"needs a key `api`, as there are several: {either(self.context.apis)}"
            self.findings.problem(document, item, path, Problem((), At.VALUE, text, Shown.NOTHING))
        if not named or account not in self.context.apis:
            return None
        # All keys share the one name of their account.
        key = Key(self.context.apis[self.context.apis.index(account)], prediction)
        node = item.values["id"] if isinstance(item, Mapping) else item
        if key not in self._first:
            self._first[key] = (document, node.start)
            return key
        first, start = self._first[key]
        line, _ = first.place(start)
        text = f"the same id stands on {account} twice; the first is at {first.file}:{line}"
        # An alias stands elsewhere than the id in what it stands for.
        at = item.start if (first, start) == (document, node.start) else node.start
        self.findings.mistakes.append(document.mistake(at, path if node is item else join(path, "id"), text))
        return None

    def _account(self, base_url: str | None) -> str | None:
        """The only account there is, or the only one with this base_url."""
        names = self.context.apis if len(self.context.apis) == 1 else self.context.accounts.get(base_url or "", ())
        return names[0] if len(names) == 1 else None

    def _add(self, api: Api, key: Key, entry: EntryKeys) -> None:
        said = (
            api.name,
            entry.interval,
            entry.channels,
            entry.events,
            entry.first_sight,
            entry.stuck_after,
            entry.watch_for,
            entry.save,
        )
        rules = self._chosen.get(said)
        if rules is None:
            rules = self._rules(api, entry)
            rules = self._chosen[said] = self._equal.setdefault(rules, rules)
        self.watches.append(Watch(key, entry.name or key.id, rules))

    def _rules(self, api: Api, entry: EntryKeys) -> Rules:
        defaults = self.defaults
        return Rules(
            interval=entry.interval or defaults.interval,
            channels=entry.channels or defaults.channels or self.context.channels,
            events=entry.events or defaults.events,
            first_sight=entry.first_sight or defaults.first_sight,
            stuck_after=entry.stuck_after or defaults.stuck_after,
            watch_for=entry.watch_for or defaults.watch_for,
            unreachable_after=api.unreachable_after,
            lost_after=api.lost_after,
            settle=api.settle,
            save=defaults.save if entry.save is None else entry.save,
        )


def _id_of_wrong(value: object) -> tuple[str | None, str] | None:
    try:
        return values.prediction(value)
    except values.WrongValueError:
        return None
