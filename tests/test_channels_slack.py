"""Slack over the real wire: Apprise's genuine plugin, and what Slack would have got."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from notifier.channels import Target, plugins, send, targets
from notifier.errors import DeliveryError
from notifier.message import write
from notifier.model import Channel, Event, Message, Notice, Secret
from tests.standins.slack import Answer, SlackStandIn

HOOK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
BOT = "slack://xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d"
MESSAGE = Message("✅ Launch teaser: succeeded", "processing → succeeded\nhttps://h/x?a=1&b=2\nnotice 7k3q9x2m4d")


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackStandIn]:
    with SlackStandIn() as stand_in:
        for name, value in stand_in.environment().items():
            monkeypatch.setenv(name, value)
        yield stand_in
    for thread in threading.enumerate():
        if thread.name.startswith("send "):
            thread.join(20)
            assert not thread.is_alive()


def target(url: str) -> Target:
    (only,) = targets(Channel("team", Secret(url)))
    return only


def failure(url: str, message: Message = MESSAGE, *, deadline: float = 20.0) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(target(url), message, deadline=deadline)
    return caught.value


def test_a_webhook_gets_exactly_this_request(slack: SlackStandIn) -> None:
    send(target(HOOK), MESSAGE)
    (request,) = slack.wait_for(1)
    assert (request.method, request.host) == ("POST", "hooks.slack.com")
    assert request.path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
    assert request.headers.pop("Content-Length") == str(len(request.body))
    assert request.headers == {
        "Host": "hooks.slack.com",
        "User-Agent": "notifier",
        "Accept": "application/json",
        "Accept-Encoding": request.headers["Accept-Encoding"],
        "Connection": "keep-alive",
        "Content-Type": "application/json; charset=utf-8",
    }
    timestamp = request.json["attachments"][0].pop("ts")
    assert isinstance(timestamp, float)
    assert request.json == {
        "mrkdwn": False,
        "attachments": [
            {
                "title": "✅ Launch teaser: succeeded",
                "text": "processing → succeeded\nhttps://h/x?a=1&amp;b=2\nnotice 7k3q9x2m4d",
                "color": "#3AA3E3",
                "footer": "notifier",
            }
        ],
    }


def test_a_bot_gets_its_token_and_channel(slack: SlackStandIn) -> None:
    send(target(f"{BOT}/%23ops"), MESSAGE)
    (request,) = slack.wait_for(1)
    assert (request.method, request.host, request.path) == ("POST", "slack.com", "/api/chat.postMessage")
    assert request.headers["Authorization"] == "Bearer xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d"
    assert set(request.json) == {"mrkdwn", "attachments", "channel"}
    assert request.json["channel"] == "#ops"


def test_each_channel_of_a_url_is_a_request_of_its_own(slack: SlackStandIn) -> None:
    for each in targets(Channel("team", Secret(f"{BOT}/#general/@bob/+C024BE91L?footer=no"))):
        send(each, MESSAGE)
    requests = slack.wait_for(3)
    assert {request.json["channel"] for request in requests} == {"#general", "@bob", "C024BE91L"}
    assert all("footer" not in request.json["attachments"][0] for request in requests)


@pytest.mark.parametrize("options", ["", "?format=markdown", "?blocks=yes", "?blocks=yes&format=markdown"])
def test_text_from_the_api_reaches_slack_dead(slack: SlackStandIn, options: str) -> None:
    error = "<!channel> <https://evil.example|click> <@U024BE7LH> @here *b* & [x](https://evil.example)"
    notice = Notice("7k3q9x2m4d", Event.STATUS, 0.0, name="<!here> @channel", status="failed", error=error)
    send(target(HOOK + options), write([notice], now=0.0))
    (request,) = slack.wait_for(1)
    raw = request.body.decode()
    assert "<" not in raw
    assert "@here" not in raw
    assert "@channel" not in raw
    assert '"mrkdwn": true' not in raw
    assert '"type": "mrkdwn"' not in raw
    assert "link_names" not in raw
    assert "https://evil.example|click" in raw  # legible, and nothing more


# answer -> reason, what it says about the message or the address
ANSWERS = {
    "throttled": (Answer(429, b"rate_limited", {"Retry-After": "30"}), "HTTP 429: rate_limited", set()),
    "server error": (Answer(500, b"<html><title>Oops</title>"), "HTTP 500: Oops", set()),
    "hook removed": (Answer(404, b"no_service"), "HTTP 404: no_service", {"gone"}),
    "channel removed": (Answer(404, b"channel_not_found"), "HTTP 404: channel_not_found", {"gone"}),
    "channel archived": (Answer(410, b"channel_is_archived"), "HTTP 410: channel_is_archived", {"gone"}),
    "forbidden": (Answer(403, b"action_prohibited"), "HTTP 403: action_prohibited", set()),
    "bad payload": (Answer(400, b"invalid_payload"), "HTTP 400: invalid_payload", {"content"}),
    "unknown user": (Answer(400, b"user_not_found"), "HTTP 400: user_not_found", {"gone"}),
    "too large": (Answer(413, b""), "HTTP 413", {"content"}),
    "redirect": (Answer(302, b"", {"Location": "https://evil.example/"}), "HTTP 302: a redirect, which is not", set()),
    "portal": (Answer(200, b"<html>Welcome"), "HTTP 200: a web page", {"maybe_arrived"}),
    "nearly ok": (Answer(200, b""), "HTTP 200: an empty answer", {"maybe_arrived"}),
    "gateway": (Answer(504, b""), "HTTP 504", {"maybe_arrived"}),
    "reset": (Answer(how="reset"), "connection closed without an answer", {"maybe_arrived"}),
    "long": (Answer(500, b"x" * 3000), "HTTP 500: xxx", set()),
    "binary": (Answer(500, b"\xff\x00\x1b[31m'\"\\"), "HTTP 500:", set()),
}


@pytest.mark.parametrize(("answer", "reason", "flags"), ANSWERS.values(), ids=ANSWERS.keys())
def test_why_a_webhook_failed(slack: SlackStandIn, answer: Answer, reason: str, flags: set[str]) -> None:
    slack.script(answer)
    error = failure(HOOK)
    assert error.reason.startswith(reason)
    assert error.reason.isprintable()
    assert len(error.reason) <= 160
    assert {flag for flag in ("content", "gone", "maybe_arrived") if getattr(error, flag)} == flags
    assert len(slack.requests) == 1


BOT_ANSWERS = {
    b'{"ok": false, "error": "channel_not_found"}': ("HTTP 200: channel_not_found", {"gone"}),
    b'{"ok": false, "error": "msg_too_long"}': ("HTTP 200: msg_too_long", {"content"}),
    b'{"ok": false, "error": "invalid_auth"}': ("HTTP 200: invalid_auth", set()),
    b'{"ok": false, "error": "ratelimited", "retry_after": 7.5}': ("HTTP 200: ratelimited", set()),
}


@pytest.mark.parametrize(("body", "told"), BOT_ANSWERS.items(), ids=lambda value: ascii(value)[:40])
def test_why_a_bot_failed(slack: SlackStandIn, body: bytes, told: tuple[str, set[str]]) -> None:
    slack.script(Answer(200, body))
    error = failure(f"{BOT}/%23ops")
    assert error.reason == told[0]
    assert {flag for flag in ("content", "gone", "maybe_arrived") if getattr(error, flag)} == told[1]
    assert error.retry_after == (7.5 if b"retry_after" in body else None)


def test_a_list_where_an_object_should_be_is_a_failure_with_a_reason(slack: SlackStandIn) -> None:
    slack.script(Answer(200, b"[]"))
    assert failure(f"{BOT}/%23ops").reason


def test_an_answer_that_does_not_come_in_time_may_have_arrived(slack: SlackStandIn) -> None:
    slack.script(Answer(how="hang"))
    error = failure(f"{HOOK}?rto=0.2")
    assert (error.reason, error.maybe_arrived) == ("no answer in time", True)


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_the_deadline_ends_what_no_timeout_ends(slack: SlackStandIn, how: str) -> None:
    slack.script(Answer(how=how))
    error = failure(HOOK, deadline=0.3)
    assert (error.reason, error.maybe_arrived) == ("no answer within 0.3 s", True)


@pytest.mark.parametrize("how", ["hang", "drip"])
def test_an_abandoned_attempt_ends_and_the_next_one_is_made(slack: SlackStandIn, how: str) -> None:
    slack.script(*[Answer(how=how)] * 5)
    for _ in range(5):
        assert failure(HOOK, deadline=0.3).reason == "no answer within 0.3 s"
    send(target(HOOK), MESSAGE)
    for thread in threading.enumerate():
        if thread.name.startswith("send "):
            thread.join(10)
            assert not thread.is_alive()


def test_attempts_that_cannot_be_ended_do_not_pile_up_and_hold_no_other_address(
    slack: SlackStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine, answered = plugins.post, threading.Event()

    def post(plugin: Any, title: str, *rest: Any) -> bool:
        if "hung" in title:  # as in a look-up of a name that never ends
            answered.wait(20)
        return genuine(plugin, title, *rest)

    monkeypatch.setattr(plugins, "post", post)
    hung = target(HOOK)
    for _ in range(3):
        with pytest.raises(DeliveryError, match="no answer within"):
            send(hung, Message("hung", "body"), deadline=0.1)
    with pytest.raises(DeliveryError, match="3 earlier attempts still hang") as raised:
        send(hung, Message("hung", "body"), deadline=0.1)
    assert raised.value.maybe_arrived
    send(target(f"{HOOK}/%23other"), MESSAGE)
    answered.set()
    send(target(f"{HOOK}/%23other"), MESSAGE)
    for thread in threading.enumerate():
        if thread.name.startswith("send "):
            thread.join(10)
    assert len(slack.requests) == 2  # what was abandoned is not delivered later


def test_a_slow_slack_is_waited_for_longer_than_apprise_would(slack: SlackStandIn) -> None:
    parsed = plugins.parse(HOOK)
    assert parsed
    plugin = plugins.build(parsed)
    assert plugin
    assert plugin.request_timeout == (10.0, 45.0)
    chosen = plugins.parse(f"{HOOK}?cto=3&rto=7")
    assert chosen
    built = plugins.build(chosen)
    assert built
    assert built.request_timeout == (3.0, 7.0)


@pytest.mark.parametrize("parameters", ["retry=3&wait=0", "optional=yes", "redirect=yes", "emojis=yes", "format=html"])
def test_what_is_the_daemons_to_decide_is_not_decided_in_the_url(slack: SlackStandIn, parameters: str) -> None:
    slack.script(then=Answer(302, b"", {"Location": "https://hooks.slack.com/elsewhere"}))
    assert failure(f"{HOOK}?{parameters}", Message("t", ":smile:")).reason.startswith("HTTP 302")
    (request,) = slack.requests
    assert request.json["attachments"][0]["text"] == ":smile:"


def test_a_certificate_nobody_vouches_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with SlackStandIn(trusted=False) as stand_in:
        for name, value in stand_in.environment().items():
            monkeypatch.setenv(name, value)
        error = failure(HOOK)
        assert error.reason.startswith("TLS: certificate verify failed: ")
        assert not error.maybe_arrived
        assert not stand_in.requests


def test_a_proxy_without_a_way_out_is_named(slack: SlackStandIn) -> None:
    slack.refuse_tunnel = True
    error = failure(HOOK)
    assert error.reason.startswith("proxy: 503")
    assert not error.maybe_arrived


def test_a_missing_ca_bundle_is_named(slack: SlackStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem")
    assert failure(HOOK).reason == "TLS: no CA certificates at /nonexistent/ca.pem"


def test_a_title_is_cut_to_what_the_channel_takes(slack: SlackStandIn) -> None:
    send(target(f"{HOOK}?blocks=yes"), Message("t" * 200, "body"))
    (request,) = slack.wait_for(1)
    header = request.json["attachments"][0]["blocks"][0]
    assert len(header["text"]["text"]) <= 150


def test_a_process_started_with_its_environment_reaches_the_stand_in(slack: SlackStandIn) -> None:
    code = (
        "from notifier.channels import send, targets\n"
        "from notifier.model import Channel, Message, Secret\n"
        f"send(targets(Channel('team', Secret({HOOK!r})))[0], Message('title', 'body'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert slack.wait_for(1)[0].text == "title\nbody"
