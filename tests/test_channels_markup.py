"""Hostile text over the real wire: what services with markup of their own get from Apprise's genuine plugins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import pytest

from notifier.channels import inspect, send, targets
from notifier.message import write
from notifier.model import Channel, Message, Secret
from tests.notices import LINKS, NOW, failed
from tests.standins.slack import HOSTS, SlackStandIn
from tests.standins.smtp import SMTPStandIn

HOSTILE = (
    "<!channel> <!here> <@U024BE7LH> <https://evil.example|x> @here x@everyone <script>alert(1)</script> "
    "<img src=x onerror=alert(1)> [bank](https://evil.example) ![i](https://evil.example/i.png) {{ 7 * 7 }} {% raw %}\n"
    "[bank][1]\n[1]: https://evil.example\n```\n# head\r\nBcc: spy@evil.example\r\n\r\n"
    "\x00\x1b[31m\u202e\ud800\u200bz\n"
    "data:text/html;base64,PHNjcmlwdD4= https://u:hunter2@h.example/f?token=5ec2e7\n.\r\nQUIT"
)
NOTICE = failed(name=HOSTILE, error=HOSTILE, logs=HOSTILE, output=LINKS, has_output=True)
LIVE = ("<!", "<@", "<https://", "](", "]:", "][", "```", "@here", "@everyone", "PHNj", "5ec2e7", "hunter2")
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# the channel's URL -> the fields of what is posted that people see, which of "&<>" are escaped in them
SERVICES = {
    "json": ("json://127.0.0.1:{port}/x", ("title", "message"), ""),
    "mattermost": ("mmost://127.0.0.1:{port}/3ccdd113474722377935511fc85d3dd4", ("text",), ""),
    "discord": ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", ("content",), ""),
    "discord as Markdown": ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?format=markdown", ("content",), ""),
    "telegram": ("tgram://123456789:abcdefg_hijklmnop/12315544/", ("text",), "&<>"),
    "telegram as Markdown": ("tgram://123456789:abcdefg_hijklmnop/12315544/?format=markdown", ("text",), "&<>"),
}


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackStandIn]:
    with SlackStandIn(names=(*HOSTS, "discord.com", "api.telegram.org")) as stand_in:
        for name, value in stand_in.environment().items():
            monkeypatch.setenv(name, value)
        yield stand_in


@pytest.mark.parametrize(("url", "fields", "escaped"), SERVICES.values(), ids=SERVICES.keys())
def test_hostile_text_arrives_legible_and_without_effect(
    services: SlackStandIn, url: str, fields: tuple[str, ...], escaped: str
) -> None:
    (target,) = targets(Channel("team", Secret(url.format(port=services.port))))
    send(target, write([NOTICE], limit=target.body_limit, now=NOW))
    (request,) = services.wait_for(1)
    text = "\n".join(request.json[field] for field in fields)
    assert not [live for live in LIVE if live in text]
    assert not CONTROLS.search(text)
    assert "{{ 7 * 7 }} {% raw %}" in text
    assert f"notice {NOTICE.notice}" in text
    for link in LINKS:
        assert (link.replace("&", "&amp;") if escaped else link) in text
    if escaped:
        assert set(re.findall(r"<[^>]*>", text)) == {"<b>", "</b>"}
        assert not re.search(r"&(?!amp;|lt;|gt;|quot;|#)", text)


def test_a_format_in_the_url_is_said_to_have_no_effect() -> None:
    problem, remark = inspect(Secret("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?format=markdown"))
    assert problem is None
    assert remark == "format in it has no effect: the daemon sees to that itself"


@pytest.mark.parametrize("more", ["", "&format=html", "&format=markdown"])
def test_a_mail_of_hostile_text_is_one_part_of_plain_text_for_one_recipient(more: str) -> None:
    with SMTPStandIn() as server:
        url = f"mailto://127.0.0.1:{server.port}?from=bot@example.com&to=oncall@example.com{more}"
        (target,) = targets(Channel("mail", Secret(url)))
        message = write([NOTICE], limit=target.body_limit, now=NOW)
        send(target, message)
        (mail,) = server.wait_for(1)
    assert mail.recipients == ("oncall@example.com",)
    assert mail.message["To"] == "oncall@example.com"
    assert mail.message["Bcc"] is None
    assert (mail.message.get_content_type(), mail.message.get_content_charset()) == ("text/plain", "utf-8")
    assert not mail.message.is_multipart()
    assert mail.message["Subject"] == message.title
    assert mail.text.replace("\r\n", "\n").rstrip("\n") == message.body
    assert not [live for live in LIVE if live in message.title + message.body]
    assert not CONTROLS.search(message.title + mail.text)
    assert re.fullmatch(r"<[\w.-]+@[\w.-]+>", mail.message["Message-ID"].strip())
    assert parsedate_to_datetime(mail.message["Date"]).tzinfo is not None
    head, _, _ = mail.raw.partition(b"\r\n\r\n")
    assert head.isascii()
    assert head.count(b"\nSubject: =?utf-8?") == 1
    assert all(len(line) <= 998 for line in mail.raw.split(b"\r\n"))


@pytest.mark.parametrize("name", ["ä" * 300, "図" * 300, "🚀" * 300, "a" * 300, "a b " * 99])
def test_no_line_of_a_mail_is_longer_than_servers_must_take_and_no_character_is_halved(name: str) -> None:
    with SMTPStandIn() as server:
        (target,) = targets(
            Channel("mail", Secret(f"mailto://127.0.0.1:{server.port}?from=bot@example.com&to=oncall@example.com"))
        )
        title = f"❌ {name}"[:200]
        send(target, Message(title, f"{name * 20}\nnotice 7k3q9x2m4d"))
        (mail,) = server.wait_for(1)
    assert max(len(line) for line in mail.raw.split(b"\r\n")) <= 998
    subject = str(mail.message["Subject"])
    assert len(subject) > 70
    assert title.startswith(subject.removesuffix("…").rstrip())
    assert mail.text.replace("\r\n", "\n").rstrip("\n") == f"{name * 20}\nnotice 7k3q9x2m4d"
