"""The messages that the README shows: made by the program, sent by Apprise, as they came in.

`python -m tests.readme_messages`, in the top folder, writes them into README.md anew; a test says when that is due.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from notifier.channels import send, targets
from notifier.message import join
from notifier.model import Channel, Event, File, FileState, Key, Notice, Secret
from tests.standins.slack import Request, SlackStandIn
from tests.standins.smtp import Mail, SMTPStandIn

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- messages -->\n", "<!-- end -->"
NOW = 1_763_820_000.0  # 2025-11-22 14:00 UTC

LINKS = "https://replicate.delivery/xezq/k3Qf/out-"
LOGS = """\
Loading weights
Running on 1 x A100 (80 GB)
 42%|####2     | 21/50
torch.OutOfMemoryError: CUDA out of memory"""


def a_notice(notice: str, minutes_ago: float, prediction: str, name: str, **facts: object) -> Notice:
    """A change of status of a prediction at CometAPI."""
    values = {"event": Event.STATUS, "before": "processing", **facts}
    key = Key("cometapi", prediction)
    return Notice(notice, time=NOW - 60 * minutes_ago, key=key, name=name, **values)  # type: ignore[arg-type]


def shown() -> Iterator[Sequence[Notice]]:
    """The notices of each message: a success, a failure, and what had waited for a channel that was down."""
    yield [
        a_notice("k7wq2mzc5a", 0, "rrr4z55ocneqzikepnug6xezpe", "Launch teaser", status="succeeded", took=123.4,
                 has_output=True, output=(f"{LINKS}0.png", f"{LINKS}1.png"), expires=NOW + 3480,
                 metrics=(("predict_time", 118.24), ("image_count", 2.0))),
    ]  # fmt: skip
    yield [
        a_notice("p3vd6xk4hu", 0, "ufawqhfynnddngldkgtslldrkq", "Product shots", status="failed", took=41.7,
                 error="CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 <A100> is full & busy.", logs=LOGS),
    ]  # fmt: skip
    again: dict[str, Any] = {"prediction": "gm3qorzdhgbfurvjtvhg6dckhu", "name": "Voice-over"}
    link = "https://replicate.delivery/xezq/p9Zb/voice.wav"
    place = f"/var/lib/notifier/outputs/cometapi/{again['prediction']}/000-voice.wav"
    key = Key("cometapi", again["prediction"])
    kept = File(key, 0, link, state=FileState.SAVED, name="000-voice.wav", place=place, size=4_190_208)
    yield [
        a_notice("b5yt2nwe7c", 95, **again, before="starting", status="processing"),
        a_notice("d4rs7jfq3m", 64, **again, event=Event.STUCK, status="processing", since=1860.0),
        a_notice("x6hc3vlo2e", 18, **again, status="succeeded", ends=("stuck",), took=4630.0, has_output=True,
                 output=(link,), expires=NOW + 2520, files=(kept,)),
    ]  # fmt: skip


def section() -> str:
    """What stands between the markers: an HTML table of the messages as Slack and a mailbox get them."""
    with SlackStandIn() as slack, SMTPStandIn() as smtp, mock.patch.dict(os.environ, slack.environment()):
        hook = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
        mailbox = f"mailto://127.0.0.1:{smtp.port}?from=notifier@example.com&to=you@example.com"
        for notices in shown():
            for url in (hook, mailbox):
                (target,) = targets(Channel("readme", Secret(url)))
                message, told = join(notices, limit=target.body_limit, now=NOW)
                assert told == len(notices)
                send(target, message)
        rows = [_row(*pair) for pair in zip(slack.requests, smtp.mails, strict=True)]
    head = "<tr><th>Slack</th><th>Mail</th></tr>"
    return "\n".join(["<table>", head, *rows, "</table>", ""])


def _row(request: Request, mail: Mail) -> str:
    attachment = request.json["attachments"][0]
    post = [
        f"<b>{_html(html.unescape(attachment['title']))}</b>",
        *map(_html, html.unescape(attachment["text"]).split("\n")),
        f"<sub>{_html(attachment['footer'])}</sub>",
    ]
    headers = [f"<b>{name}:</b> {_html(mail.message[name])}" for name in ("Subject", "From", "To")]
    body = [*map(_html, mail.text.replace("\r\n", "\n").rstrip("\n").split("\n"))]
    return "\n".join(["<tr>", *_cell(post), *_cell([*headers, "", *body]), "</tr>"])


def _cell(lines: Sequence[str]) -> list[str]:
    return ['<td valign="top">', "<br>\n".join(lines), "</td>"]


def _html(line: str) -> str:
    """A line of text that looks the same in HTML, its blanks too."""
    return re.sub(r"^ +|(?<= ) +", lambda blanks: "&nbsp;" * len(blanks[0]), html.escape(line, quote=False))


def with_section(readme: str) -> str:
    """The README with the messages made anew."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{section()}{END}{after}"


if __name__ == "__main__":
    README.write_text(with_section(README.read_text(encoding="utf-8")), encoding="utf-8")
