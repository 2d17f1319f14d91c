"""Accounts in trouble against the real program: slow ones, ones that limit, refuse or cannot be reached."""

from __future__ import annotations

import gzip
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults import MIB
from tests.standins.api import Answer, ApiStandIn, Seen, comet_error, drip, hang, plain, problem, sends
from tests.standins.daemon import Daemon
from tests.standins.receiver import Receiver
from tests.test_acceptance_hostile import account, assert_no_mistake, configuration, started

Rule = Callable[[Seen], Answer | None]
"""What an account answers instead of its predictions; None where it does not."""


class Accounts(ApiStandIn):
    """An API where each account, told by its token, has a rule of its own; every prediction there is, is running."""

    def __init__(self) -> None:
        self.rules: dict[str, Rule] = {}
        self.given: list[tuple[Seen, Answer]] = []
        super().__init__()

    def _choose(self, seen: Seen) -> Answer:
        rule = self.rules.get(token_of(seen))
        answer = (rule(seen) if rule else None) or plain(seen.id, "processing")
        self.given.append((seen, answer))
        return answer

    def of(self, token: str) -> list[tuple[Seen, Answer]]:
        """What the account was asked and answered so far."""
        return [(seen, answer) for seen, answer in list(self.given) if token_of(seen) == token]


def token_of(seen: Seen) -> str:
    return seen.headers.get("authorization", "").removeprefix("Bearer ")


@pytest.fixture
def accounts() -> Iterator[Accounts]:
    with Accounts() as accounts:
        yield accounts


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def peak_memory(program: Daemon) -> float:
    """In MiB."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def starts(api: ApiStandIn, names: list[str]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in names}
    for seen in list(api.requests):
        if seen.id in found:
            found[seen.id].append(seen.time)
    return found


def test_faulty_predictions_and_a_slow_account_slow_nobody_else_and_memory_stays_flat(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    steady = [f"steady{number}" for number in range(196)]
    slow = [f"slow{number}" for number in range(20)]
    huge = plain("logs", "processing", logs="x" * 50 * MIB)
    faulty = {
        "drip": drip,
        "hang": hang,
        "bomb": Answer(body=gzip.compress(b"0" * 256 * MIB), headers={"Content-Encoding": "gzip"}),
        "logs": sends(huge.raw()),
    }
    for name in (*steady, *slow):
        api.script(name, [plain(name, "processing").with_(delay=1.0 if name in slow else 0.0)])
    for name, answer in faulty.items():
        api.script(name, [answer])
    watches = [*(("many", name) for name in (*steady, *faulty)), *(("slow", name) for name in slow)]
    settings = [account("many", api, timeout="3s"), account("slow", api, concurrency=5)]
    with Daemon(tmp_path, configuration(receiver, settings, watches)) as program:
        started(program)
        for name in slow:
            api.wait_for(3, name, timeout=60)
        memory = peak_memory(program)
        assert program.stop() == 0
    assert all(len(polls) > 1 for polls in starts(api, list(faulty)).values())
    gaps = sorted(after - before for polls in starts(api, steady).values() for before, after in pairwise(polls))
    assert len(gaps) > 196 * 9
    assert 0.9 < sum(gaps) / len(gaps) < 1.1
    assert gaps[-len(gaps) // 100] < 2.0  # on a busy machine; whoever waited for the faulty ones would wait for longer
    assert gaps[-1] < 2.5
    assert memory < 250, "MiB"
    polls = starts(api, slow)
    counts = {len(times) for times in polls.values()}
    assert max(counts) - min(counts) <= 1, "all are polled evenly"
    in_flight = sorted(time for times in polls.values() for time in times)
    assert all(later - time >= 0.98 for time, later in zip(in_flight, in_flight[5:], strict=False)), "never more than 5"
    assert set(titles(receiver)) <= {f"📡 {name}: unreachable" for name in faulty}
    assert_no_mistake(program)


# --- limits ------------------------------------------------------------------------------------------------------


class Limit:
    """Grants so many polls a second, as a bucket of two seconds' worth, and refuses the others."""

    def __init__(self, refusal: Callable[[], Answer], rate: float = 5.0) -> None:
        self._refusal, self._rate = refusal, rate
        self._left, self._at = rate * 2, time.monotonic()

    def __call__(self, seen: Seen) -> Answer | None:
        now = time.monotonic()
        self._left = min(self._rate * 2, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return self._refusal()
        self._left -= 1
        return None


class Window:
    """Grants so many polls in each window of two seconds, and says with each answer what is left of it."""

    def __init__(self, most: int = 12) -> None:
        self._most, self._left, self._ends = most, most, 0.0

    def __call__(self, seen: Seen) -> Answer | None:
        now = time.monotonic()
        if now >= self._ends:
            self._left, self._ends = self._most, now + 2.0
        if not self._left:
            return problem(429, detail="Request was throttled.")
        self._left -= 1
        said = {"ratelimit-remaining": str(self._left), "ratelimit-reset": str(math.ceil(self._ends - now))}
        return plain(seen.id, "processing").with_(headers=said)


def throttled(**said: object) -> Callable[[], Answer]:
    body = {"detail": "Request was throttled.", "status": 429, **said}
    return lambda: Answer(429, body, {"Content-Type": "application/problem+json"})


LIMITS: dict[str, Callable[[], Rule]] = {
    "seconds": lambda: Limit(lambda: problem(429, Retry_After="2")),
    "date": lambda: Limit(lambda: problem(429, Retry_After=formatdate(time.time() + 3, usegmt=True))),
    "json": lambda: Limit(throttled(retry_after=2)),
    "prose": lambda: Limit(throttled(detail="Request was throttled. Your rate limit resets in ~2s.")),
    "reset": lambda: Limit(lambda: problem(429, ratelimit_reset="2")),
    "silent": lambda: Limit(throttled()),
    "garbage": lambda: Limit(lambda: problem(429, Retry_After="soon")),
    "remaining": Window,
}


HELD = dict.fromkeys(("seconds", "date", "json", "prose", "reset"), 1.9)
"""Seconds without a poll after a refusal that said for how long."""


def test_an_account_keeps_to_what_its_api_grants_however_that_says_so(
    tmp_path: Path, accounts: Accounts, receiver: Receiver
) -> None:
    accounts.rules = {name: limit() for name, limit in LIMITS.items()}
    watches = [(name, f"{name}-{number}") for name in LIMITS for number in range(20)]
    settings = [account(name, accounts, token=name, rate="20/s") for name in LIMITS]
    with Daemon(tmp_path, configuration(receiver, settings, watches)) as program:
        started(program)
        wait_until(lambda: time.monotonic() - accounts.requests[0].time > 16 if accounts.requests else False)
        assert program.stop() == 0
    for name in LIMITS:
        asked = accounts.of(name)
        refused = [seen.time for seen, answer in asked if answer.status == 429]
        polls = Counter(seen.id for seen, _ in asked)
        assert len(polls) == 20, f"{name}: a watch starves"
        assert min(polls.values()) >= max(2, max(polls.values()) - 3), f"{name}: not all are polled evenly"
        assert len(asked) - len(refused) >= 50, f"{name}: what is granted is not used"
        assert len(refused) <= (0 if name == "remaining" else 8), f"{name}: {len(refused)} refusals"
        held = HELD.get(name, 0.4)
        assert [time for time in refused if any(time + 0.1 < seen.time < time + held for seen, _ in asked)] == [], name
        storms = [first for first, third in zip(refused, refused[2:], strict=False) if third - first < 1.0]
        assert storms == [], f"{name}: refused again and again"
    assert receiver.posts == []
    assert_no_mistake(program)


# --- incidents ---------------------------------------------------------------------------------------------------

TROUBLES: dict[str, tuple[Answer, int]] = {
    "of-401": (problem(401, "Unauthenticated", "You did not pass a valid authentication token"), 60),
    "of-402": (problem(402, "Insufficient credit"), 3),
    "of-403": (comet_error(403, "no access"), 2),
    "of-500": (problem(500, detail="Oops"), 4),
    "of-page": (Answer(body=b"<!doctype html><title>Sign in</title>"), 3),
    "of-hold": (problem(429, Retry_After="900"), 3),
}
"""What every watch of an account is answered, and how many there are."""
MENDED_BY_HAND = ("of-401", "of-hold")


def always(answer: Answer) -> Rule:
    return lambda _: answer


def titles(receiver: Receiver) -> list[str]:
    return sorted(post.title for post in receiver.posts)


def test_an_account_in_trouble_is_told_once_probed_now_and_then_and_told_when_it_is_well(
    tmp_path: Path, accounts: Accounts, receiver: Receiver
) -> None:
    watches = [(name, f"{name}-{number}") for name, (_, count) in TROUBLES.items() for number in range(count)]
    waits = {"unreachable_after": "2s", "lost_after": "2s", "incident_after": "2s"}
    settings = [account(name, accounts, token=f"old-{name}", **waits) for name in TROUBLES]
    with Daemon(tmp_path, configuration(receiver, settings, watches)) as program:
        started(program)
        for _, name in watches:
            accounts.wait_for(2, name)
        begin = time.monotonic()
        accounts.rules = {f"old-{name}": always(answer) for name, (answer, _) in TROUBLES.items()}
        receiver.wait_for(len(TROUBLES))
        assert titles(receiver) == sorted(f"🚨 account {name}: in trouble" for name in TROUBLES)
        told_at = time.monotonic()

        def are_probed() -> bool:
            probes = Counter(token_of(seen) for seen in list(accounts.requests) if seen.time > told_at)
            return all(probes[f"old-{name}"] >= 2 for name in TROUBLES if name != "of-hold")

        wait_until(are_probed)  # save for a hold, which is not even probed before it is over
        polls = Counter(token_of(seen) for seen in accounts.requests if seen.time > begin)
        assert polls["old-of-401"] < 60, "not each watch once more, in the time of several intervals"
        assert polls["old-of-hold"] <= 3
        begin = time.monotonic()
        config = program.path.read_text()
        for name in MENDED_BY_HAND:
            config = config.replace(f"old-{name}", f"new-{name}")
        program.path.write_text(config)
        for name in TROUBLES.keys() - MENDED_BY_HAND:
            del accounts.rules[f"old-{name}"]
        bodies = receiver.wait_for(2 * len(TROUBLES))
        assert time.monotonic() - begin < 8, "two looks at the file, two seconds apart"
        well = time.monotonic()
        wait_until(
            lambda: {name for _, name in watches} <= {seen.id for seen in list(accounts.requests) if seen.time > begin}
        )
        assert time.monotonic() - well < 8, "sixty watches are spread by the rate"
        assert program.stop() == 0
        history = program.json("history")
        status = program.json("status")
    assert Counter(notice["event"] for notice in history) == dict.fromkeys(
        ("incident", "incident_over"), len(TROUBLES)
    ), "and of no watch"
    assert len(receiver.posts) == 2 * len(TROUBLES)
    assert sum("60 watches affected." in body for body in bodies) == 1
    assert sum("Account of-401 can be polled again after" in body for body in bodies) == 1
    assert status["incidents"] == []
    assert_no_mistake(program)


NOWHERE = f"https://{'x' * 64}.example/v1"
"""Of a part of a name there are 63 letters at most (RFC 1035, 2.3.4): no DNS server need be asked for its address."""


def test_nothing_being_reached_is_one_incident_and_one_account_not_being_reached_is_its_own(
    tmp_path: Path, accounts: Accounts, receiver: Receiver
) -> None:
    watches = [(name, f"{name}-{number}") for name in ("first", "second") for number in range(4)]
    waits = {"unreachable_after": "2s", "lost_after": "2s", "incident_after": "2s"}
    settings = [account(name, accounts, base_url=NOWHERE, **waits) for name in ("first", "second")]
    with Daemon(tmp_path, configuration(receiver, settings, watches)) as program:
        started(program)
        receiver.wait_for(1)
        config = program.path.read_text().replace(NOWHERE, accounts.base_url, 1)
        program.path.write_text(config)
        receiver.wait_for(3)
        program.path.write_text(config.replace(NOWHERE, accounts.base_url, 1))
        receiver.wait_for(4)
        for _, name in watches:
            accounts.wait_for(2, name)
        assert program.stop() == 0
        history = program.json("history")
    assert [notice["event"] for notice in history] == ["incident", "incident_over", "incident", "incident_over"]
    network, over, dead, well = (post.title for post in receiver.posts)
    assert "this machine" in network
    assert "this machine" in over
    assert (dead, well) == ("🚨 account second: in trouble", "🟢 account second: works again")
    assert_no_mistake(program)


def wait_until(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
