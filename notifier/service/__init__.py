"""The daemon: builds the parts, joins the stages, starts, reloads, stops. Only this package knows all stages."""

from __future__ import annotations

import logging
import os
import queue
import random
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial

from notifier import data, message, signals
from notifier.deliver import Lanes, Route
from notifier.errors import NotifierError, StoreError, StoreWriteError
from notifier.logs import event, mistake
from notifier.model import Address, Clock, Config, Incident, IncidentKind, Key
from notifier.monitoring import Metrics
from notifier.poll import Poller
from notifier.schedule import DueTable, PollScheduler
from notifier.service.audience import subject_of
from notifier.service.health import Health
from notifier.service.heartbeat import Heartbeat
from notifier.service.keeper import Answered, Keeper
from notifier.service.loading import hide_secrets, load_config, routes
from notifier.service.oversight import Oversight
from notifier.service.pings import Pings
from notifier.service.process import prepare
from notifier.service.reloading import Reloading
from notifier.service.reports import Reports
from notifier.service.saving import KeptFiles, Saving, place_for, save_by_hand
from notifier.service.systemd import ServiceManager, status_line
from notifier.store import Store
from notifier.transport import Answer, Transport

__all__ = ["PartDiedError", "Service", "load_config", "place_for", "routes", "save_by_hand"]

logger = logging.getLogger(__name__)

DELIVERY_GRACE = 10.0
"""Seconds that deliveries in flight get at the end."""
HEARTBEAT_GRACE = 2.0
"""Seconds that the heartbeat gets at the end: it may be reading a long configuration, which nobody needs any more."""
PART_GRACE, KEEPER_GRACE = 2.0, 8.0
"""Seconds that the scheduler and the keeper get at the end: one that is stuck must not keep the daemon from ending, and
the store may let the keeper wait.
"""
NOTABLE_STEP = 1.0
"""Seconds by which the wall clock must have been stepped to be worth a line."""
LOOK_EVERY, RESENT_EVERY, IDENTITY_EVERY, STATUS_EVERY, PRUNE_EVERY = 2, 2, 1, 5, 3600
"""Beats of a second between looks at the configuration, at the outbox, at the store's file, at the numbers that systemd
shows, and the pruning.
"""


class PartDiedError(NotifierError):
    """A thread ended that must not end: a mistake of ours. Whoever runs the service should start it again."""

    exit_code = 70


class _Asked(Enum):
    """What the daemon's main thread is asked for, by signals and by other threads."""

    RELOAD = "reload"
    END = "end"


class Service:
    """One daemon. `run` is all of its life; `reload` and `stop` may be called from any thread meanwhile."""

    def __init__(
        self,
        configuration: Config,
        *,
        environ: Mapping[str, str] = os.environ,
        clock: Clock | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Open the store and build the parts. Raises StoreError, AlreadyRunningError and CaBundleError.

        `chance` answers with numbers in [0, 1), which back-off is jittered by.
        """
        self._config = configuration
        self._clock = clock or Clock()
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._failure: NotifierError | None = None
        hide_secrets(configuration)
        self._transport = Transport(environment=environ)
        self._downloads = Transport(environment=environ)
        """Of its own: while a file is being written to the disk, no poll may wait."""
        try:
            self._store = Store.open(configuration.store, daemon=True, now=self._clock.steady())
        except BaseException:  # whatever it was, the threads must not stay
            self._close_transports()
            raise
        self._table = DueTable(self._clock.monotonic)
        self._metrics = metrics = Metrics(self._clock.wall)
        reports = Reports(self._clock, metrics.delivered)
        kept = KeptFiles()
        self._lanes = Lanes(outbox=self._store, words=message, incidents=reports, clock=self._clock, files=kept)
        self._keeper = reports.keeper = Keeper(
            store=self._store,
            table=self._table,
            lanes=self._lanes,
            clock=self._clock,
            chance=chance,
            count=metrics.polled,
            fetch=self._fetch_files,
        )
        self._saving = Saving(
            store=self._store,
            keeper=self._keeper,
            lanes=self._lanes,
            kept=kept,
            downloads=self._downloads,
            clock=self._clock,
            chance=chance,
            count=metrics.file_over,
        )
        self._pollers: dict[str, Poller] = {}
        self._scheduler = PollScheduler(self._table, self._start_poll)
        self._resent = True
        """Whether there may be deliveries to take up."""
        self._complaints: dict[Callable[[], None], str] = {}
        """What the store has said to those that are called each beat, while it says so."""
        self._step = 0.0
        self._manager = ServiceManager(environ)
        self._health = Health(
            table=self._table,
            keeper=self._keeper,
            transport=self._transport,
            lanes=self._lanes,
            monotonic=self._clock.monotonic,
        )
        self._reloading = Reloading(
            configuration,
            environ=environ,
            clock=self._clock,
            keeper=self._keeper,
            metrics=metrics,
            manager=self._manager,
            apply=self._take_over,
            over=self._end_reload,
        )
        self._pings = Pings(self._transport, self._clock.monotonic)
        self._oversight = Oversight(
            metrics=metrics,
            keeper=self._keeper,
            table=self._table,
            store=self._store,
            config=lambda: self._config,
            problems=self._health.problems,
        )
        self._heartbeat = Heartbeat(
            [
                (1, self._check_parts),
                (1, self._look_at_health),
                (1, self._oversight.tend),
                (1, self._check_clock),
                (1, self._reloading.beat),
                (LOOK_EVERY, self._reloading.look),
                (RESENT_EVERY, partial(self._with_store, self._take_up_resent)),
                (IDENTITY_EVERY, partial(self._with_store, self._store.check_identity)),
                (STATUS_EVERY, partial(self._with_store, self._say_status)),
                (PRUNE_EVERY, partial(self._with_store, self._prune)),
            ]
        )

    # --- life --------------------------------------------------------------------------------------------------------

    def run(self, *, take_signals: bool = True) -> None:
        """Start, work until `stop`, SIGTERM or SIGINT, and end in good order.

        Raises StoreError when the store became unusable, PartDiedError when a thread of ours died. Without
        `take_signals` only `stop` ends it.
        """
        if take_signals:
            signals.listen(reload=self.reload, stop=self.stop)
        try:
            self._start()
        except BaseException:  # whatever it was, nothing that was started may stay
            self._lanes.stop(0)
            self._saving.saver.stop(0)
            self._close_transports()
            self._store.close()
            raise
        event(logger, logging.INFO, "started", watches=len(self._config.watches), channels=len(self._config.channels),
              config=self._config.path)  # fmt: skip
        self._with_store(self._say_status)
        self._manager.ready()
        while self._asked.get() is not _Asked.END:
            self._reloading.ask()
        self._end()
        if self._failure is not None:
            raise self._failure

    def _close_transports(self) -> None:
        self._transport.close()
        self._downloads.close()

    def stop(self) -> None:
        """Let `run` end in good order."""
        self._asked.put(_Asked.END)

    def reload(self) -> None:
        """Read the configuration again at the next beat, edited or not, and act on it at once."""
        self._asked.put(_Asked.RELOAD)

    def _start(self) -> None:
        prepare(sum(api.concurrency for api in self._config.apis.values()))
        incidents = self._store.open_incidents()
        in_trouble = {incident.subject for incident in incidents if incident.kind is IncidentKind.CHANNEL}
        found = routes(self._config)
        health = self._store.channel_health()
        failing = {address: each.failing_since for address, each in health.items() if each.failing_since is not None}
        incident_open = {address for address in found if subject_of(address) in in_trouble}
        # A crash may have come between a channel's first success and the end of its incident. Nothing need wait for the
        # channel by now, so that no lane would find out.
        mended = incident_open & health.keys() - failing.keys()
        self._lanes.remember(failing=failing, incident_open=incident_open - mended)
        self._downloads.start()
        self._configure(self._config, found, incidents)
        self._keeper.resume_incidents(incidents)
        for address in mended:
            self._keeper.end_incident(IncidentKind.CHANNEL, subject_of(address))
        self._pass_on_stranded()
        self._lanes.wake(self._store.waiting_addresses())
        self._transport.start()
        self._keeper.start()
        self._scheduler.start()
        self._oversight.tend()
        self._heartbeat.start()

    def _end(self) -> None:
        """No new polls; polls in flight are only questions, and are dropped; deliveries in flight are waited for."""
        event(logger, logging.INFO, "stopping")
        self._manager.stopping()
        self._manager.status("stopping")
        at_rest = self._heartbeat.stop(HEARTBEAT_GRACE) and self._oversight.stop()  # which the heartbeat tends
        at_rest &= self._scheduler.stop(PART_GRACE)
        self._transport.close()
        at_rest &= self._saving.saver.stop(PART_GRACE)
        at_rest &= self._keeper.stop(KEEPER_GRACE)
        if not self._lanes.stop(DELIVERY_GRACE):
            event(logger, logging.WARNING, "a delivery was still in flight: it is tried again at the next start")
        elif at_rest:
            self._store.close()
        event(logger, logging.INFO, "stopped")
        self._manager.status("stopped" if self._failure is None else f"stopped: {self._failure}")

    def _fail(self, error: NotifierError) -> None:
        if self._failure is None:
            self._failure = error
            if isinstance(error, StoreError):  # the next start may well be refused, and says so only in the log
                name, since = self._store.path.name, self._clock.steady()
                self._keeper.announce(Incident(IncidentKind.STORE, name, since, f"{error}. Notifier has stopped"))
        self.stop()

    # --- polls -------------------------------------------------------------------------------------------------------

    def _start_poll(self, key: Key) -> None:
        """Runs in the scheduler's thread, which must not be held up, nor die of a mistake in one poll."""
        asked_at = self._clock.steady()

        def done(answer: Answer) -> None:
            self._keeper.put(Answered(key, asked_at, answer))

        try:
            self._pollers[key.api].ask(key.id, done)
        except Exception:  # noqa: BLE001 - a mistake in one poll must not end the scheduler's thread
            if key.api in self._pollers:  # else the account was removed meanwhile
                mistake(logger, "a watch is not asked about until its next poll", api=key.api, id=key.id)
            self._table.land(key, None)

    def _fetch_files(self) -> None:
        self._saving.saver.wake()

    # --- configuration -----------------------------------------------------------------------------------------------

    def _configure(
        self, configuration: Config, found: Mapping[Address, Route], incidents: Sequence[Incident] = ()
    ) -> None:
        """Apply a configuration that was checked; `incidents` are those that were open at the start. In the keeper's
        thread, or before it runs. Raises StoreError.
        """
        pollers = {name: Poller(api, self._transport) for name, api in configuration.apis.items()}
        addresses: dict[str, tuple[Address, ...]] = dict.fromkeys(configuration.channels, ())
        for address in found:
            addresses[address.channel] += (address,)
        self._metrics.configure(configuration.apis, configuration.channels)
        before = self._pollers
        # First: what becomes due by the rest may be polled at once, by the scheduler's thread, and with the new token.
        self._pollers = {**before, **pollers}
        try:
            self._keeper.configure(configuration, pollers, addresses)
        except BaseException:  # whatever it was, nothing of it is applied
            self._pollers = before
            raise
        self._lanes.configure(found)
        self._saving.configure(configuration, incidents)
        self._pings.configure(configuration.heartbeat)
        self._pollers = pollers
        self._config = configuration

    def _take_over(self, configuration: Config, found: Mapping[Address, Route]) -> None:
        """Apply an edit, in the keeper's thread. Raises StoreError."""
        self._configure(configuration, found)
        self._resent = True  # there may be a recipient's lane that is still ending
        self._pass_on_stranded()  # here, before anything newer is recorded for who is new
        self._lanes.wake(self._store.waiting_addresses())

    def _end_reload(self) -> None:
        self._with_store(self._say_status)
        self._manager.ready()

    # --- beats -------------------------------------------------------------------------------------------------------

    def _check_parts(self) -> None:
        if self._keeper.fatal is not None:
            self._fail(self._keeper.fatal)
        elif not self._keeper.alive:
            self._fail(PartDiedError("the keeper's thread has died; see the log above"))
        elif not (self._transport.alive and self._downloads.alive):
            self._fail(PartDiedError("a transport's thread has died; see the log above"))
        elif not self._saving.saver.alive:
            self._fail(PartDiedError("a saver's thread has died; see the log above"))
        elif not self._scheduler.alive:
            self._fail(PartDiedError("the scheduler's thread has died; see the log above"))

    def _look_at_health(self) -> None:
        """Only progress keeps systemd's watchdog quiet, and the switch elsewhere from going off."""
        verdict = self._health.look()
        if not verdict.stuck:
            self._manager.alive()
        if not verdict.stuck and not verdict.ailing:
            self._pings.beat()

    def _say_status(self) -> None:
        config = self._config
        self._manager.status(
            status_line(
                configuration=self._reloading.trouble,
                watches=len(config.watches),
                polled=sum(map(self._table.watches, config.apis)),
                waiting=sum(self._store.waiting_addresses().values()),
                incidents=[f"{each.kind.value} {data.subject(each)}" for each in self._keeper.incidents],
                ailing=self._health.problems(),
            )
        )

    def _check_clock(self) -> None:
        """APScheduler waits by the wall clock: after a step it is woken, so that it asks anew how long to wait."""
        step = self._clock.step()
        if abs(step - self._step) >= NOTABLE_STEP:
            event(logger, logging.WARNING, "the wall clock was stepped", seconds=step - self._step)
            self._step = step
            self._scheduler.wake()

    def _with_store(self, call: Callable[[], None]) -> None:
        """A full disk is survived, and the next beat tries again; a store that is damaged or gone is not."""
        try:
            call()
            self._complaints.pop(call, None)
        except StoreWriteError as error:
            level = logging.DEBUG if self._complaints.get(call) == str(error) else logging.WARNING
            self._complaints[call] = str(error)
            event(logger, level, "store out of reach", reason=error)
        except StoreError as error:
            self._fail(error)

    def _take_up_resent(self) -> None:
        self._resent = self._store.changed_elsewhere() or self._resent
        if self._resent:
            ending = self._lanes.are_ending
            self._pass_on_stranded()
            self._lanes.wake(self._store.waiting_addresses())
            self._resent = ending  # what a removed recipient's lane still has in flight is passed on when it has ended

    def _pass_on_stranded(self) -> None:
        """What waits for a recipient that an edit has taken off its channel is for those that the channel has now."""
        for old, addresses in self._lanes.stranded(self._store.waiting_addresses()).items():
            wall, now = self._clock.wall(), self._clock.steady()
            passed_on, given_up = self._store.readdress(old, addresses, wall=wall, now=now)
            event(logger, logging.WARNING, "recipient is gone from its channel", channel=old.channel,
                  recipient=old.recipient or None, passed_on=passed_on, given_up=given_up)  # fmt: skip
            self._metrics.delivered(old.channel, "given_up", given_up)

    def _prune(self) -> None:
        pruned = self._store.prune(self._clock.steady())
        if pruned.deliveries or pruned.watches:
            event(logger, logging.INFO, "pruned", deliveries=pruned.deliveries, watches=pruned.watches)
