"""Reload: an edit is read whole and checked, then only the difference is applied; a bad one changes nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial

from notifier.deliver import Route
from notifier.errors import ConfigError, Mistake, StoreWriteError
from notifier.logs import event
from notifier.model import Address, Clock, Config, Incident, IncidentKind
from notifier.monitoring import Metrics
from notifier.service.keeper import Keeper
from notifier.service.loading import hide_secrets, load_config, routes
from notifier.service.systemd import ServiceManager
from notifier.service.watching import ConfigurationWatch, shrinks

logger = logging.getLogger(__name__)


class Reloading:
    """Sees edits, and has the keeper apply them. `ask` is for any thread, all else for the heartbeat's."""

    def __init__(
        self,
        config: Config,
        *,
        environ: Mapping[str, str],
        clock: Clock,
        keeper: Keeper,
        metrics: Metrics,
        manager: ServiceManager,
        apply: Callable[[Config, Mapping[Address, Route]], None],
        over: Callable[[], None],
    ) -> None:
        """`apply` is called in the keeper's thread, and may raise StoreError. `over`: a reload has ended, however."""
        self._config = config
        self._environ, self._clock = environ, clock
        self._keeper, self._metrics, self._manager = keeper, metrics, manager
        self._call_apply, self._over = apply, over
        self._watch = ConfigurationWatch(config, clock.monotonic)
        self._asked = threading.Event()
        self._wanted = config
        """The newest good one; it is `_config` once it is applied."""
        self._unapplied: Callable[[], None] | None = None
        """What a full disk has kept from being applied."""
        self._refused: tuple[Mistake, ...] = ()
        """The mistakes that are known already."""

    @property
    def trouble(self) -> str | None:
        """Why the newest configuration is not in force, if it is not."""
        if self._watch.is_holding:
            return "an edit is held back: it removes more than half of the watches"
        if self._refused:
            return f"the newest configuration is refused: {self._refused[0]}"
        return None if self._unapplied is None else "the newest configuration is not in force yet: it is tried again"

    def ask(self) -> None:
        """Have the configuration read at the next beat, edited or not, and acted on at once."""
        self._asked.set()

    def beat(self) -> None:
        """Do what was asked for, and what could not be applied before."""
        if self._unapplied is not None:
            self._keeper.post(self._unapplied)
        if self._asked.is_set():
            self._asked.clear()
            self._reload(asked=True)

    def look(self) -> None:
        """See whether there is an edit to be acted on."""
        if self._watch.is_ready() and (not self._watch.is_holding or self._watch.may_shrink()):
            self._reload(asked=False)
        elif self._watch.is_restless:
            event(logger, logging.WARNING, "configuration not read: it changes all the time; SIGHUP has it read now",
                  config=self._config.path)  # fmt: skip

    def _reload(self, *, asked: bool) -> None:
        self._manager.reloading()
        is_posted = False
        try:
            is_posted = self._load(asked=asked)
        finally:
            if not is_posted:
                self._over()

    def _load(self, *, asked: bool) -> bool:
        """Whether there is something to apply, and it will be."""
        path = self._config.path
        try:
            configuration = load_config(path, self._environ)
            found = routes(configuration)
        except ConfigError as error:
            if not asked and not self._watch.agrees_with(error.seen):
                return False
            self._metrics.reloaded(ok=False)
            self._watch.acted(None, error.seen)
            if asked or error.mistakes != self._refused:
                self._refuse(error)
            self._refused = error.mistakes
            return False
        except Exception:  # only noted here: the heartbeat logs it
            self._metrics.reloaded(ok=False)
            self._watch.acted(None, {})  # a mistake of ours is met once for each edit, not every two seconds
            raise
        if not asked and not self._watch.agrees_with(configuration.seen):
            return False
        before, after = ([watch.key for watch in each.watches] for each in (self._config, configuration))
        if not asked and shrinks(before, after) and not self._watch.may_shrink():
            event(logger, logging.WARNING, "edit held back: it removes more than half of the watches; SIGHUP applies it"
                  " now, else it is applied in 30 s", config=path)  # fmt: skip
            return False
        self._watch.acted(configuration, configuration.seen)
        self._refused = ()
        if configuration.store != self._config.store:
            event(logger, logging.WARNING, "the new store is used after a restart", config=path)
        for warning in configuration.warnings:
            if warning not in self._config.warnings:
                event(logger, logging.WARNING, "configuration", warning=warning)
        hide_secrets(self._config, configuration)
        self._wanted = configuration
        self._keeper.post(partial(self._apply, configuration, found))
        return True

    def _refuse(self, error: ConfigError) -> None:
        for each in error.mistakes:
            event(logger, logging.ERROR, "mistake in the configuration", mistake=each)
        event(
            logger, logging.ERROR, "configuration not reloaded: the last good one stays", mistakes=len(error.mistakes)
        )
        first = str(error.mistakes[0]) if error.mistakes else str(error)
        more = f" (and {len(error.mistakes) - 1} more)" if len(error.mistakes) > 1 else ""
        incident = Incident(
            IncidentKind.CONFIG, self._config.path.name, since=self._clock.steady(), detail=first + more
        )
        self._keeper.post(lambda: self._keeper.begin_incident(incident))

    # --- in the keeper's thread --------------------------------------------------------------------------------------

    def _apply(self, configuration: Config, found: Mapping[Address, Route]) -> None:
        try:
            self._apply_if_wanted(configuration, found)
        finally:
            self._over()

    def _apply_if_wanted(self, configuration: Config, found: Mapping[Address, Route]) -> None:
        if configuration is not self._wanted:  # a later edit has taken its place
            return
        try:
            self._call_apply(configuration, found)
        except StoreWriteError as error:
            level = logging.ERROR if self._unapplied is None else logging.DEBUG
            event(logger, level, "configuration not reloaded yet: it is tried again", reason=error)
            self._unapplied = partial(self._apply, configuration, found)
            self._metrics.reloaded(ok=False)
            return
        self._config, self._unapplied = configuration, None
        self._metrics.reloaded(ok=True)
        if not self._refused:  # else the disk was full until after a later edit, which is a bad one
            self._keeper.end_incident(IncidentKind.CONFIG, configuration.path.name)
        event(logger, logging.INFO, "reloaded", watches=len(configuration.watches),
              channels=len(configuration.channels))  # fmt: skip
