"""Mail over the real wire: Apprise's genuine plugin against a real receiver."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from notifier.channels import Target, send, targets
from notifier.errors import DeliveryError
from notifier.message import write
from notifier.model import Channel, Event, Message, Notice, Secret
from tests.standins.smtp import SMTPStandIn

MESSAGE = Message("✅ Launch teaser: succeeded", "processing → succeeded\nhttps://h/x?a=1&b=2\nnotice 7k3q9x2m4d")


@pytest.fixture(autouse=True)
def _no_ca_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[SMTPStandIn]:
    with SMTPStandIn() as stand_in:
        stand_in.users["bot"] = "hunter2pass"
        yield stand_in
    for thread in threading.enumerate():
        if thread.name.startswith("send "):
            thread.join(20)
            assert not thread.is_alive()


def url(server: SMTPStandIn, more: str = "", scheme: str = "mailto") -> str:
    return f"{scheme}://bot:hunter2pass@localhost:{server.port}?from=bot@example.com&to=oncall@example.com{more}"


def target(address: str) -> Target:
    (only,) = targets(Channel("oncall", Secret(address)))
    return only


def failure(address: str, *, deadline: float = 20.0) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(target(address), MESSAGE, deadline=deadline)
    return caught.value


def test_a_mail_arrives_as_plain_text_with_exactly_these_headers(server: SMTPStandIn) -> None:
    send(target(url(server, "&name=The+Bot&reply=desk@example.com")), MESSAGE)
    (mail,) = server.wait_for(1)
    assert (mail.sender, mail.recipients, mail.user, mail.tls) == (
        "bot@example.com", ("oncall@example.com",), "bot", False,
    )  # fmt: skip
    assert set(mail.message.keys()) == {
        "Content-Type", "MIME-Version", "Content-Transfer-Encoding", "X-Application", "Subject", "From", "To",
        "Reply-To", "Message-ID", "Date", "Auto-Submitted",
    }  # fmt: skip
    assert mail.message.get_content_type() == "text/plain"
    assert not mail.message.is_multipart()
    assert mail.message["Subject"] == "✅ Launch teaser: succeeded"
    assert mail.message["From"] == "The+Bot <bot@example.com>"
    assert mail.message["To"] == "oncall@example.com"
    assert mail.message["Reply-To"] == "desk@example.com"
    assert mail.message["X-Application"] == "notifier"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert mail.text.replace("\r\n", "\n").rstrip("\n") == MESSAGE.body


def test_every_recipient_gets_a_mail_that_names_nobody_else(server: SMTPStandIn) -> None:
    address = url(server, ",The Boss <boss@example.com>&cc=cara@example.com&bcc=bea@example.com")
    for each in targets(Channel("oncall", Secret(address))):
        send(each, MESSAGE)
    mails = server.wait_for(4)
    assert {mail.recipients for mail in mails} == {
        (f"{name}@example.com",) for name in ("oncall", "boss", "cara", "bea")
    }
    for mail in mails:
        assert mail.recipients[0] in mail.message["To"]
        assert mail.message["To"].count("@") == 1
        assert mail.message["Cc"] is None
        assert mail.message["Bcc"] is None
    assert "The Boss <boss@example.com>" in {mail.message["To"] for mail in mails}


def test_one_refused_recipient_does_not_keep_the_mail_from_another(server: SMTPStandIn) -> None:
    server.at_recipient["oncall@example.com"] = "550 5.1.1 no such user"
    refused, other = targets(Channel("oncall", Secret(url(server, "&cc=cara@example.com"))))
    with pytest.raises(DeliveryError, match="550"):
        send(refused, MESSAGE)
    send(other, MESSAGE)
    assert [mail.recipients for mail in server.mails] == [("cara@example.com",)]


def test_text_from_the_api_adds_no_header_and_no_markup(server: SMTPStandIn) -> None:
    hostile = "x\r\nBcc: spy@evil.example\r\n\r\n<script>alert(1)</script>"
    notice = Notice("7k3q9x2m4d", Event.STATUS, 0.0, name=hostile, status="failed", error=hostile + "\r\n.\r\nQUIT")
    send(target(url(server)), write([notice], now=0.0))
    send(target(url(server)), Message(f"t{hostile}", f"b{hostile}\r\n.\r\nRSET"))
    for mail in server.wait_for(2):
        assert mail.recipients == ("oncall@example.com",)
        assert mail.message["Bcc"] is None
        assert mail.message.get_content_type() == "text/plain"
        assert not mail.message.is_multipart()
        assert "spy@evil.example" in mail.message["Subject"]
    assert "QUIT" in server.mails[0].text
    assert "RSET" in server.mails[1].text


@pytest.mark.parametrize("security", ["starttls", "ssl"])
def test_tls_is_used_and_its_certificate_checked(security: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with SMTPStandIn("starttls" if security == "starttls" else "ssl") as server:
        server.users["bot"] = "hunter2pass"
        address = url(server, f"&mode={security}", "mailtos")
        error = failure(address)
        assert error.reason.startswith("TLS: certificate verify failed: ")
        assert not error.maybe_arrived
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        send(target(address), MESSAGE)
        (mail,) = server.wait_for(1)
        assert mail.tls


def test_a_server_without_starttls_gets_no_mail_in_the_clear(server: SMTPStandIn) -> None:
    assert failure(url(server, "&mode=starttls", "mailtos")).reason == "TLS: the server does not offer STARTTLS"
    assert not server.mails


# where it fails, with what -> reason, flags
FAULTS = {
    "mailbox unknown": ("recipient", "550 5.1.1 mailbox unavailable", "SMTP 550 5.1.1 mailbox unavailable", {"gone"}),
    "mailbox disabled": ("data", "550 5.2.1 disabled", "SMTP 550 5.2.1 disabled", {"gone"}),
    "blocked": ("recipient", "550 5.7.1 blocked", "SMTP 550 5.7.1 blocked", set()),
    "mailbox busy": ("recipient", "450 4.2.1 busy", "SMTP 450 4.2.1 busy", set()),
    "greylisted": ("recipient", "451 4.7.1 come back later", "SMTP 451 4.7.1 come back later", set()),
    "shutting down": ("recipient", "421 4.3.0 bye", "SMTP 421 4.3.0 bye", set()),
    "mailbox full": ("recipient", "552 5.2.2 over quota", "SMTP 552 5.2.2 over quota", {"content"}),
    "sender refused": ("sender", "550 5.7.1 denied", "SMTP 550 5.7.1 denied", set()),
    "too big": ("data", "552 5.3.4 too big", "SMTP 552 5.3.4 too big", {"content"}),
    "too big, in other words": ("sender", "554 5.3.4 too big", "SMTP 554 5.3.4 too big", {"content"}),
    "spam": ("data", "554 5.7.1 looks like spam", "SMTP 554 5.7.1 looks like spam", {"content"}),
    "no room": ("data", "451 4.3.1 no room", "SMTP 451 4.3.1 no room", set()),
    "reset after data": ("data", "reset", "connection reset", {"maybe_arrived"}),
    "taken, then reset": ("data", "accept, then reset", "connection reset", {"maybe_arrived"}),
    "silent after data": ("data", "hang", "no answer in time", {"maybe_arrived"}),
    "not welcome": ("banner", "554 5.3.2 no service", "SMTP 554 5.3.2 no service", set()),
    "busy": ("banner", "421 busy", "SMTP 421 busy", set()),
    "reset at once": ("banner", "reset", "connection reset", set()),
    "silent at once": ("banner", "hang", "no answer in time", set()),
}


@pytest.mark.parametrize(("where", "answer", "reason", "flags"), FAULTS.values(), ids=FAULTS.keys())
def test_why_a_mail_failed(server: SMTPStandIn, where: str, answer: str, reason: str, flags: set[str]) -> None:
    if where == "recipient":
        server.at_recipient["oncall@example.com"] = answer
    elif where == "sender":
        server.at_sender = answer
    elif where == "data":
        server.after_data = answer
    else:
        server.banner = answer
    error = failure(url(server, "&cto=1.5" if answer == "hang" else ""))
    assert error.reason == reason
    assert {flag for flag in ("content", "gone", "maybe_arrived") if getattr(error, flag)} == flags


def test_a_wrong_password_is_named_without_the_password(server: SMTPStandIn) -> None:
    server.users["bot"] = "another"
    assert failure(url(server)).reason.startswith("SMTP 535 ")


def test_a_servers_words_do_not_bring_back_the_recipient_or_the_login(server: SMTPStandIn) -> None:
    server.at_recipient["oncall@example.com"] = "550 <oncall@example.com> unknown to bot@example.com hunter2pass"
    assert failure(url(server)).reason == "SMTP 550 <o…l@example.com> unknown to b…t@example.com ***"


def test_a_host_that_does_not_exist_or_listen_is_named() -> None:
    assert failure("mailto://mail.invalid?from=a@x.example&to=b@y.example").reason == "cannot resolve mail.invalid"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert failure(f"mailto://127.0.0.1:{port}?from=a@x.example&to=b@y.example").reason == "connection refused"


@pytest.mark.parametrize("goodbye", ["hang", "reset", "421 no"])
def test_a_mail_that_was_taken_is_sent_however_the_server_says_goodbye(server: SMTPStandIn, goodbye: str) -> None:
    server.at_quit = goodbye
    send(target(url(server)), MESSAGE, deadline=20.0)
    server.wait_for(1)


@pytest.mark.parametrize("answer", ["hang", "drip"])
@pytest.mark.parametrize("where", ["banner", "at_hello", "at_data", "after_data"])
def test_the_deadline_ends_a_mail_that_hangs_or_drips(server: SMTPStandIn, where: str, answer: str) -> None:
    server.script({where: answer})
    error = failure(url(server), deadline=0.3)
    assert (error.reason, error.maybe_arrived) == ("no answer within 0.3 s", True)
    for thread in threading.enumerate():
        if thread.name.startswith("send "):
            thread.join(10)
            assert not thread.is_alive()
    assert server.mails == []
