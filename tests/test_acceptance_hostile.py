"""An API with every fault there is, each on a prediction of its own, against the real program."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import BODIES, CODES, LINK, REFUSALS, WIRE, Comes, Fault, redirects
from tests.standins.api import ApiStandIn, Seen, plain
from tests.standins.daemon import Daemon
from tests.standins.receiver import Receiver

TOKEN = "r8_hostile-token"
MISTAKES = ("Traceback", "mistake in the program", "our own mistake")

CONFIG = """
apis:
{apis}
channels:
  ops: {{url: '{url}', rate: 1000/s, digest_over: 1000}}
defaults: {{interval: 1s}}
watchlist:
{watches}
"""
Told = list[tuple[str, str | None, str | None]]
PROCESSING = "processing"
END = ("status", PROCESSING, "succeeded")
TOLD: dict[Comes, Told] = {
    Comes.UNREACHABLE: [("unreachable", PROCESSING, PROCESSING), ("recovered", PROCESSING, PROCESSING), END],
    Comes.LOST: [("lost", PROCESSING, PROCESSING)],
    Comes.NOTHING: [END],
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def account(name: str, api: ApiStandIn, **settings: object) -> str:
    said = {"base_url": api.base_url, "token": TOKEN, "rate": "1000/s", **settings}
    return f"  {name}: {json.dumps(said)}"


def configuration(receiver: Receiver, accounts: Iterable[str], watches: Iterable[tuple[str, str]]) -> str:
    entries = (f"  - {{id: '{name}', api: {api}}}" for api, name in watches)
    return CONFIG.format(apis="\n".join(accounts), url=receiver.url, watches="\n".join(entries))


def started(program: Daemon, **variables: str) -> Daemon:
    program.launch(module=("tests.standins.hasty",), **variables)
    program.wait_for_log(lambda lines: any("started watches=" in line for line in lines))
    return program


def told(history: Iterable[dict[str, Any]]) -> dict[str, Told]:
    found: dict[str, Told] = {}
    for notice in history:
        found.setdefault(notice["id"] or notice["event"], []).append(
            (notice["event"], notice["before"], notice["after"])
        )
    return found


def assert_no_mistake(program: Daemon) -> None:
    assert [line for line in program.log if any(mistake in line for mistake in MISTAKES)] == []
    assert not any(TOKEN in line for line in program.log)


def reasons(program: Daemon, name: str) -> str:
    return "\n".join(line for line in program.log if f" id={name} " in line and "reason=" in line)


@pytest.mark.timeout(300)
def test_every_fault_is_told_as_what_it_is_and_no_answer_invents_a_status(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    with ApiStandIn() as elsewhere:
        here = {**WIRE, **BODIES, **CODES, **redirects(elsewhere.base_url)}
        faults: dict[str, Fault] = {**here, **REFUSALS}
        steady = [f"steady-{code}-{number}" for code in REFUSALS for number in range(3)]
        lasting = "2s"
        settings = {"timeout": "2s", "unreachable_after": lasting, "lost_after": lasting, "incident_after": lasting}
        accounts = [account("here", api, **settings), *(account(f"of-{code}", api, **settings) for code in REFUSALS)]
        watches = [
            *(("here", name) for name in here),
            *((f"of-{code}", code) for code in REFUSALS),
            *((f"of-{name.split('-')[1]}", name) for name in steady),
        ]
        netrc = f"machine 127.0.0.1 login me password {'n' * 20}\n"
        for name in (".netrc", "other-netrc"):
            (tmp_path / name).write_text(netrc)
            (tmp_path / name).chmod(0o600)

        def all_say(status: str, names: Iterable[str], **fields: Any) -> None:
            for name in names:
                api.script(name, [plain(name, status, **fields)])

        def wait_for_polls(count: int, names: Iterable[str]) -> None:
            before = len(api.requests)

            def are_enough(seen: list[Seen]) -> bool:
                polls = Counter(each.id for each in seen[before:])
                return all(polls[name] >= count for name in names)

            api.wait_for(predicate=are_enough, timeout=120)

        failing, lost, fine = (
            [name for name, fault in faults.items() if fault.comes_to is comes]
            for comes in (Comes.UNREACHABLE, Comes.LOST, Comes.NOTHING)
        )
        all_say(PROCESSING, [*faults, *steady], urls={"get": elsewhere.url("x"), "stream": elsewhere.url("x")})
        with Daemon(tmp_path, configuration(receiver, accounts, watches)) as program:
            started(program, NETRC=str(tmp_path / "other-netrc"))
            wait_for_polls(2, faults)
            for name, fault in faults.items():
                api.script(name, [fault.make(name)])
            receiver.wait_for(len(failing) + len(lost), timeout=120)
            wait_for_polls(2, fine)
            all_say(PROCESSING, failing)
            receiver.wait_for(2 * len(failing) + len(lost), timeout=120)
            all_say("succeeded", [*failing, *fine], output=[LINK])
            receiver.wait_for(3 * len(failing) + len(lost) + len(fine), timeout=120)
            assert program.stop() == 0
            history = program.json("history")
            status = program.json("status")

    assert told(history) == {name: TOLD[fault.comes_to] for name, fault in faults.items()}
    assert len(receiver.posts) == len(history)
    wrong = {
        name: reasons(program, name) for name, fault in faults.items() if fault.reason not in reasons(program, name)
    }
    assert wrong == {}
    # On a busy machine an answer may be late, which is not what is wrong with these.
    odd = {name: [line for line in reasons(program, name).splitlines() if "time-out: " not in line] for name in fine}
    assert not any(odd.values()), odd
    assert {watch["id"] for watch in status["watches"] if watch["done"]} == {*failing, *fine}
    assert status["incidents"] == []
    trouble = [post.message for post in receiver.posts if post.title.endswith((": unreachable", ": lost"))]
    assert all(re.search(r"\b\d+ (?:tries|times) over \d", message) for message in trouble), trouble
    assert sum("It can be polled again after" in post.message for post in receiver.posts) == len(failing)
    assert_no_mistake(program)
    # The token went to its own base_url, as itself, and nowhere else.
    assert elsewhere.requests == []
    assert {seen.headers["authorization"] for seen in api.requests} == {f"Bearer {TOKEN}"}
    assert {seen.path for seen in api.requests} == {f"/replicate/v1/predictions/{name}" for _, name in watches}
