"""All lanes: started when something waits for their address, stopped with their channel or with the daemon."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from notifier.deliver.lane import Lane
from notifier.deliver.needs import Files, Incidents, Outbox, Words
from notifier.deliver.pacer import Pacer
from notifier.errors import DeliveryError
from notifier.logs import event, mistake
from notifier.model import Address, Channel, Clock, Message, Notice

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """How an address is reached: its channel's settings, the call that sends, and the longest body in characters."""

    channel: Channel
    send: Callable[[Message], None]
    limit: int


class Lanes:
    """Starts, wakes, reconfigures and stops the lanes. Safe to use from any thread."""

    def __init__(
        self, *, outbox: Outbox, words: Words, incidents: Incidents, clock: Clock, files: Files | None = None
    ) -> None:
        self._outbox, self._words, self._incidents, self._clock = outbox, words, incidents, clock
        self._files = files
        self._lock = threading.Lock()
        self._routes: Mapping[Address, Route] = {}
        self._pacers: dict[str, Pacer] = {}
        self._lanes: dict[Address, Lane] = {}
        self._ending: dict[Address, Lane] = {}
        """Lanes that were stopped with their channel, and may still be sending what they had begun."""
        self._announcing: list[threading.Thread] = []
        self._failing: dict[Address, float] = {}
        self._incident_open: set[Address] = set()
        self._stopped = False

    def remember(self, failing: Mapping[Address, float], incident_open: Iterable[Address]) -> None:
        """What was known of the channels before the start: since when each fails, and which are incidents."""
        self._failing, self._incident_open = dict(failing), set(incident_open)

    def configure(self, routes: Mapping[Address, Route]) -> None:
        """Go by these routes from now on. Deliveries to addresses that are gone wait in the store."""
        with self._lock:
            self._routes = routes
            for address, route in routes.items():
                pacer = self._pacers.setdefault(address.channel, Pacer(route.channel.rate))
                pacer.configure(route.channel.rate)
                if address in self._lanes:
                    self._lanes[address].configure(route.channel, pacer, route.send, route.limit)
            for address in self._lanes.keys() - routes.keys():
                self._ending[address] = self._lanes.pop(address)
                self._ending[address].stop()
            self._ending = {address: lane for address, lane in self._ending.items() if not lane.join(0)}
            # What was known of a channel at the start says nothing of one that was removed and is back.
            self._failing = {address: since for address, since in self._failing.items() if address in routes}
            self._incident_open &= routes.keys()

    def wake(self, addresses: Iterable[Address]) -> None:
        """Something new waits for these."""
        with self._lock:
            for address in addresses:
                lane = self._lanes.get(address)
                if lane is not None:
                    lane.wake()
                elif address in self._routes and not self._stopped:
                    self._lanes[address] = self._start(address, self._routes[address])

    @property
    def are_ending(self) -> bool:
        """Whether a lane that was stopped with its address may still be sending."""
        with self._lock:
            return not all(lane.join(0) for lane in self._ending.values())

    def stuck(self, patience: float) -> list[str]:
        """Channels that have taken longer than so many seconds for one message, or whose thread has died."""
        now = self._clock.steady()
        with self._lock:
            lanes = [*self._lanes.items(), *self._ending.items()]
        names = [address.channel for address, lane in lanes if lane.busy_for(now) >= patience]
        return list(dict.fromkeys(names))

    def stranded(self, waiting: Iterable[Address]) -> dict[Address, tuple[Address, ...]]:
        """Of those for whom something waits, the recipients that their channel has no more, and those it has now."""
        with self._lock:
            now: dict[str, tuple[Address, ...]] = {}
            for address in self._routes:
                now[address.channel] = (*now.get(address.channel, ()), address)
            return {
                address: now[address.channel]
                for address in waiting
                if address not in self._routes
                and address.channel in now
                and (address not in self._ending or self._ending[address].join(0))
            }

    def try_again(self) -> None:
        """Whatever kept messages from their channels may be over: probe those that fail at once."""
        with self._lock:
            for lane in self._lanes.values():
                lane.try_again()

    def announce(self, notice: Notice, addresses: Iterable[Address]) -> None:
        """Send a notice once, from memory, because it cannot be recorded. Whether it arrived is only logged."""
        with self._lock:
            self._announcing = [thread for thread in self._announcing if thread.is_alive()]
            for address in addresses:
                if address in self._routes and not self._stopped:
                    arguments = (notice, address, self._routes[address])
                    name = f"announce {address.channel}"
                    thread = threading.Thread(target=self._send_once, args=arguments, name=name, daemon=True)
                    thread.start()
                    self._announcing.append(thread)

    def _send_once(self, notice: Notice, address: Address, route: Route) -> None:
        about = {"channel": address.channel, "recipient": address.recipient or None, "notice": notice.notice}
        try:
            route.send(self._words.write([notice], title=None, body=None, limit=route.limit, now=self._clock.wall()))
        except DeliveryError as error:
            event(logger, logging.ERROR, "not announced", **about, reason=error.in_full)
        except Exception:  # noqa: BLE001 - nobody waits for this thread: only the log can tell
            mistake(logger, "a channel is not told", **about)
        else:
            event(logger, logging.INFO, "announced", **about)

    def _start(self, address: Address, route: Route) -> Lane:
        lane = Lane(
            address,
            route.channel,
            pacer=self._pacers[address.channel],
            send=route.send,
            limit=route.limit,
            outbox=self._outbox,
            words=self._words,
            incidents=self._incidents,
            clock=self._clock,
            files=self._files,
            failing_since=self._failing.get(address),
            incident_open=address in self._incident_open,
        )
        # Two at once would both send what the first has not marked yet.
        lane.start(after=self._ending.get(address))
        return lane

    def stop(self, grace: float) -> bool:
        """Start no further delivery, and give those in flight so many seconds in all; whether all have ended.

        An announcement in flight gets them too, but may outlive them: it touches nothing but its channel.
        """
        with self._lock:
            self._stopped = True
            lanes = [*self._lanes.values(), *self._ending.values()]
            announcing = list(self._announcing)
        for lane in lanes:
            lane.stop()
        deadline = time.monotonic() + grace
        ended = [lane.join(max(0.0, deadline - time.monotonic())) for lane in lanes]
        for thread in announcing:
            thread.join(max(0.0, deadline - time.monotonic()))
        return all(ended)
