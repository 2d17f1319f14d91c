"""The whole way, as users take it: `notifier run` as a process, a real API, the genuine Slack and mail plugins."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standins.api import ApiStandIn, plain, prediction, wrapped
from tests.standins.daemon import Daemon
from tests.standins.slack import SlackStandIn
from tests.standins.smtp import SMTPStandIn

SLACK_URL = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
TOKEN = "r8_acceptance_token"
LINK = "https://replicate.delivery/x/out-0.png?sig=abc"


@pytest.fixture
def smtp() -> Iterator[SMTPStandIn]:
    with SMTPStandIn() as smtp:
        yield smtp


def configuration(api: ApiStandIn, smtp: SMTPStandIn, watchlist: str) -> str:
    return f"""
apis:
  here:
    base_url: {api.base_url}
    token: ${{API_TOKEN}}
    rate: 100/s
channels:
  team:
    url: ${{SLACK_URL}}
    rate: 100/s
  mail:
    url: mailto://127.0.0.1:{smtp.port}/oncall@example.com?from=bot@example.com
    events: [failed, error]
    rate: 100/s
defaults:
  interval: 1s
watchlist:
{watchlist}
"""


def daemon(folder: Path, slack: SlackStandIn, config: str) -> Daemon:
    return Daemon(folder, config, {**slack.environment(), "SLACK_URL": SLACK_URL, "API_TOKEN": TOKEN})


def test_two_predictions_are_told_on_slack_and_by_mail(
    tmp_path: Path, api: ApiStandIn, slack: SlackStandIn, smtp: SMTPStandIn
) -> None:
    api.script(
        "good1",
        [plain("good1", "starting"), plain("good1", "processing"), plain("good1", "succeeded", output=[LINK])],
    )
    api.script(
        "bad1",
        [wrapped("bad1", "IN_PROGRESS"), wrapped("bad1", "FAILURE", prediction("bad1", "failed", error="OOM"))],
    )
    watchlist = "  - {id: good1, name: Launch teaser}\n  - bad1\n"
    with daemon(tmp_path, slack, configuration(api, smtp, watchlist)).start() as program:
        posts = slack.wait_for(3)
        mails = smtp.wait_for(1)
        status = program.json("status")
        assert status["running"]
        assert program.stop() == 0
        history = program.json("history")

    texts = [post.text for post in posts]
    assert [("starting" in text, "processing" in text) for text in texts if "Launch teaser" in text] == [
        (True, True),
        (False, True),
    ]
    assert any(LINK in text for text in texts)
    assert len(posts) == 3
    assert [mail.recipients for mail in mails] == [("oncall@example.com",)]
    assert "OOM" in mails[0].text
    assert {watch["id"]: (watch["status"], watch["done"]) for watch in status["watches"]} == {
        "good1": ("succeeded", True),
        "bad1": ("failed", True),
    }
    told = [(notice["id"], notice["before"], notice["after"]) for notice in history]
    assert sorted(told) == [
        ("bad1", "processing", "failed"),
        ("good1", "processing", "succeeded"),
        ("good1", "starting", "processing"),
    ]
    assert all(each["state"] == "sent" for notice in history for each in notice["deliveries"])
    assert {request.headers["authorization"] for request in api.requests} == {f"Bearer {TOKEN}"}
    secrets = (TOKEN, SLACK_URL, "TIiajkdnlazkcOXrIdevi7FQ")
    assert not any(secret in line for secret in secrets for line in program.log)


def test_a_final_prediction_is_never_polled_again_also_after_a_kill(
    tmp_path: Path, api: ApiStandIn, slack: SlackStandIn, smtp: SMTPStandIn
) -> None:
    api.script("one", [plain("one", "processing"), plain("one", "succeeded", output=["https://x.test/a.png"])])
    api.script("two", [plain("two", "processing")])
    with daemon(tmp_path, slack, configuration(api, smtp, "  - one\n  - two\n")).start() as program:
        program.wait_for_log(lambda lines: any("sent channel=team" in line for line in lines))
        api.wait_for(3, "two")
        program.kill()
        polls = len([request for request in api.requests if request.id == "one"])
        api.script("two", [plain("two", "canceled")])
        program.start()
        posts = slack.wait_for(2)
        assert program.stop() == 0
    assert ["one" in posts[0].text, "two" in posts[1].text] == [True, True]
    assert len(slack.requests) == 2
    assert len([request for request in api.requests if request.id == "one"]) == polls


def test_an_edit_is_taken_up_and_a_bad_one_is_told_and_changes_nothing(
    tmp_path: Path, api: ApiStandIn, slack: SlackStandIn, smtp: SMTPStandIn
) -> None:
    api.script("one", [plain("one", "processing")])
    api.script("two", [plain("two", "failed", error="no")])
    good = configuration(api, smtp, "  - one\n")
    with daemon(tmp_path, slack, good).start() as program:
        api.wait_for(1, "one")
        program.path.write_text(good.replace("interval: 1s", "intervall: 1s"))
        program.wait_for_log(lambda lines: any("mistake in the configuration" in line for line in lines))
        slack.wait_for(1)
        assert program.command("status", check=78).stderr.startswith(f"{program.path}:16:3: defaults.intervall: ")
        program.path.write_text(good + "  - two\n")
        program.signal(signal.SIGHUP)
        posts = slack.wait_for(3)
        assert program.stop() == 0
        history = program.json("history")
    assert "config.yaml" in posts[0].text
    assert any("two" in post.text for post in posts[1:])
    told = [(notice["event"], notice["id"]) for notice in history]
    assert told == [("incident", None), ("incident_over", None), ("status", "two")]
