"""The keeper: the one thread that knows every state. It decides on answers, records, and lets the lanes know."""

from __future__ import annotations

import logging
import queue
import random
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from notifier.decide import (
    decide_watch,
    files_notice,
    files_owed,
    given_up_notice,
    incident_notice,
    incident_over_notice,
    is_over,
)
from notifier.deliver import Lanes
from notifier.errors import StoreError, StoreWriteError
from notifier.logs import event, mistake
from notifier.model import (
    FINAL,
    Address,
    Api,
    Clock,
    Config,
    Delivery,
    Event,
    FailedPoll,
    Failure,
    File,
    Incident,
    IncidentKind,
    Key,
    Observation,
    State,
    Watch,
)
from notifier.poll import Poller
from notifier.schedule import DueTable, wait_after
from notifier.service.accounts import Accounts
from notifier.service.audience import Audience, subject_of
from notifier.service.ledger import Ledger
from notifier.service.lines import PollLines
from notifier.store import Change, Owed, Store
from notifier.transport import Answer

logger = logging.getLogger(__name__)

BATCH = 1000
"""Answers that are recorded together at most."""
FILES_PATIENCE = 60.0
"""Seconds for which a message that carries files waits for them."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to the poll of a watch that was started at `asked_at` (steady)."""

    key: Key
    asked_at: float
    answer: Answer


@dataclass(slots=True)
class _Landing:
    key: Key
    wait: float | None
    not_before: float = 0.0
    answered: bool = True


@dataclass(slots=True)
class _Known:
    """Everything the keeper's thread alone may touch."""

    watches: dict[Key, Watch] = field(default_factory=dict)
    states: dict[Key, State] = field(default_factory=dict)
    incidents: dict[tuple[IncidentKind, str], Incident] = field(default_factory=dict)
    renewed: dict[str, float] = field(default_factory=dict)
    """Since when (steady) an account has its token and base_url: what was asked before says nothing about them."""


class Keeper:
    """Takes answers as they come and is the only one to change a state.

    `put` and `post` may be called from any thread; all else happens in the keeper's own.
    """

    def __init__(
        self,
        *,
        store: Store,
        table: DueTable,
        lanes: Lanes,
        clock: Clock,
        chance: Callable[[], float] = random.random,
        count: Callable[[str, Failure | None, float], None] = lambda _api, _failure, _seconds: None,
        fetch: Callable[[], None] = lambda: None,
    ) -> None:
        """`count` gets each poll's account, why it failed if it did, and how long it took; `fetch` is called when there
        are new files of outputs to be fetched.
        """
        self._store, self._table, self._lanes, self._clock = store, table, lanes, clock
        self._chance, self._count = chance, count
        self._queue: queue.SimpleQueue[Answered | Callable[[], None]] = queue.SimpleQueue()
        self._known = _Known()
        self._config: Config | None = None
        self._pollers: Mapping[str, Poller] = {}
        self._audience: Audience  # from `configure` on
        self._ledger = Ledger(store, lanes, clock, fetch)
        self._accounts = Accounts(table, self, chance)
        self._lines = PollLines()
        self._store_trouble: Incident | None = None
        self._complaint = ""
        """Why the store could not be read last, until it can."""
        self._stopping = False
        self.fatal: StoreError | None = None
        """Why the keeper gave up: the store is damaged, not merely full."""
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    # --- for any thread ----------------------------------------------------------------------------------------------

    def put(self, answered: Answered) -> None:
        """Hand in an answer."""
        self._queue.put(answered)

    def post(self, call: Callable[[], None]) -> None:
        """Have something done in the keeper's thread, after what was handed in before."""
        self._queue.put(call)

    def announce(self, incident: Incident) -> None:
        """Tell the operators once, from memory, of what cannot be recorded."""
        _log_incident(logging.ERROR, incident)
        self._lanes.announce(incident_notice(incident, self._clock.wall()), self._audience.of_incident(incident))

    def start(self) -> None:
        """Start deciding."""
        self._thread.start()

    def stop(self, patience: float) -> bool:
        """Record what was handed in so far, then end; whether it has within so many seconds."""
        self._queue.put(self._stop)
        self._thread.join(patience)
        return not self._thread.is_alive()

    @property
    def alive(self) -> bool:
        """Whether answers are being taken."""
        return self._thread.is_alive()

    @property
    def store_trouble(self) -> Incident | None:
        """That, and since when, nothing can be recorded."""
        return self._store_trouble

    @property
    def incidents(self) -> Sequence[Incident]:
        """Those that are open."""
        return list(self._known.incidents.values())

    def states(self) -> Mapping[Key, State]:
        """What is known of every watch now: a copy, which Python makes in one step that no thread can get into."""
        return self._known.states.copy()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._stopping = True

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._take_batch()
            self._write_polls()
        except StoreError as error:
            self.fatal = error
        self._ledger.close()

    def _take_batch(self) -> None:
        landings: list[_Landing] = []
        for item in self._next_items():
            if isinstance(item, Answered):
                landings.append(self._handle(item))
            else:
                self._call(item)
        self._commit()
        for landing in landings:
            self._table.land(landing.key, landing.wait, landing.not_before, answered=landing.answered)
        if self._ledger.are_polls_due():
            self._write_polls()

    @staticmethod
    def _call(posted: Callable[[], None]) -> None:
        """Do what was posted. A mistake of ours in it must not stop the keeper, nor a full disk."""
        try:
            posted()
        except StoreWriteError as error:
            event(logger, logging.ERROR, "a change was not made", reason=error)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - see above: one change, not the thread
            mistake(logger, "a change was not made")

    def _next_items(self) -> list[Answered | Callable[[], None]]:
        """Everything that is there, up to a batch; waits for the first, but not longer than work is owed elsewhere."""
        items: list[Answered | Callable[[], None]] = []
        try:
            items.append(self._queue.get(timeout=self._ledger.patience()))
            while len(items) < BATCH:
                items.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return items

    def _handle(self, answered: Answered) -> _Landing:
        """Decide on one answer. A mistake of ours in one must not stop the others; what could not be decided is asked
        again.
        """
        try:
            return self._decide(answered)
        except StoreWriteError as error:
            level = logging.DEBUG if str(error) == self._complaint else logging.WARNING
            self._complaint = str(error)
            event(logger, level, "store out of reach: asked again", api=answered.key.api, id=answered.key.id,
                  reason=error)  # fmt: skip
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - see above: one answer, not the thread
            mistake(logger, "an answer is passed over", api=answered.key.api, id=answered.key.id)
        return _Landing(answered.key, None)

    def _decide(self, answered: Answered) -> _Landing:
        key = answered.key
        watch = self._known.watches.get(key)
        if watch is None:
            return _Landing(key, None)
        now, wall = self._clock.steady(), self._clock.wall()
        if is_over(self._known.states[key], watch, now) or answered.asked_at < self._known.renewed.get(key.api, 0.0):
            return _Landing(key, None)
        seen = self._pollers[key.api].read(answered.answer, key.id, wall)
        failed = seen if isinstance(seen, FailedPoll) else None
        self._count(key.api, failed.failure if failed else None, now - answered.asked_at)
        self._ledger.polled(key)
        budget = self._pollers[key.api].budget(answered.answer)
        if budget is not None:
            self._accounts.spread(key.api, budget)
        surroundings = self._accounts.decide(key, seen, answered.asked_at, now)
        before = self._known.states[key]
        decision = decide_watch(watch, before, seen, surroundings, now=now, wall=wall)
        if decision.record:
            notice = decision.notice
            owed: tuple[Owed, ...] = ()
            if notice is not None:
                told = self._addresses_told(watch, before, notice.ends)
                owed = ((notice, self._audience.of_notice(watch, notice, told)),)
            files = self._files_owed(watch, seen, now, wall)
            held = self._held(watch, now) if files else {}
            self._ledger.change(Change(key, decision.after, owed, files, held))
        # Last, so that nothing that goes wrong above leaves a state whose notice is owed to nobody.
        self._known.states[key] = decision.after
        self._lines.log(watch, before, seen, decision)
        if is_over(decision.after, watch, now):
            self._table.drop([key])
            self._lines.forget(key)
        wait = wait_after(seen, decision.after, watch.rules, self._chance)
        if failed is None:
            return _Landing(key, wait)
        has_answer = failed.http_status is not None and failed.failure is not Failure.THROTTLED
        return _Landing(key, wait, failed.retry_after or 0.0, has_answer)

    def _files_owed(self, watch: Watch, seen: Observation | FailedPoll, now: float, wall: float) -> tuple[File, ...]:
        """The files that are to be fetched now that the prediction is over."""
        if not watch.rules.save or isinstance(seen, FailedPoll) or seen.status not in FINAL or not seen.assets:
            return ()
        known = self._store.files([watch.key]).get(watch.key, ())
        return files_owed(watch.key, known, seen, now=now, wall=wall)

    def _held(self, watch: Watch, now: float) -> dict[str, float]:
        """The channels whose messages carry files, and until when those are waited for."""
        channels = self._configured().channels
        return {name: now + FILES_PATIENCE for name in watch.rules.channels if channels[name].attach}

    def owed_for_files(self, files: Sequence[File]) -> Sequence[Owed]:
        """What is to be told now that one of a prediction's files is over, and whom. May be called from any thread.

        Of a watch that has left the list, the operators hear only what went wrong.
        """
        key = files[0].key
        watch = self._known.watches.get(key)
        name = key.id if watch is None else watch.name
        notice = files_notice(name, files, now=self._clock.steady(), wall=self._clock.wall())
        if notice is None:
            return ()
        if watch is not None:
            return ((notice, self._audience.of_notice(watch, notice)),)
        return ((notice, self._audience.operators() if notice.event is Event.SAVE_FAILED else ()),)

    def forgive_failures(self, api: str) -> None:
        """What failed before an account's incident was the account's trouble too: no watch is to be told for it, nor
        after a restart.
        """
        for key, state in self._known.states.items():
            if key.api == api and state.failures and Event.UNREACHABLE not in state.troubles:
                self._known.states[key] = forgiven = replace(state, failures=0, failing_since=None)
                self._ledger.change(Change(key, forgiven))

    def _addresses_told(self, watch: Watch, before: State, ends: tuple[str, ...]) -> list[Address]:
        """The end of a trouble also goes wherever that trouble was told."""
        if not ends:
            return []
        since = before.watched_since if before.trouble_since is None else before.trouble_since
        told = self._store.addresses_told(watch.key, [Event(trouble) for trouble in ends], since)
        self._complaint = ""
        return told + self._ledger.owed_to(watch.key, ends)

    def _configured(self) -> Config:
        if self._config is None:
            raise RuntimeError("the keeper was started without a configuration")
        return self._config

    # --- incidents ---------------------------------------------------------------------------------------------------

    def begin_incident(self, incident: Incident, *, announced: bool = False) -> None:
        """Open an incident and tell the operators, once; the same again is news only to the store.

        One that was `announced` already, from memory, is only recorded.
        """
        place = (incident.kind, incident.subject)
        known = self._known.incidents.get(place)
        if known is None and incident.kind is IncidentKind.CHANNEL and self._accounts.is_offline:
            return  # that is this machine's incident; the lane reports it again if it outlasts that
        if known is not None:
            incident = replace(incident, since=known.since)
        self._known.incidents[place] = incident
        if not announced:
            is_known = known is not None and known.detail == incident.detail
            _log_incident(logging.DEBUG if is_known else logging.ERROR, incident)
        notice = incident_notice(incident, self._clock.wall())
        owed = [] if known is not None else [(notice, () if announced else self._audience.of_incident(incident))]
        self._ledger.owe(lambda now: self._store.open_incident(incident, owed, now))

    def reach_out(self) -> None:
        """Something is reached again by this machine: the channels are tried at once."""
        self._lanes.try_again()

    def end_incident(self, kind: IncidentKind, subject: str) -> None:
        """Close an incident and tell the operators; nothing happens where there is none."""
        incident = self._known.incidents.pop((kind, subject), None)
        if incident is None:
            return
        event(logger, logging.INFO, "incident over", kind=kind, subject=subject)
        notice = incident_over_notice(incident, self._clock.steady(), self._clock.wall())
        owed = [(notice, self._audience.of_incident(incident))]
        self._ledger.owe(lambda now: self._store.close_incident(kind, subject, owed, now))

    def tell_given_up(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, works: bool) -> None:
        """Tell somebody that these deliveries will not be tried any more; the channel itself at most if it works."""
        audience = self._audience.of_given_up(address.channel, works=works)
        if audience:
            notice = given_up_notice(subject_of(address), deliveries, reason, self._clock.wall())
            self._ledger.owe(lambda now: self._store.record_notice(notice, audience, now))

    def tell_given_up_meanwhile(
        self, address: Address, deliveries: Sequence[Delivery], reason: str, *, told: int
    ) -> None:
        """The channel works again: tell what was given up meanwhile, to others without the `told` that they heard of,
        and where there are no others, to the channel itself.
        """
        heard = self._audience.of_given_up(address.channel, works=False)
        if left := deliveries[told:] if heard else deliveries:
            self.tell_given_up(address, left, reason, works=True)

    # --- the store ---------------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        """Write what is owed."""
        self._ledger.commit()
        self._tell_of_store()

    def _write_polls(self) -> None:
        self._ledger.write_polls(self._known.states, self._table.seconds_to, self._accounts.report())
        self._tell_of_store()

    def _tell_of_store(self) -> None:
        """Trouble with writing cannot be recorded, so it is told from memory, once; its end is recorded and told."""
        before, self._store_trouble = self._store_trouble, self._ledger.trouble
        if before is None and self._store_trouble is not None:
            self.announce(self._store_trouble)
        if before is not None and self._store_trouble is None:
            self.begin_incident(before, announced=True)
            self.end_incident(before.kind, before.subject)
            self._commit()

    # --- configuration -----------------------------------------------------------------------------------------------

    def configure(
        self, config: Config, pollers: Mapping[str, Poller], addresses: Mapping[str, tuple[Address, ...]]
    ) -> None:
        """Go by this configuration from now on; only the difference is applied. Before `start`, or by `post`.

        Raises StoreError, and then nothing was applied.
        """
        self._commit()  # what the store says of a watch that comes back must be the latest
        known = self._known
        new = {watch.key: watch for watch in config.watches}
        removed = known.watches.keys() - new.keys()
        added = [key for key in new if key not in known.watches]
        self._learn(added, removed)
        before, self._config, self._pollers = self._config, config, pollers
        self._audience = Audience(config, addresses)
        self._accounts.configure(config.apis)
        self._settle_incidents({} if before is None else before.apis)
        changed = [key for key, watch in known.watches.items() if key in new and new[key].rules != watch.rules]
        known.watches = new
        self._table.drop(removed)
        self._table.configure(config.apis)
        now = self._clock.steady()
        self._table.add(
            (key, new[key].rules.interval) for key in added if not is_over(known.states[key], new[key], now)
        )
        for key in changed:
            self._apply_rules(key, now)
        self._close_idle_incidents()

    def _apply_rules(self, key: Key, now: float) -> None:
        watch = self._known.watches[key]
        if is_over(self._known.states[key], watch, now):
            self._table.drop([key])
        elif self._table.seconds_to(key) is None:
            self._table.add([(key, watch.rules.interval)])
        else:
            self._table.set_interval(key, watch.rules.interval)

    def _learn(self, added: list[Key], removed: Collection[Key]) -> None:
        """Fetch what is known of the watches that were added, and see to it that the new ones are recorded."""
        now = self._clock.steady()
        if self._config is None:
            back: Collection[Key] = set(self._store.keep_listed(added, now))
            found = self._store.load_states(now)
        elif added or removed:
            back = added
            found = self._store.relist(added, removed, now)
        else:
            back, found = (), {}
        for key in removed:
            self._known.states.pop(key, None)
            self._lines.forget(key)
        for key in added:
            state = found.get(key)
            if state is None:
                state = State(watched_since=now)
                self._ledger.change(Change(key, state))
            elif key in back and not state.done:  # whoever puts it on the list again wants it watched again
                state = replace(state, let_go=False, watched_since=now)
                self._ledger.change(Change(key, state))
            self._known.states[key] = state

    def _settle_incidents(self, before: Mapping[str, Api]) -> None:
        """A new token, or another base_url, deserves a new try at once; what is gone can be in no trouble."""
        apis = self._configured().apis
        for name, api in before.items():
            changed = apis.get(name)
            if changed is not None and (changed.token, changed.base_url) == (api.token, api.base_url):
                continue
            self._accounts.forget(name)
            self._known.renewed[name] = self._clock.steady()
            if changed is not None:
                self.end_incident(IncidentKind.API, name)
                self._table.all_due(name, renewed=True)
        for kind, subject in list(self._known.incidents):
            if not self._audience.knows(kind, subject):
                del self._known.incidents[kind, subject]
                self._ledger.owe(partial(self._close_silently, kind, subject))

    def _close_idle_incidents(self) -> None:
        """Where nothing is polled any more, no answer will ever show that the trouble is over."""
        for kind, subject in list(self._known.incidents):
            if kind in (IncidentKind.API, IncidentKind.NETWORK) and self._accounts.is_idle(kind, subject):
                self._accounts.abandon(kind, subject)
                del self._known.incidents[kind, subject]
                self._ledger.owe(partial(self._close_silently, kind, subject))

    def _close_silently(self, kind: IncidentKind, subject: str, now: float) -> Iterable[Delivery]:
        return self._store.close_incident(kind, subject, [], now)

    def resume_incidents(self, incidents: Iterable[Incident]) -> None:
        """Take up the incidents that were open when the daemon ended; accounts among them are probed at once.

        That the daemon starts at all ends those of the configuration and of the store.
        """
        for incident in incidents:
            self._known.incidents[incident.kind, incident.subject] = incident
        self._settle_incidents({})
        for (kind, subject), incident in list(self._known.incidents.items()):
            if kind in (IncidentKind.CONFIG, IncidentKind.STORE):
                self.end_incident(kind, subject)
            elif kind in (IncidentKind.API, IncidentKind.NETWORK):
                self._accounts.resume(incident)
        self._close_idle_incidents()


def _log_incident(level: int, incident: Incident) -> None:
    event(logger, level, "incident", kind=incident.kind, subject=incident.subject, detail=incident.detail)
