"""What the daemon's log says of what comes again and again: it is said when it changes, and not each time."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from notifier.errors import StoreWriteError
from notifier.model import Incident, IncidentKind
from notifier.service.heartbeat import Heartbeat
from notifier.store import Store
from tests.standins.api import Answer, ApiStandIn, plain, prediction, problem, wrapped
from tests.standins.asker import until
from tests.standins.running import running as daemon
from tests.test_service_accounts import with_limit
from tests.test_service_keeper import MISSING, START, running, watch
from tests.test_service_reload import config


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "notifier")


def loud(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    """What was said that begins so, above the level debug; what was said before is forgotten."""
    said = [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if record.levelno > logging.DEBUG and record.getMessage().startswith(what)
    ]
    caplog.clear()
    return said


def broken(request: str, code: int = 500) -> Answer:
    return problem(code, "Broken", f"see request {request} of 12:30:07")


def odd(outer: str, inner: str) -> Answer:
    return wrapped("a", outer, prediction("a", inner))


def test_a_failure_that_differs_only_in_its_numbers_is_said_once_and_so_is_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        for request in ("req-1a", "req-2b", "77"):
            bench.answer("a", broken(request))
        (said,) = loud(caplog, "poll failed")
        assert said.startswith('INFO poll failed api=here id=a reason="HTTP 500 Broken: see request req-1a')
        bench.answer("a", broken("req-1a", code=503))
        assert len(loud(caplog, "poll failed")) == 1
        for _ in range(2):
            bench.answer("a", plain("a", "processing"))
        (said,) = loud(caplog, "polled")
        assert "first seen processing" in said
        bench.answer("a", broken("req-1a"))
        loud(caplog, "")
        for _ in range(2):
            bench.answer("a", plain("a", "processing"))
        assert loud(caplog, "polled") == ['INFO polled api=here id=a status=processing why="nothing changed"']


def test_an_odd_answer_is_said_when_it_becomes_odd_or_odd_in_another_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        for _ in range(3):
            bench.answer("a", odd("IN_PROGRESS", "failed"))
        assert [line.split()[0] for line in loud(caplog, "odd answer")] == ["WARNING"]
        bench.answer("a", odd("IN_PROGRESS", "canceled"))
        assert len(loud(caplog, "odd answer")) == 1
        assert bench.keeper._lines._odd == {}  # it is over, and polled no more


def test_a_status_that_is_not_believed_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        bench.answer("a", plain("a", "succeeded"))
        loud(caplog, "")
        for _ in range(3):
            bench.answer("a", plain("a", "processing"))
        (said,) = loud(caplog, "polled")
        assert said.startswith("INFO polled api=here id=a status=processing why=")
        assert "processing after succeeded is not believed" in said
        bench.answer("a", plain("a", "starting"))
        assert len(loud(caplog, "polled")) == 1
        bench.keeper.post(lambda: bench.apply(bench.configuration([])))
        bench.settle()
        assert bench.keeper._lines._odd == {}


def full(*_: object) -> None:
    raise StoreWriteError("the disk is full")


def test_a_store_that_cannot_be_read_is_said_once_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, [watch("a")]) as bench:

        def lose() -> None:
            for _ in range(3):
                bench.answer("a", MISSING)
                bench.now += 61

        for _ in range(2):
            lose()
            loud(caplog, "")
            with monkeypatch.context() as patch:
                patch.setattr(bench.store, "addresses_told", full)
                for _ in range(3):
                    bench.answer("a", plain("a", "processing"))
            assert loud(caplog, "store out of reach") == [
                'WARNING store out of reach: asked again api=here id=a reason="the disk is full"'
            ]
            bench.answer("a", plain("a", "processing"))


def test_a_store_that_cannot_be_written_is_an_incident_in_the_log_as_it_begins_and_each_new_reason_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reasons = ["the disk is full"]

    def refuse(*_: object) -> None:
        raise StoreWriteError(reasons[-1])

    with running(tmp_path, [watch("a")]) as bench:
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "record", refuse)
            bench.answer("a", plain("a", "failed", error="no"))
            bench.settle()
            said = [line for line in loud(caplog, "") if "store" in line and "announced" not in line]
            assert said == [
                'ERROR store cannot be written reason="the disk is full"',
                'ERROR incident kind=store subject=n.db detail="the disk is full"',
            ]
            reasons.append("it can only be read")
            bench.settle()
            assert loud(caplog, "store") == ['ERROR store cannot be written reason="it can only be read"']
        bench.settle()
        assert loud(caplog, "incident") == ["INFO incident over kind=store subject=n.db"]


def test_an_incident_that_is_reported_again_is_said_again_only_if_it_is_another_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        for detail in ("HTTP 500", "HTTP 500", "no answer"):
            incident = Incident(IncidentKind.CHANNEL, "team", START, detail)
            bench.keeper.post(partial(bench.keeper.begin_incident, incident))
        bench.settle()
    assert loud(caplog, "incident") == [
        'ERROR incident kind=channel subject=team detail="HTTP 500"',
        'ERROR incident kind=channel subject=team detail="no answer"',
    ]


def test_an_account_that_is_slowed_in_each_window_of_its_limit_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, [watch("a")]) as bench:
        for remaining in ("2", "99999", "1", "99999", "0"):
            bench.answer("a", with_limit(plain("a", "processing"), remaining, "10"))
    assert loud(caplog, "account slowed") == ["INFO account slowed api=here remaining=2 seconds=10"]


# --- each beat -------------------------------------------------------------------------------------------------------


def test_what_the_store_says_at_each_beat_is_logged_when_it_changes(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("notifier.service.heartbeat.BEAT", 0.02)
    reasons: list[str] = []
    asked: list[None] = []

    def check_identity(_store: Store) -> None:
        asked.append(None)
        if reasons:
            raise StoreWriteError(reasons[-1])

    def beats(count: int) -> None:
        seen = len(asked)
        until(lambda: len(asked) >= seen + count)

    monkeypatch.setattr(Store, "check_identity", check_identity)
    with daemon(tmp_path, config(api, "")):
        for reason in ("busy", "full"):
            reasons.append(reason)
            beats(3)
        reasons.clear()
        beats(2)
        reasons.append("full")
        beats(3)
    assert loud(caplog, "store out of reach") == [
        f"WARNING store out of reach reason={reason}" for reason in ("busy", "full", "full")
    ]


def test_a_task_that_raises_at_each_beat_is_one_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("notifier.service.heartbeat.BEAT", 0.001)
    called: list[None] = []

    def broken_task() -> None:
        called.append(None)
        raise ZeroDivisionError

    heartbeat = Heartbeat([(1, broken_task)])
    heartbeat.start()
    until(lambda: len(called) > 5)
    assert heartbeat.stop(20)
    assert caplog.text.count("Traceback") == 1
    assert loud(caplog, "mistake") == [
        'ERROR mistake in the program effect="a regular task failed" error=ZeroDivisionError'
    ]


def test_what_is_worth_a_warning_in_an_edit_is_logged_when_it_is_new(
    tmp_path: Path, api: ApiStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    with daemon(tmp_path, config(api, "")) as program:
        program.reload(config(api, "b") + "include: none.yaml\n")
        until(lambda: "reloaded watches=1" in caplog.text)
        (said,) = loud(caplog, "configuration")
        assert "include: there is no such file" in said
        program.reload(config(api, "c") + "include: none.yaml\n")
        until(lambda: "reloaded watches=1" in caplog.text)
        assert loud(caplog, "configuration") == []
