"""The daemon, killed at random moments while many predictions change and channels of every temper are told.

The tests play a short round. For minutes of it:

    python -m tests.kill_loop --minutes 5 --predictions 200 --seed 7
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from notifier.model import DeliveryState
from notifier.store import HistoryRow, Store
from tests.standins.api import Answer, ApiStandIn, Seen, plain
from tests.standins.daemon import Daemon
from tests.standins.receiver import Receiver
from tests.standins.smtp import SMTPStandIn

BODY = "notice {{ notice }}: {{ id }} {{ status }} {{ error or '' }}"
LINES = re.compile(r"notice (\w{10}): (\w+) (\w+) ?(.*)")
IDS = re.compile(r"\bnotices? (\w{10}(?:, \w{10})*)")
"""In every form that a message has: from the template, a digest's, the plain one's."""
SPELL = 1.0
"""Seconds for which the channel that fails now and then does so."""


class Step(NamedTuple):
    """What the API shows of a prediction, until it was told."""

    status: str
    error: str


class Message(NamedTuple):
    """One message as a channel got it: in which life of the process, whether it said yes, and what notices it told."""

    life: int
    taken: bool
    notices: list[str]


@dataclass
class Figures:
    """What came of it. `repeats` counts notices told again, each explained by a kill."""

    seed: int
    predictions: int
    kills: int = 0
    seconds: float = 0.0
    changes: int = 0
    messages: int = 0
    deliveries: int = 0
    repeats: int = 0
    problems: list[str] = field(default_factory=list)


class Lives:
    """Scripted lives: each next step of a prediction is taken once the steady channel was told of the one before, so
    that there is none that nobody could have seen. `told` is that channel's rule.
    """

    def __init__(self, api: ApiStandIn, predictions: int, chance: random.Random) -> None:
        self._api, self._chance = api, chance
        self.steps: dict[str, list[Step]] = {f"p{number:03}": [Step("starting", "")] for number in range(predictions)}
        self.most_steps = 1_000_000
        self.over: set[str] = set()
        self._seen: set[str] = set()
        for prediction_id in self.steps:
            self._show(prediction_id)

    def told(self, message: str) -> int:
        """A message has arrived."""
        for notice, prediction_id, status, error in LINES.findall(message):
            if notice not in self._seen:
                self._seen.add(notice)
                if Step(status, error) == self.steps[prediction_id][-1]:
                    self.go_on(prediction_id)
        return 200

    def go_on(self, prediction_id: str) -> None:
        """Take the next step, if there is one."""
        steps = self.steps[prediction_id]
        if steps[-1].status in ("succeeded", "failed"):
            self.over.add(prediction_id)
            return
        status = self._chance.choice(["starting", "processing"])
        if len(steps) >= self.most_steps:
            steps.append(self._chance.choice([Step("succeeded", ""), Step("failed", "no memory")]))
        elif status == steps[-1].status or self._chance.random() < 0.2:
            steps.append(Step(status, f"step {len(steps)}"))
        else:
            steps.append(Step(status, ""))
        self._show(prediction_id)

    def _show(self, prediction_id: str) -> None:
        status, error = self.steps[prediction_id][-1]
        output = "https://x.test/a.png" if status == "succeeded" else None
        answer: Answer = plain(prediction_id, status, error=error or None, output=output)
        self._api.script(prediction_id, [answer])


class Spells:
    """The rule of a channel that answers 500 for a while, now and then."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._until = 0.0

    def __call__(self, message: str) -> int:
        """What the next message is answered with."""
        now = time.monotonic()
        if now >= self._until and self._chance.random() < 0.02:
            self._until = now + SPELL
        return 500 if now < self._until else 200


def slow(message: str) -> int:
    """The rule of a channel that takes its time."""
    time.sleep(0.03)
    return 200


def kill_at_random(
    folder: Path, *, seed: int, predictions: int, steps: int, kills: int = 0, seconds: float = 0.0, rate: int = 40
) -> Figures:
    """Kill the daemon so many times and for so long, then let it finish, and judge what has arrived.

    Each prediction takes `steps` steps before its last, or with `seconds` as many as there is time for; the steady
    channel, whose `rate` paces all, hears of so many a second.
    """
    chance = random.Random(seed)
    figures = Figures(seed, predictions)
    with ExitStack() as stack:
        api = stack.enter_context(ApiStandIn())
        hooks = {name: stack.enter_context(Receiver()) for name in ("steady", "spells", "slow")}
        smtp = stack.enter_context(SMTPStandIn())
        lives = Lives(api, predictions, chance)
        hooks["steady"].rule, hooks["spells"].rule, hooks["slow"].rule = lives.told, Spells(chance), slow
        if not seconds:
            lives.most_steps = steps
        program = stack.enter_context(Daemon(folder, _config(api, hooks, smtp, list(lives.steps), rate)))
        start = time.monotonic()
        program.start(LIFE="0")
        # Only a second poll of the same process shows that what the first one saw is recorded.
        api.wait_for(predicate=lambda seen: len(seen) >= 2 * predictions and min(_polls(seen, lives)) >= 2, timeout=60)
        for prediction_id in list(lives.steps):
            lives.go_on(prediction_id)
        said = 0
        while figures.kills < kills or time.monotonic() < start + seconds:
            time.sleep(chance.uniform(0.1, 5.0))  # from before it has started to well under way
            program.kill()
            figures.kills += 1
            said = len(program.log)
            program.launch(LIFE=str(figures.kills))
        # In its first tenth of a second, while Python is loaded, a signal to end is the end of it, and not with 0.
        program.wait_for_log(lambda lines: any("started watches=" in line for line in lines[said:]))
        lives.most_steps = min(lives.most_steps, max(map(len, lives.steps.values())))
        store = f"sqlite:///{folder}/state/notifier.db"
        _wait_until_done(store, lives, predictions)
        if program.stop() != 0:
            figures.problems.append("the daemon did not end with 0")
        with Store.open(store, create=False) as opened:
            history = opened.history(None, 10_000_000)
        messages = {name: [_of_post(post.path, post.status, post.message) for post in hook.posts]
                    for name, hook in hooks.items()}  # fmt: skip
        messages["mail"] = [
            Message(int(mail.sender.partition("@")[0]), taken=True, notices=_notices(mail.text)) for mail in smtp.mails
        ]
    figures.seconds = round(time.monotonic() - start, 1)
    figures.changes = sum(len(each) - 1 for each in lives.steps.values())
    figures.problems += _wrong_history(lives, history, set(messages))
    for channel, told in messages.items():
        told.sort(key=lambda message: message.life)  # what a killed one had sent may be read late
        figures.messages += len(told)
        figures.deliveries += sum(len(message.notices) for message in told if message.taken)
        figures.problems += [f"{channel}: {problem}" for problem in _wrong_arrivals(told, history)]
        figures.repeats += len(list(_repeats(told)))
    return figures


def _config(api: ApiStandIn, hooks: dict[str, Receiver], smtp: SMTPStandIn, ids: list[str], rate: int) -> str:
    body = f'body: "{BODY}"'
    return f"""
apis: {{here: {{base_url: '{api.base_url}', token: some-token, rate: 1000/s}}}}
channels:
  steady: {{url: '{hooks["steady"].url}${{LIFE}}', {body}, rate: {rate}/s, digest_over: 100000}}
  spells: {{url: '{hooks["spells"].url}${{LIFE}}', {body}, rate: 1000/s, digest_over: 10, retry_after: [0.2s]}}
  slow: {{url: '{hooks["slow"].url}${{LIFE}}', {body}, rate: 1000/s, digest_over: 100000}}
  mail:
    url: mailto://127.0.0.1:{smtp.port}/oncall@example.com?from=${{LIFE}}@example.com
    rate: 1000/s
    digest_over: 50
    {body}
defaults: {{interval: 1s}}
watchlist: [{", ".join(ids)}]
"""


def _polls(seen: list[Seen], lives: Lives) -> list[int]:
    counts = Counter(each.id for each in seen)
    return [counts[prediction_id] for prediction_id in lives.steps]


def _wait_until_done(store: str, lives: Lives, predictions: int) -> None:
    """Wait until every life is over and nothing waits; as long as there is progress."""
    last, progress = time.monotonic(), (0, 0)
    while time.monotonic() < last + 60:
        with Store.open(store, create=False) as opened:
            waiting = sum(opened.waiting_addresses().values())
        if not waiting and len(lives.over) == predictions:
            return
        now = (waiting, sum(map(len, lives.steps.values())))
        if now != progress:
            last, progress = time.monotonic(), now
        time.sleep(0.1)
    # What is missing is found by those who judge.


def _of_post(path: str, status: int, message: str) -> Message:
    return Message(int(path), taken=status == 200, notices=_notices(message))


def _notices(message: str) -> list[str]:
    return [notice for found in IDS.findall(message) for notice in found.split(", ")]


# --- judging ---------------------------------------------------------------------------------------------------------


def _wrong_history(lives: Lives, history: list[HistoryRow], channels: set[str]) -> Iterator[str]:
    """Every step was recorded once, in order, and every channel's delivery of it is sent."""
    recorded: defaultdict[str, list[Step]] = defaultdict(list)
    for row in history:
        if row.key is None:
            yield f"an incident nobody expects: {row.why}"
            continue
        recorded[row.key.id].append(Step(row.status or "", row.error or ""))
        states = {each.address.channel: each.state for each in row.deliveries}
        if states != dict.fromkeys(channels, DeliveryState.SENT) or len(row.deliveries) != len(channels):
            yield f"notice {row.notice} is {states}"
    for prediction_id, (_, *expected) in lives.steps.items():
        if recorded[prediction_id] != expected:
            yield f"{prediction_id} went through {expected}, recorded was {recorded[prediction_id]}"
    if unfinished := lives.steps.keys() - lives.over:
        yield f"never over: {sorted(unfinished)}"


def _wrong_arrivals(told: list[Message], history: list[HistoryRow]) -> Iterator[str]:
    """Every notice arrived, each prediction's in order, and none again but what a killed life was just sending."""
    place = {row.notice: (row.key, number) for number, row in enumerate(history)}
    arrived: dict[str, None] = dict.fromkeys(notice for message in told if message.taken for notice in message.notices)
    if missing := place.keys() - arrived.keys():
        yield f"{len(missing)} never arrived: {sorted(missing)}"
    if unknown := arrived.keys() - place.keys():
        yield f"arrived and in no history: {sorted(unknown)}"
        return
    last_told: dict[object, int] = {}
    for message in told:
        numbers = defaultdict(list)
        for notice in message.notices if message.taken else ():
            key, number = place[notice]
            numbers[key].append(number)
        for key, those in numbers.items():
            # A message that tells several may come again as a whole; it ends where it ended, or later.
            if those != sorted(those) or those[-1] < last_told.get(key, -1):
                yield f"{key} was told {those} in life {message.life}, after {last_told.get(key)}"
            last_told[key] = those[-1]
    last_of_life = {message.life: message for message in told}
    for notice, before, again in _repeats(told):
        if before.life == again.life:
            yield f"{notice} came twice in life {again.life}"
        elif last_of_life[before.life] is not before:
            yield f"{notice} came again in life {again.life}, and was not the last thing that life {before.life} sent"


def _repeats(told: list[Message]) -> Iterator[tuple[str, Message, Message]]:
    """Each notice that arrived again: the message that told it before, and the one that told it again."""
    before: dict[str, Message] = {}
    for message in told:
        for notice in message.notices if message.taken else ():
            if notice in before:
                yield notice, before[notice], message
            before[notice] = message


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--predictions", type=int, default=200)
    parser.add_argument("--rate", type=int, default=20, help="changes a second, about")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = kill_at_random(
            Path(folder), seed=given.seed, predictions=given.predictions, steps=0, seconds=given.minutes * 60,
            rate=given.rate,
        )  # fmt: skip
    for name, value in asdict(figures).items():
        print(f"{name:12} {value}")
    raise SystemExit(bool(figures.problems))
