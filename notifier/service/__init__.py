"""The daemon: builds the parts, joins the stages, starts, reloads, stops. Only this package knows all stages."""

from __future__ import annotations

import logging
import os
import queue
import random
import resource
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path

from notifier import channels, config, logs, message, signals
from notifier.deliver import Lanes, Route
from notifier.errors import ConfigError, Mistake, NotifierError, StoreError, StoreWriteError
from notifier.logs import event
from notifier.model import Address, Clock, Config, Delivery, Incident, IncidentKind, Key, Message, Secret
from notifier.poll import Poller
from notifier.schedule import DueTable, PollScheduler
from notifier.service.audience import subject_of
from notifier.service.health import Health
from notifier.service.heartbeat import Heartbeat
from notifier.service.keeper import Answered, Keeper
from notifier.service.pings import Pings
from notifier.service.systemd import ServiceManager, status_line
from notifier.service.watching import ConfigurationWatch, shrinks
from notifier.store import Store
from notifier.transport import Answer, Transport

__all__ = ["PartDiedError", "Service", "load_config", "routes"]

logger = logging.getLogger(__name__)

DELIVERY_GRACE = 10.0
"""Seconds that deliveries in flight get at the end."""
HEARTBEAT_GRACE = 2.0
"""Seconds that the heartbeat gets at the end: it may be reading a long configuration, which nobody needs any more."""
NOTABLE_STEP = 1.0
"""Seconds by which the wall clock must have been stepped to be worth a line."""
SPARE_FILES = 100
"""Open files beside those of polls: the store, channels, log."""
LOOK_EVERY, RESENT_EVERY, IDENTITY_EVERY, STATUS_EVERY, PRUNE_EVERY = 2, 2, 1, 5, 3600
"""Beats of a second between looks at the configuration, at the outbox, at the store's file, at the numbers that systemd
shows, and the pruning.
"""


class PartDiedError(NotifierError):
    """A thread ended that must not end: a mistake of ours. Whoever runs the service should start it again."""

    exit_code = 70


def load_config(path: Path, environ: Mapping[str, str] = os.environ, *, resolve_secrets: bool = True) -> Config:
    """The whole configuration, checked as far as can be without sending anything; without the secrets if they are not
    to be resolved. Raises ConfigError.
    """

    def inspect_url(url: Secret) -> config.UrlInspection:
        problem, warning = channels.inspect(url)
        return config.UrlInspection(problem=problem, warning=warning)

    return config.load(
        path,
        environ=environ,
        inspect_url=inspect_url,
        template_problem=message.template_problem,
        resolve_secrets=resolve_secrets,
    )


def routes(configuration: Config) -> dict[Address, Route]:
    """How each address of the configured channels is reached."""
    found: dict[Address, Route] = {}
    for channel in configuration.channels.values():
        for target in channels.targets(channel):
            found[target.address] = Route(channel, _sender(target), target.body_limit)
    return found


def _sender(target: channels.Target) -> Callable[[Message], None]:
    return lambda words: channels.send(target, words)


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
        self._environ = environ
        self._clock = clock or Clock()
        self._asked: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._reload_asked = threading.Event()
        self._failure: NotifierError | None = None
        self._watch = ConfigurationWatch(configuration, self._clock.monotonic)  # first: the rest may take a while
        self._hide_secrets(configuration)
        self._transport = Transport(environment=environ)
        try:
            self._store = Store.open(configuration.store, daemon=True, now=self._clock.steady())
        except BaseException:  # whatever it was, the thread must not stay
            self._transport.close()
            raise
        self._table = DueTable(self._clock.monotonic)
        self._lanes = Lanes(outbox=self._store, words=message, incidents=self, clock=self._clock)
        self._keeper = Keeper(store=self._store, table=self._table, lanes=self._lanes, clock=self._clock, chance=chance)
        self._pollers: dict[str, Poller] = {}
        self._scheduler = PollScheduler(self._table, self._start_poll)
        self._wanted = configuration
        """The newest good one; it is `_config` once it is applied."""
        self._unapplied: Callable[[], None] | None = None
        """What a full disk has kept from being applied."""
        self._refused: tuple[Mistake, ...] = ()
        """The mistakes that are known already."""
        self._resent = True
        """Whether there may be deliveries to take up."""
        self._step = 0.0
        self._manager = ServiceManager(environ)
        self._health = Health(
            table=self._table,
            keeper=self._keeper,
            transport=self._transport,
            lanes=self._lanes,
            monotonic=self._clock.monotonic,
        )
        self._pings = Pings(self._transport, self._clock.monotonic)
        self._heartbeat = Heartbeat(
            [
                (1, self._check_parts),
                (1, self._look_at_health),
                (1, self._check_clock),
                (1, self._apply_again),
                (1, self._reload_if_asked),
                (LOOK_EVERY, self._reload_if_edited),
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
            self._transport.close()
            self._store.close()
            raise
        event(logger, logging.INFO, "started", watches=len(self._config.watches), channels=len(self._config.channels),
              config=self._config.path)  # fmt: skip
        self._say_status()
        self._manager.ready()
        while self._asked.get() is not _Asked.END:
            self._reload_asked.set()
        self._end()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Let `run` end in good order."""
        self._asked.put(_Asked.END)

    def reload(self) -> None:
        """Read the configuration again at the next beat, edited or not, and act on it at once."""
        self._asked.put(_Asked.RELOAD)

    def _start(self) -> None:
        _prepare_process(sum(api.concurrency for api in self._config.apis.values()))
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
        self._configure(self._config, found)
        self._keeper.resume_incidents(incidents)
        for address in mended:
            self.channel_works(address)
        self._pass_on_stranded()
        self._lanes.wake(self._store.waiting_addresses())
        self._transport.start()
        self._keeper.start()
        self._scheduler.start()
        self._heartbeat.start()

    def _end(self) -> None:
        """No new polls; polls in flight are only questions, and are dropped; deliveries in flight are waited for."""
        event(logger, logging.INFO, "stopping")
        self._manager.stopping()
        at_rest = self._heartbeat.stop(HEARTBEAT_GRACE)
        self._scheduler.stop()
        self._transport.close()
        self._keeper.stop()
        if not self._lanes.stop(DELIVERY_GRACE):
            event(logger, logging.WARNING, "a delivery was still in flight: it is tried again at the next start")
        elif at_rest:
            self._store.close()
        event(logger, logging.INFO, "stopped")

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
        except Exception:  # a mistake in one poll must not end the scheduler's thread
            if key.api in self._pollers:  # else the account was removed meanwhile
                logger.exception("mistake in the program: %s could not be asked about", key)
            self._table.land(key, None)

    # --- configuration -----------------------------------------------------------------------------------------------

    def _configure(self, configuration: Config, found: Mapping[Address, Route]) -> None:
        """Apply a configuration that was checked. In the keeper's thread, or before it runs. Raises StoreError."""
        pollers = {name: Poller(api, self._transport) for name, api in configuration.apis.items()}
        addresses: dict[str, tuple[Address, ...]] = dict.fromkeys(configuration.channels, ())
        for address in found:
            addresses[address.channel] += (address,)
        before = self._pollers
        # First: what becomes due by the rest may be polled at once, by the scheduler's thread, and with the new token.
        self._pollers = {**before, **pollers}
        try:
            self._keeper.configure(configuration, pollers, addresses)
        except BaseException:  # whatever it was, nothing of it is applied
            self._pollers = before
            raise
        self._lanes.configure(found)
        self._pings.configure(configuration.heartbeat)
        self._pollers = pollers
        self._config = configuration

    def _reload_if_asked(self) -> None:
        if self._reload_asked.is_set():
            self._reload_asked.clear()
            self._watch.is_ready()
            self._reload(asked=True)

    def _reload_if_edited(self) -> None:
        if self._watch.is_ready() and (not self._watch.is_holding or self._watch.may_shrink()):
            self._reload(asked=False)

    def _reload(self, *, asked: bool) -> None:
        self._manager.reloading()
        is_posted = False
        try:
            is_posted = self._load_anew(asked=asked)
        finally:
            if not is_posted:
                self._end_reload()

    def _end_reload(self) -> None:
        self._with_store(self._say_status)
        self._manager.ready()

    def _load_anew(self, *, asked: bool) -> bool:
        """Check the whole of the new configuration, then have the difference applied: whether it will be. A bad one
        changes nothing.
        """
        path = self._config.path
        try:
            configuration = load_config(path, self._environ)
            found = routes(configuration)
        except ConfigError as error:
            self._watch.acted(None, (Path(mistake.file) for mistake in error.mistakes))
            if asked or error.mistakes != self._refused:
                self._refuse(error)
            self._refused = error.mistakes
            return False
        except Exception:  # only noted here: the heartbeat logs it
            self._watch.acted(None)  # a mistake of ours is met once for each edit, not every two seconds
            raise
        if configuration.store != self._config.store:
            event(logger, logging.WARNING, "the new store is used after a restart", config=path)
        before, after = ([watch.key for watch in each.watches] for each in (self._config, configuration))
        if not asked and shrinks(before, after) and not self._watch.may_shrink():
            event(logger, logging.WARNING, "edit held back: it removes more than half of the watches; SIGHUP applies it"
                  " now, else it is applied in 30 s", config=path)  # fmt: skip
            return False
        self._watch.acted(configuration)
        self._refused = ()
        self._hide_secrets(self._config, configuration)
        self._wanted = configuration
        self._keeper.post(partial(self._apply, configuration, found))
        return True

    def _apply(self, configuration: Config, found: Mapping[Address, Route]) -> None:
        try:
            self._apply_if_wanted(configuration, found)
        finally:
            self._end_reload()

    def _apply_if_wanted(self, configuration: Config, found: Mapping[Address, Route]) -> None:
        if configuration is not self._wanted:  # a later edit has taken its place
            return
        try:
            self._configure(configuration, found)
        except StoreWriteError as error:
            level = logging.ERROR if self._unapplied is None else logging.DEBUG
            event(logger, level, "configuration not reloaded yet: it is tried again", reason=error)
            self._unapplied = partial(self._apply, configuration, found)
            return
        self._unapplied = None
        self._keeper.end_incident(IncidentKind.CONFIG, configuration.path.name)
        self._resent = True  # there may be a recipient's lane that is still ending
        self._pass_on_stranded()  # here, before anything newer is recorded for who is new
        self._lanes.wake(self._store.waiting_addresses())
        event(logger, logging.INFO, "reloaded", watches=len(configuration.watches),
              channels=len(configuration.channels))  # fmt: skip

    def _apply_again(self) -> None:
        if self._unapplied is not None:
            self._keeper.post(self._unapplied)

    def _refuse(self, error: ConfigError) -> None:
        for mistake in error.mistakes:
            event(logger, logging.ERROR, "mistake in the configuration", mistake=mistake)
        event(
            logger, logging.ERROR, "configuration not reloaded: the last good one stays", mistakes=len(error.mistakes)
        )
        first = str(error.mistakes[0]) if error.mistakes else str(error)
        more = f" (and {len(error.mistakes) - 1} more)" if len(error.mistakes) > 1 else ""
        incident = Incident(
            IncidentKind.CONFIG, self._config.path.name, since=self._clock.steady(), detail=first + more
        )
        self._keeper.post(lambda: self._keeper.begin_incident(incident))

    @staticmethod
    def _hide_secrets(*configurations: Config) -> None:
        secrets = [
            secret
            for each in configurations
            for secret in (
                *(api.token.reveal() for api in each.apis.values()),
                *(part for channel in each.channels.values() for part in channels.secret_parts(channel.url)),
                *(channels.secret_parts(each.heartbeat.url) if each.heartbeat else ()),
            )
        ]
        logs.hide(secrets)

    # --- what lanes report -------------------------------------------------------------------------------------------

    def channel_fails(self, address: Address, since: float, reason: str, held: int) -> None:
        """A channel has failed for its `incident_after`, or its address is gone: the others hear of it."""
        incident = Incident(IncidentKind.CHANNEL, subject_of(address), since=since, detail=reason, count=held)
        self._keeper.post(lambda: self._keeper.begin_incident(incident))

    def gave_up(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, works: bool) -> None:
        """What will not be tried any more is told to somebody."""
        self._keeper.post(lambda: self._keeper.tell_given_up(address, deliveries, reason, works=works))

    def gave_up_meanwhile(self, address: Address, deliveries: Sequence[Delivery], reason: str, *, told: int) -> None:
        """At the latest when the channel works again."""
        self._keeper.post(lambda: self._keeper.tell_given_up_meanwhile(address, deliveries, reason, told=told))

    def channel_works(self, address: Address) -> None:
        """It works again."""
        self._keeper.post(lambda: self._keeper.end_incident(IncidentKind.CHANNEL, subject_of(address)))

    # --- beats -------------------------------------------------------------------------------------------------------

    def _check_parts(self) -> None:
        if self._keeper.fatal is not None:
            self._fail(self._keeper.fatal)
        elif not self._keeper.alive:
            self._fail(PartDiedError("the keeper's thread has died; see the log above"))
        elif not self._transport.alive:
            self._fail(PartDiedError("the transport's thread has died; see the log above"))
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
                refused=str(self._refused[0]) if self._refused else None,
                watches=len(config.watches),
                polled=sum(map(self._table.watches, config.apis)),
                waiting=sum(self._store.waiting_addresses().values()),
                incidents=self._keeper.incidents,
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
        except StoreWriteError as error:
            event(logger, logging.WARNING, "store out of reach", reason=error)
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

    def _prune(self) -> None:
        pruned = self._store.prune(self._clock.steady())
        if pruned.deliveries or pruned.watches:
            event(logger, logging.INFO, "pruned", deliveries=pruned.deliveries, watches=pruned.watches)


def _prepare_process(polls: int) -> None:
    """Let so many polls be open at once, each of which is an open file, and keep the transport's thread responsive."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and polls + SPARE_FILES > hard:
        event(logger, logging.WARNING, "the limit of open files is lower than what `concurrency` asks for", limit=hard,
              asked=polls + SPARE_FILES)  # fmt: skip
    # Beside a thread that computes, such as a reload's, an exchange takes 18 ms at Python's own 5 ms, and 1.5 ms so.
    sys.setswitchinterval(0.001)
