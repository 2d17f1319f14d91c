"""The accounts that polls share, and this machine's own way to them: what the keeper knows of both. For its thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from notifier.decide import (
    AccountDecision,
    AccountState,
    Surroundings,
    decide_account,
    decide_network,
    shortfall,
    unreached,
)
from notifier.logs import event, is_news
from notifier.model import Api, FailedPoll, Failure, Incident, IncidentKind, Key, Observation
from notifier.poll import Budget
from notifier.schedule import DueTable, hold_after
from notifier.store import AccountRow

logger = logging.getLogger(__name__)


class Troubles(Protocol):
    """Where the trouble of an account or of this machine is told."""

    def begin_incident(self, incident: Incident) -> None:
        """Open an incident."""

    def end_incident(self, kind: IncidentKind, subject: str) -> None:
        """Close it."""

    def forgive_failures(self, api: str) -> None:
        """What failed of the account so far was no watch's own trouble."""

    def reach_out(self) -> None:
        """Something is reached again by this machine: so may the channels be."""


class Accounts:
    """Decides about accounts after each poll, and has the due table hold, slow down, probe or resume them."""

    def __init__(self, table: DueTable, troubles: Troubles, chance: Callable[[], float]) -> None:
        self._table, self._troubles, self._chance = table, troubles, chance
        self._apis: Mapping[str, Api] = {}
        self._states: dict[str, AccountState] = {}
        self._offline: Incident | None = None
        """That, and since when, this machine reaches nothing at all."""
        self._probed: set[str] = set()
        """Accounts that are only probed for that."""
        self._short: set[str] = set()
        """Accounts whose API grants less than their rate."""
        self._behind: set[str] = set()
        """Accounts whose watchlist asks for more than can be done."""

    @property
    def is_offline(self) -> bool:
        """Whether an incident of this machine's network is open."""
        return self._offline is not None

    def configure(self, apis: Mapping[str, Api]) -> None:
        """Go by these accounts from now on."""
        self._apis = apis

    def forget(self, name: str) -> None:
        """What was known of the account says nothing about its new token or base_url."""
        self._states.pop(name, None)
        self._probed.discard(name)

    def resume(self, incident: Incident) -> None:
        """Take up an incident that was open when the daemon ended: a probe shows at once whether it is over."""
        if incident.kind is IncidentKind.API:
            self._states[incident.subject] = AccountState(incident=incident)
            self._table.probe(incident.subject, first_wait=0.0)
        else:
            self._offline = incident
            for name in self._apis:
                self._probe_offline(name, first_wait=0.0)

    def is_idle(self, kind: IncidentKind, subject: str) -> bool:
        """Whether nothing is polled of what an incident is about."""
        names = (subject,) if kind is IncidentKind.API else tuple(self._apis)
        return not any(self._table.watches(name) for name in names)

    def abandon(self, kind: IncidentKind, subject: str) -> None:
        """Forget an incident, so that what is polled next is polled as always."""
        if kind is IncidentKind.NETWORK:
            self._offline = None
            self._probed.clear()
        for name in (subject,) if kind is IncidentKind.API else tuple(self._apis):
            self._states.pop(name, None)
            self._table.all_due(name)

    def spread(self, name: str, budget: Budget) -> None:
        """Go by what the API says it still grants, where that is less than the account's rate."""
        is_short = budget.remaining < budget.seconds * self._apis[name].rate
        if is_short or name in self._short:
            self._table.spread(name, budget.remaining, budget.seconds)
        if is_short and name not in self._short:
            # With each window of the API's limit it may begin anew.
            level = logging.INFO if is_news("account slowed", name) else logging.DEBUG
            event(logger, level, "account slowed", api=name, remaining=budget.remaining, seconds=budget.seconds)
        (self._short.add if is_short else self._short.discard)(name)

    def report(self) -> list[AccountRow]:
        """How busy each account is. That one cannot keep up with its watchlist is logged once, and its end."""
        found = []
        for name, api in self._apis.items():
            load = self._table.load(name)
            if load is None:
                continue
            found.append(AccountRow(name, load.asked, load.allowed, load.latency))
            behind = shortfall(asked=load.asked, rate=api.rate, concurrency=api.concurrency, latency=load.latency)
            if behind and name not in self._behind:
                event(logger, logging.WARNING, "account cannot keep up", api=name, asked=load.asked, why=behind)
            elif not behind and name in self._behind:
                event(logger, logging.INFO, "account keeps up again", api=name)
            (self._behind.add if behind else self._behind.discard)(name)
        return found

    def decide(self, key: Key, seen: Observation | FailedPoll, asked_at: float, now: float) -> Surroundings:
        """What a poll shows about its account, with all that follows from it but for the watch itself."""
        is_offline = isinstance(seen, FailedPoll) and seen.failure is Failure.OFFLINE
        suspected = is_offline and self._suspect(key.api, seen, now)
        is_silent = isinstance(seen, FailedPoll) and seen.failure is Failure.SILENT
        if self._offline is not None and not is_offline and not is_silent:
            self._end_offline()
        before = self._states.get(key.api, AccountState())
        watches = self._table.watches(key.api)
        decision = decide_account(
            before,
            key,
            seen,
            api=self._apis[key.api],
            watches=watches,
            asked_at=asked_at,
            hold=self._hold(key, seen, before),
            offline=suspected,
            now=now,
        )
        self._states[key.api] = decision.after
        self._follow(key, decision)
        return Surroundings(
            watches=watches,
            others_answered_at=decision.after.answered_beside(key),
            in_trouble=decision.after.incident is not None or self._offline is not None,
            suspected=suspected,
        )

    def _hold(self, key: Key, seen: Observation | FailedPoll, before: AccountState) -> float:
        if not isinstance(seen, FailedPoll) or seen.failure is not Failure.THROTTLED:
            return 0.0
        hold = hold_after(seen, before.throttled, self._chance)
        self._table.hold(key, hold)
        level = logging.DEBUG if before.throttled else logging.WARNING
        event(logger, level, "account held", api=key.api, seconds=hold, reason=seen.reason)
        return hold

    def _follow(self, key: Key, decision: AccountDecision) -> None:
        if decision.began is not None:
            self._table.probe(key.api)
            self._troubles.forgive_failures(key.api)
            self._troubles.begin_incident(decision.began)
        if decision.ended is not None:
            self._table.all_due(key.api)
            self._troubles.end_incident(decision.ended.kind, decision.ended.subject)
        if decision.check:
            self._table.ask_another(key, rather=decision.after.answered_by)

    # --- this machine ------------------------------------------------------------------------------------------------

    def _suspect(self, name: str, seen: FailedPoll | Observation, now: float) -> bool:
        """Whether it may be this machine that reaches nothing; opens the incident when it is plain."""
        self._states[name] = unreached(self._states.get(name, AccountState()), now)
        polled = {each: watches for each in self._apis if (watches := self._table.watches(each))}
        decision = decide_network(
            {each: self._states.get(each, AccountState()) for each in polled},
            patience=min(self._apis[each].incident_after for each in polled or self._apis),
            reason=seen.reason if isinstance(seen, FailedPoll) else "",
            watches=sum(polled.values()),
            now=now,
        )
        for each in decision.ask:
            load = self._table.load(each)
            if load is not None and load.in_flight == 0:  # else one is asked already, and may take its time
                self._table.ask_another(Key(each, ""))
        if decision.began is not None and self._offline is None:
            self._offline = decision.began
            for each in polled:
                self._probe_offline(each)
                self._troubles.forgive_failures(each)
            self._troubles.begin_incident(decision.began)
        elif self._offline is not None and name not in self._probed:  # new, or with a new base_url
            self._probe_offline(name)
        return decision.suspected

    def _probe_offline(self, name: str, **wait: float) -> None:
        self._probed.add(name)
        self._table.probe(name, **wait)

    def _end_offline(self) -> None:
        if self._offline is None:
            return
        incident, self._offline = self._offline, None
        self._probed.clear()
        for name in self._apis:
            if self._states.get(name, AccountState()).incident is None:  # else it is probed on
                self._table.all_due(name)
        self._troubles.end_incident(incident.kind, incident.subject)
        self._troubles.reach_out()
