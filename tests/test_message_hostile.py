"""What text from elsewhere cannot make a message do, whatever it is and wherever it stands."""

from __future__ import annotations

import re
import string
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.message import digest, join, plain, text, write
from notifier.model import Event, File, FileState, Notice
from tests.notices import KEY, LINKS, NOW, RUNNING, a_file, a_lost_file, a_notice, failed, succeeded

LIVE = {
    "<!channel> look": "<!channel",
    "<!here|here>": "<!here",
    "<!subteam^S012>": "<!subteam",
    "<@U024BE7LH>": "<@",
    "<#C024BE7LH|general>": "<#",
    "<https://evil.example|your bank>": "<https",
    "<mailto:a@evil.example|write>": "<mailto",
    "@here": "@here",
    "(@everyone)": "@everyone",
    "hi @channel!": "@channel",
    "[your bank](https://evil.example)": "](",
    "![pixel](https://evil.example/p.png)": "](",
    "[your bank][1]\n[1]: https://evil.example": "]:",
    "[your bank] [1] and [your bank][1]": "][",
    "```\nall that follows": "```",
    "~~~ all that follows": "~~",
    "||hidden": "||",
    "x@everyone": "@everyone",
    "_@here_": "@here",
    "me@all": "@all",
    "bell\x07 null\x00 del\x7f c1\x9b": "\x07",
    "\x1b[31mred\x1b[0m": "[31m",
    "\x1b]0;title\x07text": "0;title",
    "a\u202eb\u2066c": "\u202e",
    "lone \ud800 surrogate": "\ud800",
    "hidden \U000e0041\U000e0042 tags": "\U000e0041",
    "\ufeffmark": "\ufeff",
}


@pytest.mark.parametrize(("hostile", "dead"), LIVE.items(), ids=lambda text: ascii(text)[:30])
@pytest.mark.parametrize("field", ["error", "logs", "name", "text", "detail", "status"])
def test_text_from_elsewhere_has_no_effect_wherever_it_stands(field: str, hostile: str, dead: str) -> None:
    notice = a_notice(Event.ERROR, **{**RUNNING, "has_output": True, "error": "x", "logs": "x", field: hostile})
    for message in (write([notice], now=NOW), write([notice, notice], now=NOW), digest([notice] * 3, now=NOW)[0]):
        assert dead not in message.title
        assert dead not in message.body
        assert len(message.body) > 100
        (message.title + message.body).encode()
    short = plain(notice)
    (short.title + short.body).encode("ascii")
    assert dead not in short.title + short.body


@pytest.mark.parametrize(("hostile", "dead"), LIVE.items(), ids=lambda text: ascii(text)[:30])
def test_a_file_has_no_effect_whatever_it_is_called(hostile: str, dead: str) -> None:
    files = (a_file(place=f"/srv/{hostile}"), a_lost_file(1, hostile), a_lost_file(2, name=hostile, source=hostile))
    for event in (Event.STATUS, Event.SAVE_FAILED):
        notice = a_notice(event, has_output=True, files=files)
        for message in (write([notice], now=NOW), digest([notice] * 3, now=NOW)[0], plain(notice)):
            assert dead not in message.title + message.body
            (message.title + message.body).encode()


def test_what_a_hostile_text_says_can_still_be_read() -> None:
    body = write([failed(error="mail <b>me</b> at a@b.example, see <class 'x'> & [1](2)")], now=NOW).body
    assert body.replace("\u2060", "").count("mail <b>me</b> at a@b.example, see <class 'x'> & [1](2)") == 1
    assert "a@b.example" in body


def test_line_breaks_cannot_forge_a_title_or_a_line_of_ours() -> None:
    message = write([failed(name="x\r\nBcc: spy@evil.example", error="boom\nnotice aaaaaaaaaa\n\rnotice b")], now=NOW)
    assert "\n" not in message.title
    assert "\r" not in message.title + message.body
    assert "\nnotice aaaaaaaaaa" not in message.body
    assert message.body.count("\nnotice ") == 1


def test_queries_and_credentials_are_cut_out_of_error_and_log_text_but_output_links_are_whole() -> None:
    leaky = "GET https://u:hunter2@h.example/f?X-Amz-Signature=5ec2e7#frag failed; POST /v1?token=5ec2e7 HTTP/1.1"
    body = write([failed(error=leaky, logs=leaky, output=LINKS)], now=NOW).body
    assert "5ec2e7" not in body
    assert "hunter2" not in body
    assert "GET https://h.example/f?… failed; POST /v1?… HTTP/1.1" in body
    assert LINKS[0] in body


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64,iVBORw0KGgo=",
        "data:text/plain;charset=utf-8,iVBORw0KGgo%20x",
        "DATA:;base64,iVBORw0KGgo",
        "data:,iVBORw0KGgo",
        "data:image/svg+xml,<svg/iVBORw0KGgo>",
    ],
)
@pytest.mark.parametrize("field", ["error", "logs", "text", "detail"])
def test_data_uris_are_never_quoted(field: str, uri: str) -> None:
    facts = {**RUNNING, "error": "x", "has_output": True, field: f"before {uri} after"}
    body = write([a_notice(Event.ERROR, **facts, ends=("lost",))], now=NOW).body
    assert "iVBOR" not in body
    assert "iVBOR" not in write([a_notice(Event.UNREACHABLE, **facts)], now=NOW).body


def test_a_data_uri_of_a_file_is_never_quoted() -> None:
    uri = "data:image/png;base64,iVBORw0KGgo="
    lost = a_lost_file(0, f"{uri} is cut off", source=uri, url=uri)
    waiting = a_file(1, state=FileState.WAITING, source=uri, url=uri, name=None, place=None)
    for event in (Event.STATUS, Event.SAVE_FAILED):
        notice = a_notice(event, has_output=True, output=(uri,), files=(lost, waiting, a_file(2, place=uri)))
        body = write([notice], now=NOW).body
        assert "Not kept:" in body
        assert "iVBOR" not in body + write([notice], body="{{ files }} {{ output }}", now=NOW).body


def test_only_web_links_are_given_and_none_can_break_out() -> None:
    odd = ("javascript:alert(1)", "data:text/html,x", "https://h/a b<!channel>\n@x?q=1", "ftp://h/x")
    body = write([succeeded(output=odd)], now=NOW).body
    assert "https://h/a%20b%3C!channel%3E%0A@x?q=1" in body
    assert "javascript" not in body
    assert "ftp" not in body


ENDLESS = (
    "a",
    "a.",
    "a://",
    "?a=",
    "data:a/b;a=a,",
    "<a:",
    "@",
    "\x1b[",
    "\x1b]",
    "`",
    "[](",
    "a\n",
    "://x@",
    " ",
    "<!here>",
)


@pytest.mark.parametrize("piece", ENDLESS, ids=ascii)
def test_a_megabyte_of_anything_is_cut_and_takes_no_time(piece: str) -> None:
    long = piece * (2**20 // len(piece))
    notice = Notice(
        "7k3q9x2m4d", Event.STATUS, NOW, KEY, name=long, before=long, status=long, error=long, logs=long, text=long,
        detail=long, output=(f"https://h/{long}", LINKS[0]), metrics=((long, 1.0),), ends=(long,),
    )  # fmt: skip
    began = time.process_time()
    message = write([notice], now=NOW)
    assert time.process_time() - began < 5
    assert len(message.title) <= 200
    assert len(message.body) <= 3000
    assert LINKS[0] in message.body
    assert "… and 1 more" in message.body
    assert message.body.endswith("\nnotice 7k3q9x2m4d")


# --- whatever the facts are ------------------------------------------------------------------------------------------

UNFIT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c\ud800-\udfff\u2028\u2029]")
pieces = [
    "<!channel>",
    "@here",
    "x@everyone",
    "[a](",
    "]:",
    "][",
    "```",
    "~~~",
    "||",
    "\x1b[1m",
    "\u202e",
    "\r\n",
    "\0",
]
pieces += [
    "\ud800",
    "<https://evil|x>",
    "https://h/a?b=c",
    "data:,x",
    "notice aaaaaaaaaa",
    "{{ 7 }}",
    "\u200b",
    "\u2060",
    "_",
]
anything = (
    st.text(st.characters(), max_size=300)
    | st.text("<!@#|>[](): \r\n\x1b\u202ehttps`~", max_size=80)
    | st.lists(st.sampled_from(pieces), max_size=12).map("".join)
)
numbers = st.none() | st.floats()
files = st.builds(
    File,
    key=st.just(KEY),
    number=st.integers(0, 10**6),
    source=anything,
    state=st.sampled_from(FileState),
    name=st.none() | anything,
    place=st.none() | anything | anything.map("/srv/{}".format) | anything.map("s3://b/{}".format),
    size=st.none() | st.integers(),
    last_error=st.none() | anything,
)
notices = st.builds(
    Notice,
    notice=st.text(string.ascii_lowercase + string.digits, min_size=10, max_size=10),
    event=st.sampled_from(Event),
    time=st.floats(allow_nan=False, min_value=0, max_value=4e9),
    key=st.just(KEY) | st.none(),
    name=anything,
    before=st.none() | anything,
    status=st.sampled_from(["starting", "processing", "succeeded", "failed", "paused", None]) | anything,
    error=st.none() | anything,
    detail=st.none() | anything,
    output=st.lists(anything | anything.map("https://only-links-have.example/{}".format), max_size=5).map(tuple),
    has_output=st.booleans(),
    text=st.none() | anything,
    expires=numbers,
    data_removed=st.booleans(),
    took=numbers,
    metrics=st.lists(st.tuples(anything, st.floats()), max_size=3).map(tuple),
    logs=st.none() | anything,
    since=numbers,
    count=st.none() | st.integers(),
    files=st.lists(files, max_size=5).map(tuple),
    ends=st.lists(st.sampled_from(["stuck", "unreachable", "lost"]) | anything, max_size=2).map(tuple),
)


ACTIVE = re.compile(
    r"<[!@#]|<https?:|\]\(|^[ >]*\[.*\]:|```|~~|(?<![^\W_])@\w|@(?:here|everyone|channel)\b",
    re.IGNORECASE | re.MULTILINE,
)
"""What a chat would act on. In a title, a name's bracket and our colon are no link's definition: a sign goes before."""


def without_links(body: str, some: list[Notice]) -> str:
    """The body without the output links, of which those that are there at all are there whole."""
    links = {link for notice in some for url in notice.output if (link := text.link(url))}
    lines = [line for line in body.split("\n") if line.strip() not in links]
    assert not [line for line in lines if "only-links-have.example" in line]
    return "\n".join(lines)


def check(title: str, body: str, limit: int, some: list[Notice]) -> None:
    assert len(title) <= 200
    assert "\n" not in title
    assert title.strip()
    assert len(body) <= limit
    assert not UNFIT.search(title + body.replace("\t", " "))
    assert not ACTIVE.search(title)
    assert not ACTIVE.search(without_links(body, some))
    (title + body).encode()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(notices, min_size=1, max_size=4), st.integers(60, 4000))
def test_any_facts_make_a_message_that_can_be_sent_and_has_its_id(some: list[Notice], limit: int) -> None:
    message = write(some, limit=limit, now=NOW)
    check(message.title, message.body, limit, some)
    assert some[0].notice in message.body.rsplit("\n", 1)[-1]
    assert message.body.endswith(some[-1].notice)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(notices, min_size=1, max_size=12), st.integers(100, 4000))
def test_any_facts_make_a_digest_and_a_joined_message_that_can_be_sent(some: list[Notice], limit: int) -> None:
    for message, told in (digest(some, limit=limit, now=NOW), join(some, limit=limit, now=NOW)):
        check(message.title, message.body, limit, some)
        assert 1 <= told <= len(some)
        assert message.body.endswith(some[told - 1].notice)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(notices)
def test_any_facts_have_a_plain_form(notice: Notice) -> None:
    message = plain(notice)
    check(message.title, message.body, 500, [])
    assert message.body.isascii()
    assert message.body.endswith(notice.notice)
