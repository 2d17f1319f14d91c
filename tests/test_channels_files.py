"""Files over the real wire: what genuine plugins make of a message that carries some."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from email.message import EmailMessage
from pathlib import Path
from random import Random

import pytest

from notifier.channels import Target, send, targets
from notifier.channels.plugins import load
from notifier.channels.wire import MOST_WITH_FILES
from notifier.errors import DeliveryError
from notifier.model import Attachment, Channel, Message, Secret
from notifier.service import load_config
from tests.standins.slack import Answer, Request, SlackStandIn
from tests.standins.smtp import Mail, SMTPStandIn

HOOK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
BOT = "slack://xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d/%23ops"
DISCORD = "discord://417429632418316298/JHZ7lQml277CDHmQKMHI8qBe7bk2ZwO5UKjCiOAF7711o33MyqU344Qpgv7YTpadV_js/"
TELEGRAM = "tgram://123456789:abcdefg_hijklmnop/12315544/"
SECRETS = ("4ddbc191", "JHZ7lQml", "abcdefg_", "hunter2pass", "TIiajkdn")

# Any bytes, line ends and a lone dot among them: what a mail server would read as its end.
PICTURE = Attachment("000-cat.webp", "image/webp", b"RIFF\r\n.\r\n" + Random(1).randbytes(40_000) + b"\n\r")
CLIP = Attachment("001-größe & 猫.mp4", "video/mp4; codecs=avc1", Random(2).randbytes(3000))
MESSAGE = Message("✅ Launch teaser: succeeded", "processing → succeeded\nnotice 7k3q9x2m4d", (PICTURE, CLIP))

Found = list[tuple[str | None, str, str]]
"""Name, type and digest of files, as they arrived."""


def expected(*attachments: Attachment) -> Found:
    return [
        (each.name, (each.content_type or "").partition(";")[0], hashlib.sha256(each.content).hexdigest())
        for each in attachments
    ]


def found(parts: list[EmailMessage]) -> Found:
    contents = [(part, part.get_payload(decode=True)) for part in parts]
    return [
        (part.get_filename(), part.get_content_type(), hashlib.sha256(content).hexdigest())
        for part, content in contents
        if isinstance(content, bytes)
    ]


def files_of(mail: Mail) -> Found:
    return found([part for part in mail.message.iter_attachments() if isinstance(part, EmailMessage)])


def text_of(mail: Mail) -> str:
    body = mail.message.get_body(("plain",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n").rstrip("\n")


def form_of(request: Request) -> list[EmailMessage]:
    """The fields of a multipart request."""
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
    assert isinstance(message, EmailMessage)
    return [part for part in message.iter_parts() if isinstance(part, EmailMessage)]


def uploads(request: Request) -> Found:
    return found([part for part in form_of(request) if part.get_filename()])


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[SMTPStandIn]:
    with SMTPStandIn() as stand_in:
        stand_in.users["bot"] = "hunter2pass"
        yield stand_in
    join_senders()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackStandIn]:
    with SlackStandIn() as stand_in:
        for name, value in stand_in.environment().items():
            monkeypatch.setenv(name, value)
        yield stand_in
    join_senders()


def join_senders() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("send "):
            thread.join(20)
            assert not thread.is_alive()


def mail_url(mail: SMTPStandIn, to: str = "oncall@example.com", more: str = "") -> str:
    return f"mailto://bot:hunter2pass@localhost:{mail.port}?from=bot@example.com&to={to}{more}"


def target(url: str, name: str = "team") -> Target:
    (only,) = targets(Channel(name, Secret(url)))
    return only


def failure(url: str, message: Message = MESSAGE, *, deadline: float = 20.0) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        send(target(url), message, deadline=deadline)
    assert not [secret for secret in SECRETS if secret in caught.value.reason]
    return caught.value


# --- mail ----------------------------------------------------------------------------------------------------------


def test_a_mail_has_its_text_and_the_files_byte_for_byte_for_each_recipient(mail: SMTPStandIn) -> None:
    for each in targets(Channel("oncall", Secret(mail_url(mail, "anna@example.com,ben@example.com")))):
        send(each, MESSAGE)
    mails = mail.wait_for(2)
    assert {each.recipients for each in mails} == {("anna@example.com",), ("ben@example.com",)}
    for got in mails:
        assert files_of(got) == expected(PICTURE, CLIP)
        assert text_of(got) == MESSAGE.body
        assert got.message["Subject"] == MESSAGE.title
        assert got.message["Auto-Submitted"] == "auto-generated"
        assert [part.get_content_disposition() for part in got.message.iter_attachments()] == ["attachment"] * 2


# name -> as it arrives
NAMES = {
    "000-cat.png": "000-cat.png",
    f"000-{'a b ' * 23}.png": f"000-{'a b ' * 23}.png",
    f"000-{'猫' * 30}.png": f"000-{'猫' * 30}.png",
    '000-"x".png': "000-_x_.png",
    "../../etc/passwd": ".._.._etc_passwd",
    "x\r\nBcc: spy@evil.example\r\n\r\nhello": "x__Bcc: spy@evil.example____hello",
}


@pytest.mark.parametrize(("name", "arrived"), NAMES.items(), ids=map(ascii, NAMES))
def test_a_name_of_any_kind_is_one_name_in_one_header(mail: SMTPStandIn, name: str, arrived: str) -> None:
    send(target(mail_url(mail)), Message("t", "b", (Attachment(name, "image/png", b"x"),)))
    (only,) = mail.wait_for(1)
    assert [each for each, _, _ in files_of(only)] == [arrived]
    # As a whole it must not be encoded: Python reads that, others do not.
    assert b'\r\nContent-Disposition: attachment; filename="' in only.raw
    assert only.recipients == ("oncall@example.com",)
    assert only.message["Bcc"] is None


@pytest.mark.parametrize(
    ("content_type", "arrived"),
    [
        ("image/webp", "image/webp"),
        ("Image/PNG ; charset=binary", "image/png"),
        ("model/gltf-binary", "model/gltf-binary"),
        ("text/html", "text/html"),
        ("x-made-up/by-nobody", "x-made-up/by-nobody"),
        (None, "application/octet-stream"),
        ("", "application/octet-stream"),
        ("image", "application/octet-stream"),
        ("image/png\r\nX-Evil: 1", "application/octet-stream"),
        ("multipart/mixed", "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),
    ],
)
def test_a_type_is_kept_although_this_machine_does_not_know_it(
    mail: SMTPStandIn, content_type: str | None, arrived: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mimetypes.types_map", {".txt": "text/plain"})
    send(target(mail_url(mail)), Message("t", "b", (Attachment("000-a", content_type, b"\0\xff\r\n"),)))
    (only,) = mail.wait_for(1)
    assert files_of(only) == [("000-a", arrived, hashlib.sha256(b"\0\xff\r\n").hexdigest())]
    assert only.message["X-Evil"] is None


@pytest.mark.parametrize("how", ["announced", "at data", "after data"])
def test_a_mail_that_is_too_large_is_refused_for_its_content(mail: SMTPStandIn, how: str) -> None:
    if how == "announced":
        mail.size_limit = 20_000
    elif how == "at data":
        mail.at_data = "552 5.3.4 message size exceeds fixed limit"
    else:
        mail.after_data = "552 5.3.4 message size exceeds fixed limit"
    error = failure(mail_url(mail))
    assert error.reason.startswith("SMTP 552 ")
    assert error.content
    assert not error.gone
    assert mail.mails == []


def test_no_secret_comes_back_with_a_refused_file(mail: SMTPStandIn) -> None:
    mail.after_data = "552 hunter2pass of bot@example.com sent too much"
    assert failure(mail_url(mail)).reason == "SMTP 552 *** of b…t@example.com sent too much"


# --- services that take files by HTTP ------------------------------------------------------------------------------


def test_discord_gets_the_words_and_then_the_files_together(web: SlackStandIn) -> None:
    send(target(DISCORD), MESSAGE)
    words, files = web.wait_for(2)
    assert MESSAGE.body.partition("\n")[0] in words.json["content"]
    assert uploads(files) == expected(PICTURE, CLIP)
    assert len(web.requests) == 2


def test_telegram_gets_each_file_and_the_words_with_the_first(web: SlackStandIn) -> None:
    send(target(TELEGRAM), MESSAGE)
    requests = web.wait_for(2)
    assert [request.path.rpartition("/")[2] for request in requests] == ["sendPhoto", "sendVideo"]
    assert [uploads(request)[0][::2] for request in requests] == [each[::2] for each in expected(PICTURE, CLIP)]
    captions = [part.get_payload(decode=True) for part in form_of(requests[0])]
    assert any(b"notice 7k3q9x2m4d" in caption for caption in captions if isinstance(caption, bytes))


def test_a_plugin_that_opens_paths_gets_the_bytes_too(
    web: SlackStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no file of this machine that happens to have the name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / PICTURE.name).write_text("mine")
    send(target(f"form://127.0.0.1:{web.port}/?attach-as=file*"), MESSAGE)
    (request,) = web.wait_for(1)
    assert uploads(request) == expected(PICTURE, CLIP)


def test_slacks_bot_gets_the_words_and_each_file_by_its_three_steps(web: SlackStandIn) -> None:
    ticket = {"ok": True, "file_id": "F1", "upload_url": "https://slack.com/upload/1"}
    web.script(then=Answer(200, json.dumps(ticket).encode()), to="files.getUploadURLExternal")
    web.script(then=Answer(200, b"OK - 40011"), to="slack.com/upload")
    web.script(then=Answer(200, b'{"ok": true, "files": [{"id": "F1"}]}'), to="files.completeUploadExternal")
    send(target(BOT), MESSAGE)
    assert [request.path.partition("?")[0] for request in web.wait_for(7)] == [
        "/api/chat.postMessage",
        *["/api/files.getUploadURLExternal", "/upload/1", "/api/files.completeUploadExternal"] * 2,
    ]
    assert [digest for request in web.seen("/upload/") for _, _, digest in uploads(request)] == [
        digest for _, _, digest in expected(PICTURE, CLIP)
    ]


def test_a_slack_webhook_gets_the_words(web: SlackStandIn) -> None:
    send(target(HOOK), MESSAGE)
    (request,) = web.wait_for(1)
    assert MESSAGE.body in request.text


def test_check_warns_of_files_for_a_channel_that_takes_none(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "apis: {cometapi: {token: t}}\nwatchlist: []\nchannels:\n"
        f"  hook: {{url: '{HOOK}', attach: true}}\n"
        f"  bot: {{url: '{BOT}', attach: true}}\n  text: {{url: '{HOOK}'}}\n"
    )
    path.chmod(0o600)
    (warning,) = load_config(path, {}).warnings
    line = f"  hook: {{url: '{HOOK}', attach: "
    words = "channels.hook.attach: has no effect: a Slack webhook takes no files; a bot token does"
    assert warning == f"{path}:4:{len(line) + 1}: {words}"


SLACK_UPLOAD = "files.getUploadURLExternal"
# the channel, where it refuses (of Discord: what follows the words), and how
REFUSALS = {
    "slack, too large": (BOT, SLACK_UPLOAD, Answer(413, b"")),
    "slack, no permission": (BOT, SLACK_UPLOAD, Answer(200, b'{"ok": false, "error": "missing_scope"}')),
    "slack, down": (BOT, SLACK_UPLOAD, Answer(503, b"")),
    "slack, reset": (BOT, SLACK_UPLOAD, Answer(how="reset")),
    "slack, hang": (BOT, SLACK_UPLOAD, Answer(how="hang")),
    "discord, too large": (DISCORD, "", Answer(413, b'{"message": "Request entity too large"}')),
    "discord, down": (DISCORD, "", Answer(503, b"")),
    "discord, reset": (DISCORD, "", Answer(how="reset")),
    "discord, hang": (DISCORD, "", Answer(how="hang")),
}


@pytest.mark.parametrize(("url", "step", "answer"), REFUSALS.values(), ids=REFUSALS.keys())
def test_when_the_words_are_there_refused_files_make_no_second_message(
    web: SlackStandIn, url: str, step: str, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    load()  # which takes its time
    web.script(*([] if step else [Answer()]), then=answer, to=step)
    send(target(url), MESSAGE, deadline=3.0 if answer.how == "hang" else 20.0)
    (record,) = [record for record in caplog.records if record.name.startswith("notifier")]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("sent without files channel=team")
    assert not [secret for secret in SECRETS if secret in record.getMessage()]


def test_a_file_that_is_refused_before_the_words_are_there_fails_the_message(web: SlackStandIn) -> None:
    web.script(then=Answer(413, b'{"ok": false, "description": "Request Entity Too Large"}'), to="sendPhoto")
    error = failure(TELEGRAM)
    assert (error.reason, error.content) == ("HTTP 413: Request Entity Too Large", True)


def test_of_several_addresses_in_one_url_one_success_is_none_for_the_others(web: SlackStandIn) -> None:
    web.script(Answer(), Answer(503, b""), then=Answer(503, b""))
    long = Message("t", "long " * 400, (PICTURE,))  # too long for a caption: the words go first
    assert failure(f"{TELEGRAM}12315545/", long).reason.startswith("HTTP 503")


# --- memory --------------------------------------------------------------------------------------------------------


def held_files() -> list[str]:
    """The files in memory that this process has open: attachments are such while they are sent."""
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile, by whoever had it
            links.append(str(descriptor.readlink()))
    return [link for link in links if link.startswith("/memfd:")]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_large_files_for_many_recipients_leave_nothing_behind(web: SlackStandIn) -> None:
    everybody = [target(f"json://127.0.0.1:{web.port}/{number}", f"c{number % 3}") for number in range(20)]

    def deliver(to: Target) -> None:
        send(to, Message("t", "b", (Attachment("000-a.png", "image/png", os.urandom(5 * 2**20)),)), deadline=60.0)

    sizes = []
    with ThreadPoolExecutor(10) as pool:
        for _ in range(4):
            list(pool.map(deliver, everybody))
            web.requests.clear()
            sizes.append(resident())
    join_senders()
    assert held_files() == []
    # A round's files are 100 MiB: kept, they would make three times that.
    assert sizes[-1] - sizes[0] < 150 * 2**20


def test_so_many_messages_of_one_channel_are_on_their_way_with_files_and_the_next_goes_without(
    mail: SMTPStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that hang hold up neither another channel's files nor for long the words of their own."""
    everybody = ",".join(f"r{number}@example.com" for number in range(MOST_WITH_FILES + 1))
    *hanging, last = targets(Channel("many", Secret(mail_url(mail, everybody))))
    mail.script(*[{"at_data": "hang"}] * MOST_WITH_FILES)
    with ThreadPoolExecutor(MOST_WITH_FILES) as pool:
        held = [pool.submit(send, each, MESSAGE, deadline=20.0) for each in hanging]
        while mail.connections < MOST_WITH_FILES:
            assert not any(each.done() for each in held)
        send(target(mail_url(mail), "another"), MESSAGE)
        send(last, MESSAGE, deadline=0.5)
        first, second = mail.wait_for(2)
        assert files_of(first) == expected(PICTURE, CLIP)
        assert not second.message.is_multipart()
        assert second.text.rstrip() == MESSAGE.body.replace("\n", "\r\n")
        assert "4 messages with files are still on their way" in caplog.text
        for each in held:
            assert isinstance(each.exception(30), DeliveryError)
    mail.script()
    send(last, MESSAGE)
    assert files_of(mail.wait_for(3)[-1]) == expected(PICTURE, CLIP)
