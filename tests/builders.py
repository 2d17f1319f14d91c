"""Small values for tests, and a way to play a story through `decide`: what was seen in, what was told out.

Times in stories are seconds since START, the moment the watch was taken up. The wall clock of a story stands
WALL_STEP apart from the steady one, so that a test notices when the one is used for the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest

from notifier.decide import Decision, Surroundings, decide_watch
from notifier.model import (
    Api,
    Event,
    FailedPoll,
    Failure,
    FirstSight,
    Key,
    Notice,
    Observation,
    Rules,
    Secret,
    State,
    Watch,
)

START = 1_790_000_000.0
WALL_STEP = 3600.0
SECOND, MINUTE, HOUR, DAY = 1.0, 60.0, 3600.0, 86400.0
LINK = "https://replicate.delivery/xezq/out-0.png"
DEFAULT_EVENTS = frozenset({"status", "error", "output", "stuck", "unreachable", "recovered", "lost", "let_go"})

Seen = str | Observation | FailedPoll
"""What a poll brought; a plain text is an observation of that status with nothing else in it."""


def a_key(prediction: str = "ufawqhfynnddngldkgtslldrkq", api: str = "cometapi") -> Key:
    """The key of a prediction."""
    return Key(api, prediction)


def an_api(name: str = "cometapi", **settings: Any) -> Api:
    """An account with the defaults, save what is given."""
    return Api(name, f"https://{name}.example/v1", Secret("r8_secret"), **settings)


def a_watch(key: Key | None = None, name: str = "Launch teaser", **rules: Any) -> Watch:
    """A watch with the defaults, save the rules that are given."""
    standard = Rules(interval=30.0, channels=("team",), events=DEFAULT_EVENTS)
    return Watch(key or a_key(), name, replace(standard, **rules))


def a_quiet_watch() -> Watch:
    """A watch that tells nothing at first sight."""
    return a_watch(first_sight=FirstSight.QUIET)


def an_observation(status: str = "processing", **said: Any) -> Observation:
    """An answer of that status; `output` is given as links and implies that there is output."""
    if "output" in said:
        said.setdefault("has_output", True)
    return Observation(status, **said)


def a_failure(failure: Failure = Failure.NETWORK, reason: str = "timed out", **said: Any) -> FailedPoll:
    """A poll that brought no observation."""
    return FailedPoll(failure, reason, **said)


def a_notice(*names: str, **facts: Any) -> Notice:
    """A notice that event lists holding one of the names let through."""
    facts = {"notice": "abcdefghij", "event": Event.STATUS, "time": START, "key": a_key(), **facts}
    return Notice(names=frozenset(names), **facts)


def around(watches: int = 10, *, answered: float | None = None, in_trouble: bool = False) -> Surroundings:
    """What is known of the account; `answered` is when another of its watches was, in seconds since START."""
    return Surroundings(watches, None if answered is None else START + answered, in_trouble)


ALONE = around(watches=1)


class Step(NamedTuple):
    """One poll of a story."""

    at: float
    seen: Seen
    around: Surroundings = ALONE

    def observed(self) -> Observation | FailedPoll:
        """What `decide` gets to see."""
        return an_observation(self.seen) if isinstance(self.seen, str) else self.seen


class Told(NamedTuple):
    """One notice of a story, in short. `names` are the event-list words that let it through, in any order."""

    at: float
    event: str
    before: str | None
    status: str | None
    names: str
    error: str | None = None
    ends: str = ""


def decide_step(watch: Watch, before: State, step: Step) -> Decision:
    """Decide one poll of a story."""
    now = START + step.at
    return decide_watch(watch, before, step.observed(), step.around, now=now, wall=now + WALL_STEP)


def play(watch: Watch, steps: Iterable[Step], before: State | None = None) -> list[Decision]:
    """Decide one poll after the other, each upon what the one before left."""
    state = State(watched_since=START) if before is None else before
    decisions = []
    for step in steps:
        decisions.append(decide_step(watch, state, step))
        state = decisions[-1].after
    return decisions


def notices(decisions: Iterable[Decision]) -> list[Notice]:
    """The notices owed, in order."""
    return [decision.notice for decision in decisions if decision.notice is not None]


def in_short(notice: Notice) -> Told:
    """A notice as the tables write it."""
    return Told(
        notice.time - WALL_STEP - START,
        notice.event.value,
        notice.before,
        notice.status,
        " ".join(sorted(notice.names)),
        notice.error,
        " ".join(sorted(notice.ends)),
    )


def every(wait: float, seen: Seen, *, start: float = 0, times: int, where: Surroundings = ALONE) -> list[Step]:
    """The same seen several times, `wait` seconds apart."""
    return [Step(start + wait * turn, seen, where) for turn in range(times)]


A_WATCH = a_watch()


class Outcome(NamedTuple):
    """What was told in a story, and what is known at its end."""

    told: list[Told]
    status: str | None
    error: str | None
    done: bool
    let_go: bool
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """What was seen of a watch, what is told, and what is known at the end."""

    name: str
    seen: list[Step]
    told: list[Told]
    status: str | None
    error: str | None = None
    done: bool = False
    let_go: bool = False
    troubles: tuple[str, ...] = ()
    watch: Watch = A_WATCH

    def played(self) -> Outcome:
        """What `decide` makes of it."""
        decisions = play(self.watch, self.seen)
        known = decisions[-1].after
        told = [in_short(notice) for notice in notices(decisions)]
        return Outcome(told, known.status, known.error, known.done, known.let_go, known.troubles)

    def promised(self) -> Outcome:
        """What it should make of it; the order of names and of ended troubles says nothing."""
        told = [told._replace(names=_sorted(told.names), ends=_sorted(told.ends)) for told in self.told]
        return Outcome(told, self.status, self.error, self.done, self.let_go, self.troubles)


def stories(*table: Story) -> pytest.MarkDecorator:
    """Run a test for each story, under its name."""
    return pytest.mark.parametrize("story", [pytest.param(story, id=story.name.replace(" ", "-")) for story in table])


def _sorted(words: str) -> str:
    return " ".join(sorted(words.split()))
