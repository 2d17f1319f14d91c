"""SIGKILL at each named point between "poll answered" and "marked sent": nothing is lost, and nothing is repeated but
the one message of which nobody can know whether it arrived, under the same notice id.

The program kills itself (tests/standins/killed.py), is started again as users do, and lives on to the end.
"""

from __future__ import annotations

import random
import re
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from notifier.store import HistoryRow, Store
from tests.kill_loop import kill_at_random
from tests.standins.api import ApiStandIn, plain, problem
from tests.standins.daemon import Daemon
from tests.standins.receiver import Receiver
from tests.standins.slack import Answer, SlackStandIn
from tests.standins.smtp import SMTPStandIn
from tests.test_acceptance import SLACK_URL

KILLED = -signal.SIGKILL
CHANNELS = ("slack", "hook", "mail")
EVERY = ",".join(CHANNELS)
BODY = "notice {{ notice }}: {{ id }} {{ event }} {{ status }}"
TOLD = re.compile(r"notice (\w+): (\w*) (\w+) ([^\n]+)")
LINK = "https://x.test/a.png"

Told = tuple[str, str, str]
"""A notice in a message as (id, event, status)."""


class World:
    """An API, a channel of each kind, and the program between them."""

    def __init__(self, folder: Path, api: ApiStandIn, slack: SlackStandIn, hook: Receiver, smtp: SMTPStandIn) -> None:
        self.api, self.slack, self.hook, self.smtp = api, slack, hook, smtp
        self._store = f"sqlite:///{folder}/state/notifier.db"
        config = f"""
apis: {{here: {{base_url: '{api.base_url}', token: some-token, rate: 1000/s, lost_after: 1s}}}}
channels:
  slack: {{url: '${{SLACK_URL}}', body: '{BODY}', rate: 100/s}}
  hook: {{url: '{hook.url}', body: '{BODY}', rate: 100/s, retry_after: [0.3s], incident_after: 1s, give_up_after: 1h}}
  mail:
    {{url: 'mailto://127.0.0.1:{smtp.port}/oncall@example.com?from=bot@example.com', body: '{BODY}', rate: 100/s}}
defaults: {{interval: 1s}}
watchlist: [one, two]
"""
        self.program = Daemon(folder, config, {**slack.environment(), "SLACK_URL": SLACK_URL})
        for prediction_id in ("one", "two"):
            api.script(prediction_id, [plain(prediction_id, "starting")])

    def change_config(self, before: str, after: str) -> None:
        """Edit the configuration."""
        text = self.program.path.read_text()
        assert before in text
        self.program.path.write_text(text.replace(before, after))

    def run_until_killed(
        self, point: str, words: str, busy: str = "", then: Callable[[], None] | None = None, **variables: str
    ) -> None:
        """Run the program until it reaches the point, doing something once it has started; it must reach it."""
        already = len(self.program.log)
        self.program.launch(module=("tests.standins.killed", point, words, busy), **variables)
        if then is not None:
            self.program.wait_for_log(lambda lines: any("started watches=" in line for line in lines[already:]))
            then()
        assert self.program.wait() == KILLED, "\n".join(self.program.log)

    def history(self) -> list[HistoryRow]:
        """All that has happened, and what became of its deliveries; read beside the program."""
        with Store.open(self._store, create=False) as store:
            return store.history(None, 1000)

    def states(self) -> dict[str, str]:
        """What became, so far, of the first notice's delivery to each channel."""
        return {each.address.channel: each.state.value for each in self.history()[0].deliveries}

    def messages(self) -> dict[str, list[str]]:
        """The bodies that arrived at each channel, in order."""
        return {
            "slack": [request.text for request in list(self.slack.requests)],
            "hook": [post.message for post in self.hook.taken],
            "mail": [mail.text for mail in list(self.smtp.mails)],
        }

    def arrived(self) -> dict[str, list[Told]]:
        """What was told to each channel, in order, repeats included."""
        return {
            channel: [(one, event, status.strip()) for body in bodies for _, one, event, status in TOLD.findall(body)]
            for channel, bodies in self.messages().items()
        }

    def wait_for(self, *told: Told, channels: tuple[str, ...] = CHANNELS) -> None:
        """Wait until all this was told to all of these channels."""
        wait_until(lambda: all(set(told) <= set(self.arrived()[channel]) for channel in channels), self.arrived)

    def finish(self) -> list[HistoryRow]:
        """End the program in good order; all that happened, all of it sent."""
        assert self.program.stop() == 0
        history = self.history()
        assert {each.state.value for notice in history for each in notice.deliveries} == {"sent"}
        return history

    def repeats(self) -> dict[str, list[Told]]:
        """What a channel was told more than once, each time with the same notice id, and how often."""
        found: dict[str, list[Told]] = {}
        for channel, bodies in self.messages().items():
            ids = defaultdict(set)
            counts: Counter[Told] = Counter()
            for body in bodies:
                for notice, one, event, status in TOLD.findall(body):
                    counts[one, event, status.strip()] += 1
                    ids[one, event, status.strip()].add(notice)
            assert all(len(each) == 1 for each in ids.values()), ids
            more = [told for told, count in counts.items() for _ in range(count - 1)]
            if more:
                found[channel] = more
        return found


def everywhere(*told: Told) -> dict[str, list[Told]]:
    """These, at every channel."""
    return {channel: list(told) for channel in CHANNELS}


def wait_until(condition: Callable[[], bool], say: Callable[[], object] = lambda: "") -> None:
    """Look again and again: what is waited for is in another process."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, say()
        time.sleep(0.02)


@pytest.fixture
def world(tmp_path: Path, api: ApiStandIn, slack: SlackStandIn) -> Iterator[World]:
    with Receiver() as hook, SMTPStandIn() as smtp:
        world = World(tmp_path, api, slack, hook, smtp)
        with world.program:
            yield world


CHANGED: Told = ("one", "status", "processing")
LATER: tuple[Told, ...] = (("one", "status", "succeeded"), ("two", "status", "failed"))


def change(api: ApiStandIn) -> None:
    """The change that the kill comes upon; the poll before it, of the same process, has recorded the baseline."""
    api.script("one", [plain("one", "starting"), plain("one", "processing")])


def live_on(world: World) -> None:
    """Start again; after the change that the kill came upon the predictions go on, and all is told in order."""
    world.program.start()
    world.wait_for(CHANGED)
    world.api.script("two", [plain("two", "failed", error="no")])
    world.api.script("one", [plain("one", "succeeded", output=[LINK])])
    world.wait_for(CHANGED, *LATER)
    history = world.finish()
    told = sorted((notice.key.id, notice.before, notice.status) for notice in history if notice.key)
    assert told == [
        ("one", "processing", "succeeded"),
        ("one", "starting", "processing"),
        ("two", "starting", "failed"),
    ]
    for channel, messages in world.arrived().items():
        of_one = [status for one, _, status in messages if one == "one"]
        assert list(dict.fromkeys(of_one)) == ["processing", "succeeded"], channel
        assert of_one[-1] == "succeeded", channel  # a repeat came before what happened later


@pytest.mark.parametrize(
    ("point", "busy"),
    [
        pytest.param("put/begun", "", id="answered, not yet with the keeper"),
        pytest.param("decide/done", "", id="decided"),
        pytest.param("record/uncommitted", "", id="in the transaction, before COMMIT"),
        pytest.param("record/done", EVERY, id="after COMMIT, lanes not woken"),
    ],
)
def test_killed_before_a_lane_knows_of_it_a_change_arrives_everywhere_once(world: World, point: str, busy: str) -> None:
    change(world.api)
    world.run_until_killed(point, "processing", busy)
    assert not any(world.messages().values())
    live_on(world)
    assert world.repeats() == {}


@pytest.mark.parametrize("point", ["migrate/uncommitted", "write_marker/begun"])
def test_killed_while_the_store_is_made_it_starts_all_the_same(world: World, point: str) -> None:
    world.run_until_killed(point, "")
    world.program.start()
    world.api.wait_for(1, "one")
    assert world.program.stop() == 0


BEFORE_THE_WIRE = [
    pytest.param("waiting/done", "hook", id="read by the lane"),
    pytest.param("send/begun", "hook", id="about to be posted"),
]
AFTER_THE_YES = [
    pytest.param("send/done", "slack", id="Slack said yes, unknown to the lane"),
    pytest.param("send/done", "hook", id="the receiver said yes, unknown to the lane"),
    pytest.param("send/done", "mail", id="the mail server said yes, unknown to the lane"),
    pytest.param("mark_sent/begun", "hook", id="about to be marked"),
    pytest.param("mark_sent/uncommitted", "hook", id="marked, before COMMIT"),
]


@pytest.mark.parametrize(("point", "channel"), BEFORE_THE_WIRE)
def test_killed_before_it_is_on_the_wire_a_message_arrives_once(world: World, point: str, channel: str) -> None:
    change(world.api)
    world.run_until_killed(point, f"lane {channel},processing", channel)
    assert world.arrived() == {each: [] if each == channel else [CHANGED] for each in CHANNELS}
    live_on(world)
    assert world.repeats() == {}


@pytest.mark.parametrize(("point", "channel"), AFTER_THE_YES)
def test_killed_before_a_yes_is_recorded_that_one_message_is_repeated(world: World, point: str, channel: str) -> None:
    change(world.api)
    world.run_until_killed(point, f"lane {channel}", channel)
    assert world.arrived() == everywhere(CHANGED)
    live_on(world)
    assert world.repeats() == {channel: [CHANGED]}


def test_killed_once_a_yes_is_recorded_nothing_is_repeated(world: World) -> None:
    change(world.api)
    world.run_until_killed("mark_sent/done", "lane hook", "hook")
    assert world.arrived() == everywhere(CHANGED)
    live_on(world)
    assert world.repeats() == {}


@pytest.mark.parametrize("channel", CHANNELS)
def test_killed_while_the_far_end_has_not_answered_that_one_message_is_repeated(world: World, channel: str) -> None:
    if channel == "slack":
        world.slack.script(Answer(how="hang"))
    elif channel == "hook":
        world.hook.hold.clear()
    else:
        world.smtp.after_data = "accept, then hang"
    change(world.api)
    world.program.start()
    world.wait_for(CHANGED)
    wait_until(lambda: world.states() == {**dict.fromkeys(CHANNELS, "sent"), channel: "waiting"})
    world.program.kill()
    world.hook.hold.set()
    world.smtp.after_data = None
    live_on(world)
    assert world.repeats() == {channel: [CHANGED]}


def test_killed_upon_the_end_of_a_trouble_before_and_after_commit_it_is_told_wherever_the_trouble_was(
    world: World,
) -> None:
    lost, found = ("two", "lost", "not found"), ("two", "recovered", "starting")
    world.api.script("two", [problem(404)])
    world.program.start()
    world.wait_for(lost)
    assert world.program.stop() == 0
    world.api.script("two", [plain("two", "starting")])
    world.run_until_killed("record/uncommitted", "two,recovered")
    world.run_until_killed("record/done", "two,recovered", EVERY)
    world.program.start()
    world.wait_for(found)
    assert [notice.event for notice in world.finish()] == ["lost", "recovered"]
    assert world.arrived() == everywhere(lost, found)


@pytest.mark.parametrize("moment", ["uncommitted", "done"])
def test_killed_upon_a_channels_incident_and_upon_its_end_both_are_told_once(world: World, moment: str) -> None:
    busy = EVERY if moment == "done" else ""
    began, over = ("", "incident", "in trouble"), ("", "incident_over", "works again")
    others = ("slack", "mail")
    world.hook.status = 500
    change(world.api)
    world.run_until_killed(f"open_incident/{moment}", "hook", busy or "hook")
    assert world.arrived() == {"slack": [CHANGED], "mail": [CHANGED], "hook": []}

    def mend() -> None:
        world.wait_for(CHANGED, began, channels=others)
        world.hook.status = 200

    world.run_until_killed(f"close_incident/{moment}", "hook", busy, then=mend)
    world.program.start()  # nothing waits for the channel by now
    world.wait_for(CHANGED, began, over, channels=others)
    assert [notice.event for notice in world.finish()] == ["status", "incident", "incident_over"]
    assert world.arrived() == {"slack": [CHANGED, began, over], "mail": [CHANGED, began, over], "hook": [CHANGED]}


@pytest.mark.parametrize("moment", ["uncommitted", "done"])
def test_killed_upon_giving_up_and_upon_a_resend_the_message_arrives_once(world: World, moment: str) -> None:
    world.change_config("incident_after: 1s, give_up_after: 1h", "give_up_after: 1s")
    world.hook.status = 500
    change(world.api)
    world.run_until_killed(f"mark_given_up/{moment}", "lane hook", "hook")
    state = "given_up" if moment == "done" else "waiting"
    assert world.states()["hook"] == state
    world.program.start()
    wait_until(lambda: world.states()["hook"] == "given_up")
    world.hook.status = 200
    world.program.command(
        "resend", "--all", module=("tests.standins.killed", f"resend/{moment}", "", EVERY), check=KILLED
    )
    if moment == "uncommitted":
        assert world.states()["hook"] == "given_up"
        world.program.command("resend", "--all")
    world.wait_for(CHANGED)
    # Between the record of it and that of the word about it, it is shown by `status` and `history` alone.
    told = [] if moment == "done" else [("", "given_up", "not delivered")]
    assert [notice.event for notice in world.finish()] == ["status", *("given_up" for _ in told)]
    assert world.arrived() == {"slack": [CHANGED, *told], "mail": [CHANGED, *told], "hook": [CHANGED]}


def test_killed_at_random_under_load_it_misses_nothing_and_repeats_only_what_a_kill_explains(tmp_path: Path) -> None:
    figures = kill_at_random(tmp_path, seed=random.randrange(1_000_000), predictions=200, steps=2, kills=4)
    assert figures.problems == [], figures
    assert figures.kills == 4
    assert figures.deliveries - figures.repeats == 4 * figures.changes
