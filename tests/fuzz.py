"""A million answers: what a poll reads of them, what is decided on it, and that nothing is lost or invented.

`python -m tests.fuzz --examples 1000000 --seed 1` makes them up from the words of both APIs, mutates them, and plays
them as the polls of watches whose states live on; a test plays a few thousand with a seed of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from dataclasses import dataclass
from typing import Any

import requests
from requests.structures import CaseInsensitiveDict

from notifier.decide import AccountState, Surroundings, decide_account, decide_watch
from notifier.model import FINAL, FailedPoll, Observation, State
from notifier.poll import read
from notifier.poll.times import budget
from tests.builders import a_key, a_watch, an_api
from tests.standins.api import plain, prediction, wrapped
from tests.test_poll_fuzz import TEXTS, WORDS, check, final_words_in

CODES = (*[200] * 24, 201, 204, 301, 400, 401, 402, 404, 408, 409, 422, 429, 500, 502, 503, 524, 999)
HEADERS = ("Retry-After", "ratelimit-reset", "ratelimit-remaining", "Location", "Content-Type")
HEADER_VALUES = ("5", "-1", "0", "1e11", "", "٣", "Sun, 06 Nov 1994 08:49:37 GMT", "https://[a", "soon", "9" * 400)
ID = "x"
LIFE = 40
"""Polls of one watch, after which another begins."""


@dataclass
class Figures:
    """What was played, by what was made of it."""

    observations: int = 0
    failures: int = 0
    notices: int = 0
    finals: int = 0


class Maker:
    """Makes answers up."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        """Any JSON value, made from the words that matter."""
        pick = self.random.random()
        if depth > 3 or pick < 0.6:
            scalars = (None, True, 0, 401, 10**30, -1, 1773314838, 1.5, self.random.choice(TEXTS[:-1]))
            return self.random.choice(scalars) if pick < 0.3 else self.random.choice(TEXTS[:-1])
        if pick < 0.75:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return {self.random.choice(WORDS): self.value(depth + 1) for _ in range(self.random.randrange(7))}

    def body(self) -> Any:
        """A prediction, a wrapped one or anything, some of its fields replaced."""
        pick = self.random.random()
        if pick < 0.25:
            return self.value()
        status = self.random.choice(["starting", "processing", *FINAL, "queued"])
        name = ID if self.random.random() < 0.95 else "another"
        made: dict[str, Any] = plain(name, status).body
        if pick > 0.6:
            outer = self.random.choice(["IN_PROGRESS", "SUCCESS", "FAILURE", "QUEUED"])
            made = wrapped(name, outer, prediction(name, status) if pick > 0.75 else None).body
        level = made
        while isinstance(level.get("data"), dict) and self.random.random() < 0.6:
            level = level["data"]
        for _ in range(self.random.choice([0, 0, 1, 2, 5])):
            level[self.random.choice(WORDS)] = self.value(2)
        return made

    def content(self, body: Any) -> tuple[bytes, bool]:
        """Its bytes, now and then damaged; and whether they are whole."""
        content = json.dumps(body).encode()
        pick = self.random.random()
        if pick < 0.8 or not content:
            return content, True
        if pick < 0.9:
            return content[: self.random.randrange(len(content))], False
        damaged = bytearray(content)
        for _ in range(self.random.randrange(1, 5)):
            damaged[self.random.randrange(len(damaged))] = self.random.randrange(256)
        return bytes(damaged), False

    def headers(self) -> dict[str, str]:
        """Now and then some that a poll looks at."""
        if self.random.random() < 0.7:
            return {}
        return {self.random.choice(HEADERS): self.random.choice(HEADER_VALUES) for _ in range(3)}


def play(examples: int, seed: int) -> Figures:
    """Play so many answers; raises at the first that is read or decided wrongly."""
    make, figures = Maker(seed), Figures()
    watch, api = a_watch(settle=60.0), an_api(a_key().api)
    now = 1_790_000_000.0
    state, account = State(watched_since=now), AccountState()
    for number in range(examples):
        if number % LIFE == 0 or state.done:
            state = State(watched_since=now)
        body = make.body()
        content, is_whole = make.content(body)
        answer = requests.Response()
        answer.status_code, answer._content = make.random.choice(CODES), content
        answer.headers = CaseInsensitiveDict(make.headers())
        seen = read(answer, ID, now)
        check(seen, is_whole=is_whole)
        left = budget(answer.headers)
        assert left is None or (left.remaining >= 0 and 0 < left.seconds <= 3600)
        if isinstance(seen, Observation):
            figures.observations += 1
            assert 200 <= answer.status_code < 300
            assert not is_whole or seen.status not in FINAL or final_words_in(body), (body, seen)
        now += make.random.choice([1.0, 30.0, 600.0])
        account = decide_account(account, watch.key, seen, api=api, watches=5, asked_at=now, hold=0.0, now=now).after
        decision = decide_watch(watch, state, seen, Surroundings(watches=5), now=now, wall=now)
        assert state.status not in FINAL or decision.after.status in FINAL, "a final state was lost"
        assert not (state.has_output and not decision.after.has_output), "an output was lost"
        assert isinstance(seen, Observation) or decision.after.status == state.status, "a status was invented"
        figures.failures += isinstance(seen, FailedPoll)
        figures.finals += state.status not in FINAL and decision.after.status in FINAL
        figures.notices += decision.notice is not None
        state = decision.after
    return figures


def main() -> None:
    """Play as many as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    asked = parser.parse_args()
    begun = time.monotonic()
    figures = play(asked.examples, asked.seed)
    sys.stdout.write(f"seed {asked.seed}: {asked.examples} answers in {time.monotonic() - begun:.0f} s: {figures}\n")


if __name__ == "__main__":
    main()
