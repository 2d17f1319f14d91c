"""What holds for every channel: reasons that belong to the right call, and no secret anywhere."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.channels import Target, reasons, send, targets
from notifier.channels.plugins import HEADERS, Record, load
from notifier.channels.urls import secret_parts
from notifier.errors import DeliveryError
from notifier.model import Address, Channel, Message, Secret
from tests.standins.slack import Answer, SlackStandIn
from tests.standins.smtp import SMTPStandIn

HOOK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7/%23general"
SECRETS = ("T1JJ3T3L2", "A1BRTD4JD", "TIiajkdnlazkcOXrIdevi7", "hunter2pass", "the very body", "the very title")
MESSAGE = Message("the very title", "the very body")


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


@pytest.fixture
def mail() -> Iterator[SMTPStandIn]:
    with SMTPStandIn() as stand_in:
        stand_in.users["bot"] = "hunter2pass"
        yield stand_in


def mail_url(mail: SMTPStandIn) -> str:
    return f"mailto://bot:hunter2pass@localhost:{mail.port}?from=bot@example.com&to=oncall@example.com"


def target(name: str, url: str) -> Target:
    (only,) = targets(Channel(name, Secret(url)))
    return only


def attempt(to: Target, deadline: float = 30.0) -> str:
    try:
        send(to, MESSAGE, deadline=deadline)
    except DeliveryError as error:
        return error.reason
    return "sent"


def test_threads_that_send_at_once_keep_their_reasons_apart(slack: SlackStandIn, mail: SMTPStandIn) -> None:
    slack.script(then=Answer(404, b"no_service"))
    mail.at_recipient["oncall@example.com"] = "550 5.1.1 no such user"
    unreachable = target("down", "json://127.0.0.1:1")
    expected = {
        target("team", HOOK): "HTTP 404: no_service",
        target("oncall", mail_url(mail)): "SMTP 550 5.1.1 no such user",
        unreachable: "connection refused",
    }
    for each in expected:
        attempt(each)
    start = threading.Barrier(len(expected) * 3)

    def run(to: Target) -> list[str]:
        start.wait(20)
        return [attempt(to) for _ in range(6)]

    with ThreadPoolExecutor(len(expected) * 3) as pool:
        running = [(to, pool.submit(run, to)) for to in expected for _ in range(3)]
        for to, future in running:
            assert future.result(60) == [expected[to]] * 6


def test_a_hung_channel_does_not_delay_another(slack: SlackStandIn, mail: SMTPStandIn) -> None:
    slack.script(then=Answer(how="hang"))
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(attempt, target("team", HOOK), 60.0)
        slack.wait_for(1)
        assert attempt(target("oncall", mail_url(mail))) == "sent"
        assert not hung.done()
        slack.stopping.set()
        assert hung.result(20) == "connection closed without an answer"


ECHO = b"T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7 of A1BRTD4JD"
FAULTS = {
    "taken": Answer(),
    "refused": Answer(404, b"no_service"),
    "echoed": Answer(403, ECHO),
    "echoed at length": Answer(403, b"x" * 130 + ECHO),
    "echoed as JSON": Answer(400, b'{"error": {"message": "hook TIiajkdnlazkcOXrIdevi7 of T1JJ3T3L2"}}'),
    "reset": Answer(how="reset"),
    "hung": Answer(how="hang"),
}


@pytest.mark.parametrize("answer", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("logger", [None, "apprise", "urllib3"])
def test_no_secret_and_no_message_is_in_a_reason_or_a_log(
    slack: SlackStandIn, mail: SMTPStandIn, answer: Answer, logger: str | None,
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    load()  # sets a level itself, which would be undone with the test's own
    caplog.set_level(logging.DEBUG, logger=logger)
    slack.script(answer)
    mail.at_recipient["oncall@example.com"] = "550 bot hunter2pass oncall@example.com bot@example.com"
    told = [attempt(target("team", HOOK), 0.3 if answer.how == "hang" else 30.0), attempt(target("m", mail_url(mail)))]
    written = "\n".join([*told, caplog.text, *capfd.readouterr()])
    assert told[1].startswith("SMTP 550 ")
    for secret in (*SECRETS, "oncall@", "TIiaj"):
        assert secret not in written


def test_a_password_with_an_at_sign_is_hidden_whole_and_not_masked_like_an_address(mail: SMTPStandIn) -> None:
    mail.users["bot"] = "hunter2@pass"
    mail.at_recipient["oncall@example.com"] = "550 hunter2@pass oncall@example.com"
    told = attempt(target("m", mail_url(mail).replace("hunter2pass", "hunter2%40pass")))
    assert told == "SMTP 550 *** o…l@example.com"


def test_what_may_be_secret_in_a_url_is_found_raw_and_decoded() -> None:
    parts = secret_parts(
        Secret(
            "mailtos://bot%40corp:p%2Fss%20word@mail.example.com:587/x%40y.example"
            "?to=A%20%3Concall@example.com%3E&mode=ssl&+X-Key=k3y-value"
        )
    )
    for secret in (
        "bot%40corp",
        "bot@corp",
        "p%2Fss%20word",
        "p/ss word",
        "x@y.example",
        "oncall@example.com",
        "k3y-value",
    ):
        assert secret in parts
    assert "mail.example.com" not in parts
    assert list(parts) == sorted(parts, key=len, reverse=True)


def test_a_url_that_cannot_be_read_is_a_failure_and_not_an_accident() -> None:
    broken = Target(Address("team", ""), "", Secret("slack://nonsense"))
    assert attempt(broken) == "Apprise cannot read the channel's URL"


def test_an_unsplit_url_is_sent_only_when_all_of_it_was(mail: SMTPStandIn) -> None:
    """Without a single recipient, one acceptance says nothing about the others."""
    mail.at_recipient["b@x.example"] = "550 no"
    both = Target(
        Address("m", ""), "", Secret(f"mailto://localhost:{mail.port}?from=a@x.example&to=a@x.example,b@x.example")
    )
    assert attempt(both) == "SMTP 550 no"


# --- reasons alone: what Apprise logs, in words of requests and smtplib ----------------------------------------------

POOL = "Socket Exception: HTTPSConnectionPool(...): Max retries exceeded with url: /s3cret (Caused by "
PROXY = f"{POOL}ProxyError('Unable to connect to proxy', "

# record -> reason, whether the message may have arrived
RECORDS = {
    f"{POOL}NameResolutionError(\"Failed to resolve 'h.example' ([Errno -2])\"))": ("cannot resolve h.example", False),
    f"{POOL}NewConnectionError('[Errno 111] Connection refused'))": ("connection refused", False),
    f"{POOL}NewConnectionError('[Errno 101] Network is unreachable'))": ("Network is unreachable", False),
    f"{POOL}ConnectTimeoutError('timed out. (connect timeout=5)'))": ("connecting timed out", False),
    f"{POOL}SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)'))": (
        "TLS: wrong version number",
        False,
    ),
    f"{PROXY}NewConnectionError('[Errno 111] Connection refused')))": ("proxy: connection refused", False),
    f"{PROXY}OSError('Tunnel connection failed: 407 Proxy Auth')))": ("proxy: 407 Proxy Auth", False),
    "Socket Exception: HTTPSConnectionPool(...): Read timed out. (read timeout=45.0)": ("no answer in time", True),
    "Socket Exception: ('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))": (
        "connection reset",
        True,
    ),
    "Socket Exception: ('Connection broken: IncompleteRead(3 bytes read)', ...)": (
        "connection closed without an answer",
        True,
    ),
    "Notification Exception: 'list' object has no attribute 'get'": ("'list' object has no attribute 'get'", False),
    "Socket Exception: gremlins at https://h/x?token=1": ("gremlins at https://h/x?…", False),
}


@pytest.mark.parametrize(("message", "told"), RECORDS.items(), ids=[told[0] for told in RECORDS.values()])
def test_a_reason_is_read_from_a_record(message: str, told: tuple[str, bool]) -> None:
    error = reasons.explain([Record("WARNING", "A Connection error occurred."), Record("DEBUG", message)])
    assert (error.reason, error.maybe_arrived) == told


ODD = st.text(max_size=60) | st.sampled_from(
    [
        "{}",
        "{'a': 5}",
        "{'a': (550,)}",
        "{'a': (550, b'x')}",
        "(1, 2)",
        "(550, None)",
        "(550, 'x', 'y', 'z')",
        "[" * 9000,
    ]
)
PREFIXES = (
    "Socket Exception: ",
    "Response Details:\r\n",
    "SMTP recipient a was refused: ",
    "error=404",
    "error=200",
    "",
)


@settings(deadline=None)
@given(
    st.lists(st.builds(Record, st.sampled_from(["DEBUG", "WARNING"]), st.builds(add, st.sampled_from(PREFIXES), ODD)))
)
def test_whatever_apprise_logs_becomes_a_reason(records: list[Record]) -> None:
    error = reasons.explain(records)
    assert error.reason.isprintable()


def test_a_failure_without_a_word_has_a_reason_too() -> None:
    assert reasons.explain([]).reason == "the channel did not take it and gave no reason"
    assert reasons.explain([Record("WARNING", "Odd\nthing.")]).reason == "Odd thing."


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        ('{"message": "slow down", "retry_after": 1.5}', 1.5),
        ('{"ok": false, "description": "Too Many Requests", "parameters": {"retry_after": 30}}', 30.0),
        ('{"error": "x", "retry_after": 1e9}', 3600.0),
        ('{"error": "x", "retry_after": "soon"}', None),
        ('{"error": "x", "retry_after": true}', None),
        ('{"error": "x", "retry_after": NaN}', None),
    ],
)
def test_a_wait_that_the_answer_names_is_kept(body: str, wait: float | None) -> None:
    records = [
        Record("WARNING", "Failed to send: error=429."),
        Record("DEBUG", f"Response Details:\r\n{body.encode()!r}"),
    ]
    error = reasons.explain(records)
    assert error.retry_after == wait
    assert error.reason.startswith("HTTP 429: ")


DATE = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize(
    ("status", "header", "body", "wait"),
    [
        (429, "30", "rate_limited", 30.0),
        (503, " 1.5 ", "", 1.5),
        (429, "86400", "", 3600.0),  # believed up to an hour
        (429, DATE, "", 0.0),
        (429, "30", '{"retry_after": 5}', 5.0),  # the body is about this very bucket
        (429, "soon", "", None),
        (429, "-5", "", None),
        (429, "٣", "", None),
        (404, "30", "no_service", None),
    ],
)
def test_a_wait_that_a_header_names_is_kept(status: int, header: str, body: str, wait: float | None) -> None:
    records = [
        Record(HEADERS, f"Retry-After: {header}"),
        Record("WARNING", f"Failed to send: error={status}."),
        Record("DEBUG", f"Response Details:\r\n{body.encode()!r}"),
    ]
    assert reasons.explain(records).retry_after == wait


@pytest.mark.parametrize(
    ("status", "body", "gone"),
    [
        (404, '{"message": "Unknown Webhook", "code": 10015}', True),
        (400, '{"ok": false, "description": "Bad Request: chat not found"}', True),
        (403, '{"ok": false, "description": "Forbidden: bot was blocked by the user"}', True),
        (410, "", True),
        (404, "no_service", True),
        (404, "Not Found", False),
        (400, '{"ok": false, "description": "Bad Request: message is too long"}', False),
    ],
)
def test_what_says_that_an_address_is_gone(status: int, body: str, gone: bool) -> None:
    records = [Record("WARNING", f"error={status}."), Record("DEBUG", f"Response Details:\r\n{body.encode()!r}")]
    error = reasons.explain(records)
    assert (error.gone, error.content) == (gone, status == 400 and not gone)
