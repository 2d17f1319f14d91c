"""What messages say, and what they cannot be made to say."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from notifier.message import digest, join, plain, write
from notifier.model import Event, FileState, Key, Notice
from tests.notices import (
    FOLDER,
    KEY,
    LINKS,
    NOW,
    RUNNING,
    a_file,
    a_lost_file,
    a_notice,
    a_waiting_file,
    failed,
    is_in_order,
    succeeded,
)

# what happened -> title, phrases of the body in their order
SAYS: dict[str, tuple[Notice, str, Sequence[str]]] = {
    "success": (
        succeeded(took=123.4, expires=NOW + 3480, metrics=(("predict_time", 118.24), ("image_count", 4.0))),
        "✅ Launch teaser: succeeded",
        [
            "processing → succeeded",
            f"\n{LINKS[0]}\n{LINKS[1]}\n",
            "work until 2025-11-22 14:58 UTC (in 58 minutes)",
            "Took 2 minutes and 3 seconds; predict time 118 s, image count 4",
            "Launch teaser (ufawqhfynnddngldkgtslldrkq at cometapi)",
        ],
    ),
    "success of text": (
        succeeded(output=(), text="Once upon a time"),
        "✅ Launch teaser: succeeded",
        ["Output: Once upon a time"],
    ),
    "success of something else": (succeeded(output=()), "✅ Launch teaser: succeeded", ["There is output"]),
    "success without output": (
        succeeded(output=(), has_output=False),
        "✅ Launch teaser: succeeded",
        ["processing → succeeded", "No output"],
    ),
    "success whose output is gone": (
        succeeded(output=(), has_output=False, data_removed=True),
        "✅ Launch teaser: succeeded",
        ["already removed by the provider"],
    ),
    "links that ended": (succeeded(expires=NOW - 300), "✅ Launch teaser: succeeded", ["13:55 UTC (5 minutes ago)"]),
    "failure": (
        failed(took=3.21, logs="loading\nrunning\nTraceback"),
        "❌ Launch teaser: failed",
        ["processing → failed", "Error: CUDA out of memory", "Took 3.2 seconds", "log", "> running", "> Traceback"],
    ),
    "failure without a text": (
        failed(error=None, logs="loading\nkilled\n\n"),
        "❌ Launch teaser: failed",
        ["no error text", "Last log lines:\n> loading\n> killed\n"],
    ),
    "failure at first sight": (failed(before=None), "❌ Launch teaser: failed", ["first seen: failed"]),
    "cancellation": (a_notice(**{**RUNNING, "status": "canceled"}), "🚫 Launch teaser: canceled", ["→ canceled"]),
    "abortion": (a_notice(before="starting", status="aborted"), "🛑 Launch teaser: aborted", ["starting → aborted"]),
    "start": (a_notice(before="starting", status="processing"), "⏳ Launch teaser: processing", ["starting → proc"]),
    "unknown status": (
        a_notice(before="processing", status="paused"),
        "❔ Launch teaser: paused",
        ["processing → paused", "nobody knows"],
    ),
    "error while running": (
        a_notice(Event.ERROR, **RUNNING, error="NSFW"),
        "⚠️ Launch teaser: error while processing",
        ["An error text appeared", "processing", "Error: NSFW"],
    ),
    "late output": (
        succeeded(event=Event.OUTPUT, before="succeeded"),
        "📦 Launch teaser: output arrived",
        ["Output arrived", LINKS[0], LINKS[1]],
    ),
    "stuck": (
        a_notice(Event.STUCK, **RUNNING, since=1860.0, detail="its deadline has passed"),
        "🐌 Launch teaser: stuck in processing",
        ["processing for 31 minutes, and nothing changed. Its deadline has passed."],
    ),
    "unreachable": (
        a_notice(Event.UNREACHABLE, **RUNNING, since=183.0, count=5, detail="HTTP 503"),
        "📡 Launch teaser: unreachable",
        ["5 tries over 3 minutes and 3 seconds", "last known status is processing", "asked on", "HTTP 503"],
    ),
    "recovered": (
        a_notice(Event.RECOVERED, **RUNNING, since=903.0, ends=("unreachable", "stuck"), detail="HTTP 503"),
        "💚 Launch teaser: recovered",
        ["can be polled again and moves again after 15 minutes and 3 seconds", "status is processing", "HTTP 503"],
    ),
    "recovered with a change": (
        succeeded(ends=("unreachable",)),
        "✅ Launch teaser: succeeded",
        ["processing → succeeded", "can be polled again", LINKS[0]],
    ),
    "an id never seen": (
        a_notice(Event.LOST, count=3, since=130.0, detail="HTTP 404"),
        "🔍 Launch teaser: not found",
        ["3 tries over 2 minutes and 10 seconds", "a typo, or another account's?", "HTTP 404"],
    ),
    "an id that vanished": (
        a_notice(Event.LOST, **RUNNING, count=3),
        "🔍 Launch teaser: vanished",
        ["vanished", "(3 tries)", "last known status is processing"],
    ),
    "let go": (
        a_notice(Event.LET_GO, **RUNNING, since=7 * 86400.0),
        "👋 Launch teaser: let go",
        ["watched for 7 days", "status is processing", "no longer watched"],
    ),
    "trouble with an account": (
        a_notice(Event.INCIDENT, key=None, name="account cometapi", detail="HTTP 401: bad token", count=1200),
        "🚨 account cometapi: in trouble",
        ["Account cometapi cannot be polled.", "HTTP 401: bad token", "1,200 watches affected"],
    ),
    "trouble with a channel": (
        a_notice(Event.INCIDENT, key=None, name="channel team", detail="no_service", count=12, since=660.0),
        "🚨 channel team: in trouble",
        ["Channel team takes no messages.", "no_service", "11 minutes", "12 notices held back"],
    ),
    "trouble with a recipient": (
        a_notice(Event.INCIDENT, key=None, name="channel mail (b…b@x.example)", detail="SMTP 550", count=1),
        "🚨 channel mail (b…b@x.example): in trouble",
        ["Channel mail (b…b@x.example) takes no messages.", "The reason: SMTP 550", "1 notice held back."],
    ),
    "trouble with the configuration": (
        a_notice(Event.INCIDENT, key=None, name="configuration config.yaml", detail="config.yaml:14:15: no"),
        "🚨 configuration config.yaml: in trouble",
        ["The configuration was changed and cannot be used: the last good one stays", "config.yaml:14:15: no"],
    ),
    "trouble with the store": (
        a_notice(Event.INCIDENT, key=None, name="store notifier.db", detail="the disk is full"),
        "🚨 store notifier.db: in trouble",
        ["Store notifier.db cannot be written.", "the disk is full", "What changes meanwhile is told"],
    ),
    "trouble with where files are kept": (
        a_notice(Event.INCIDENT, key=None, name="outputs in /srv/files", detail="full; free some space", count=3),
        "🚨 outputs in /srv/files: in trouble",
        ["Outputs in /srv/files cannot be kept.", "The reason: full; free some space", "3 files held up. They are"],
    ),
    "trouble with where files are kept over": (
        a_notice(Event.INCIDENT_OVER, key=None, name="outputs in /srv/files", since=60.0, count=1, detail="HTTP 403"),
        "🟢 outputs in /srv/files: works again",
        ["Outputs in /srv/files can be kept again after 1 minute.", "The trouble was: HTTP 403", "1 file was held up."],
    ),
    "files kept": (
        a_notice(Event.SAVED, has_output=True, count=2, files=(a_file(0), a_file(1))),
        "💾 Launch teaser: 2 files kept",
        ["2 files kept, 3.6 MB.\nKept:\n", f"{FOLDER}/000-out-0.png (1.2 MB)\n{FOLDER}/001-out-1.png (2.4 MB)\n"],
    ),
    "a file kept of which nothing is known any more": (
        a_notice(Event.SAVED, has_output=True, count=1),
        "💾 Launch teaser: 1 file kept",
        ["1 file kept.\nLaunch teaser ("],
    ),
    "files kept that are removed by now": (
        a_notice(Event.SAVED, has_output=True, files=(a_file(state=FileState.REMOVED, place=None),)),
        "💾 Launch teaser: 1 file kept",
        ["1 file kept.\nKept until its time was over: 1 file.\n"],
    ),
    "files not kept": (
        a_notice(
            Event.SAVE_FAILED,
            has_output=True,
            count=3,
            output=LINKS[1:],
            expires=NOW + 600,
            files=(a_file(0), a_lost_file(1), a_lost_file(2, "larger than 2 GiB", name="002-x.mp4")),
        ),
        "📭 Launch teaser: 2 of 3 files not kept",
        [
            "2 of 3 files could not be kept.\n",
            f"Kept:\n{FOLDER}/000-out-0.png (1.2 MB)\n",
            "Not kept:\n> out-1.png: HTTP 404\n> 002-x.mp4: larger than 2 GiB\n",
            f"Still at the provider:\n{LINKS[1]}\nThe link works until 2025-11-22 14:10 UTC (in 10 minutes).\n",
        ],
    ),
    "the only file not kept": (
        a_notice(Event.SAVE_FAILED, has_output=True, files=(a_lost_file(source="data:image/png 0123abcd"),)),
        "📭 Launch teaser: 1 file not kept",
        ["1 file could not be kept.\nNot kept:\n> image/png: HTTP 404\nLaunch teaser ("],
    ),
    "files not kept of which nothing is known any more": (
        a_notice(Event.SAVE_FAILED, has_output=True, count=3),
        "📭 Launch teaser: files not kept",
        ["Files could not be kept.\nLaunch teaser ("],
    ),
    "files not kept that are by now": (
        a_notice(Event.SAVE_FAILED, has_output=True, count=1, files=(a_file(),)),
        "📭 Launch teaser: files not kept",
        ["Files could not be kept at first; now none is missing.", f"{FOLDER}/000-out-0.png"],
    ),
    "success whose files are kept": (
        succeeded(expires=NOW + 3480, files=(a_file(0), a_file(1))),
        "✅ Launch teaser: succeeded",
        [f"Output:\n{LINKS[0]}\n{LINKS[1]}\nThe links work until", f"\nKept:\n{FOLDER}/000-out-0.png (1.2 MB)\n"],
    ),
    "success whose links ended and whose files are kept": (
        succeeded(expires=NOW - 300, files=(a_file(0), a_lost_file(1, "the link ended"), a_waiting_file(2))),
        "✅ Launch teaser: succeeded",
        [
            f"succeeded\nKept:\n{FOLDER}/000-out-0.png (1.2 MB)\nNot kept:\n> out-1.png: the link ended\n",
            "Being kept: 1 file.\n",
            f"Output:\n{LINKS[0]}",
            "The links worked until",
        ],
    ),
    "success whose links ended and whose files are lost": (
        succeeded(expires=NOW - 300, files=(a_lost_file(0),)),
        "✅ Launch teaser: succeeded",
        ["The links worked until", "Not kept:\n> out-0.png: HTTP 404\n"],
    ),
    "success whose files are on their way": (
        succeeded(files=(a_waiting_file(0), a_waiting_file(1))),
        "✅ Launch teaser: succeeded",
        [f"{LINKS[1]}\nBeing kept: 2 files.\n"],
    ),
    "success of a file without a link": (
        succeeded(output=(), files=(a_file(source="data:image/png 0123abcd", size=None),)),
        "✅ Launch teaser: succeeded",
        [f"processing → succeeded\nKept:\n{FOLDER}/000-out-0.png\nLaunch teaser ("],
    ),
    "success whose output is gone and whose file is kept": (
        succeeded(output=(), has_output=False, data_removed=True, files=(a_file(),)),
        "✅ Launch teaser: succeeded",
        [f"Kept:\n{FOLDER}/000-out-0.png (1.2 MB)\nThe output was already removed by the provider.\n"],
    ),
    "success of text with a file": (
        succeeded(output=(), text="Once upon a time", files=(a_file(),)),
        "✅ Launch teaser: succeeded",
        [f"Output: Once upon a time\nKept:\n{FOLDER}/000-out-0.png"],
    ),
    "trouble with a recipient over": (
        a_notice(Event.INCIDENT_OVER, key=None, name="channel mail (b…b@x.example)", since=60.0, count=1),
        "🟢 channel mail (b…b@x.example): works again",
        ["Channel mail (b…b@x.example) takes messages again after 1 minute.", "1 notice was held back."],
    ),
    "trouble with the configuration over": (
        a_notice(Event.INCIDENT_OVER, key=None, name="configuration config.yaml", since=60.0, detail="no"),
        "🟢 configuration config.yaml: works again",
        ["The configuration is in order again after 1 minute.", "The trouble was: no"],
    ),
    "trouble over": (
        a_notice(Event.INCIDENT_OVER, key=None, name="account cometapi", since=4000.0, count=7, detail="HTTP 401"),
        "🟢 account cometapi: works again",
        ["can be polled again after 1 hour and 7 minutes", "HTTP 401", "7 watches were affected."],
    ),
    "test": (
        a_notice(Event.TEST, key=None, name="team"),
        "🔔 team: test message",
        ["This is a test message", "nothing happened"],
    ),
}


@pytest.mark.parametrize(("notice", "title", "phrases"), SAYS.values(), ids=SAYS.keys())
def test_each_notice_says_what_happened(notice: Notice, title: str, phrases: Sequence[str]) -> None:
    message = write([notice], now=NOW)
    assert message.title == title
    assert is_in_order(phrases, message.body), message.body
    assert message.body.endswith("\nnotice 7k3q9x2m4d")
    assert "None" not in message.body


@pytest.mark.parametrize(("notice", "title", "phrases"), SAYS.values(), ids=SAYS.keys())
def test_the_plain_form_of_each_is_short_ascii_without_links(
    notice: Notice, title: str, phrases: Sequence[str]
) -> None:
    message = plain(notice)
    whole = f"{message.title}\n{message.body}"
    assert whole.isascii()
    assert len(whole) < 300
    assert "//" not in whole
    assert message.body.endswith("\nnotice 7k3q9x2m4d")
    assert (notice.key.id if notice.key else notice.name.split(" ")[0]) in message.body
    assert "~" not in whole
    assert notice.status is None or notice.event is not Event.STATUS or notice.status in message.title


def test_a_nameless_watch_is_called_by_its_id_once() -> None:
    message = write([failed(name=KEY.id)], now=NOW)
    assert message.title == f"❌ {KEY.id}: failed"
    assert message.body.count(KEY.id) == 1


def test_a_message_that_waited_says_when_it_happened() -> None:
    assert "Seen" not in write([failed(time=NOW - 59)], now=NOW).body
    assert "Seen at 2025-11-22 11:00 UTC, 3 hours ago." in write([failed(time=NOW - 3 * 3600)], now=NOW).body


def test_several_notices_of_one_prediction_are_told_in_order_with_all_ids() -> None:
    started = a_notice(notice="aaaaaaaaaa", before="starting", status="processing", time=NOW - 4000)
    message = write([started, succeeded(notice="bbbbbbbbbb")], now=NOW)
    assert message.title == "✅ Launch teaser: starting → processing → succeeded"
    changes = ["2025-11-22 12:53 UTC: starting → processing\n", "2025-11-22 13:59 UTC: processing → succeeded\n"]
    assert is_in_order([*changes, *LINKS], message.body)
    assert message.body.endswith("\nnotices aaaaaaaaaa, bbbbbbbbbb")


def test_joined_notices_keep_every_error_text() -> None:
    first = a_notice(Event.ERROR, notice="aaaaaaaaaa", **RUNNING, error="a first warning")
    body = write([first, failed(notice="bbbbbbbbbb", error="the end")], now=NOW).body
    assert is_in_order(["Error: a first warning", "Error: the end"], body)


def test_joined_notices_say_each_thing_that_happened_once() -> None:
    away = a_notice(Event.UNREACHABLE, notice="aaaaaaaaaa", **RUNNING, since=183.0, count=5, detail="HTTP 503")
    back = a_notice(notice="bbbbbbbbbb", before="processing", status="paused", ends=("unreachable",))
    body = write([away, back, failed(notice="cccccccccc")], now=NOW).body
    assert is_in_order(["cannot be polled (5 tries", "→ paused", "It can be polled again.", "→ failed"], body)
    for once in ("It can be polled again.", "processing → paused", "paused (a status nobody knows", "CUDA"):
        assert body.count(once) == 1, once


def test_under_a_title_of_its_own_the_statuses_stand_in_the_body() -> None:
    started = a_notice(notice="aaaaaaaaaa", before="starting", status="processing")
    message = write([started, succeeded(notice="bbbbbbbbbb")], title="{{ name }}", now=NOW)
    assert message.body.startswith("starting → processing → succeeded\n2025-")


def test_a_success_and_what_became_of_its_files_are_one_message_that_names_each_once() -> None:
    files = (a_file(0), a_lost_file(1))
    done = succeeded(notice="aaaaaaaaaa", expires=NOW + 600, files=files)
    became = a_notice(Event.SAVE_FAILED, notice="bbbbbbbbbb", output=LINKS[1:], expires=NOW + 600, files=files)
    message = write([done, became], now=NOW)
    assert message.title == "📭 Launch teaser: succeeded, 1 of 2 files not kept"
    happened = ["→ succeeded\n", "UTC: 1 of 2 files could not be kept.\n", "Output:\n", *LINKS, "Kept:\n"]
    assert is_in_order(happened, message.body)
    for once in (*LINKS, FOLDER, "HTTP 404", "work until"):
        assert message.body.count(once) == 1, once


def test_links_that_ended_are_not_said_to_be_still_there() -> None:
    late = a_notice(Event.SAVE_FAILED, output=LINKS, expires=NOW - 1, files=(a_lost_file(),))
    body = write([late], now=NOW).body
    assert "provider" not in body
    assert "http" not in body
    endless = a_notice(Event.SAVE_FAILED, output=LINKS, files=(a_lost_file(),))
    assert f"Still at the provider:\n{LINKS[0]}\n{LINKS[1]}\nLaunch" in write([endless], now=NOW).body


# --- more of one prediction than a message takes ---------------------------------------------------------------------


def a_row(count: int) -> list[Notice]:
    """So many notices of one prediction, each of which says something of its own."""
    return [
        a_notice(Event.ERROR, notice=f"id{n:08}", before=f"step{n - 1}", status=f"step{n}", error=f"warning {n}!")
        for n in range(count)
    ]


@pytest.mark.parametrize("body", [None, "{{ before }} → {{ status }}\n{{ error }}\n{{ notice }}"])
@pytest.mark.parametrize(("count", "limit"), [(2, 3000), (200, 3000), (200, 700), (200, 160), (200, 20_000)])
def test_of_many_joined_notices_those_that_are_told_are_in_the_text(count: int, limit: int, body: str | None) -> None:
    notices = a_row(count)
    message, told = join(notices, body=body, limit=limit, now=NOW)
    assert len(message.body) <= limit
    assert 1 <= told <= count
    for n, notice in enumerate(notices):
        assert (f"→ {notice.status}\n" in message.body) == (n < told), n
        assert (f"warning {n}!" in message.body) == (n < told), n
    assert message.body.endswith(notices[told - 1].notice)
    if body is None:
        assert (told < count) == (f"… {count - told} more follow." in message.body)
    if told < count:
        assert len(message.body) > limit / 2


@pytest.mark.parametrize("limit", [30, 60, 90])
def test_where_not_even_two_fit_the_first_is_told_alone(limit: int) -> None:
    message, told = join(a_row(3), limit=limit, now=NOW)
    assert told == 1
    assert len(message.body) <= limit
    assert message.body.endswith("notice id00000000")


def test_joined_one_after_the_other_all_are_told_once_and_in_order() -> None:
    notices, texts = a_row(200), []
    while notices:
        message, told = join(notices, limit=1500, now=NOW)
        texts.append(message.body)
        notices = notices[told:]
    assert 3 < len(texts) < 40
    whole = "\n".join(texts)
    assert re.findall(r"→ step(\d+)$", whole, re.MULTILINE) == [str(n) for n in range(200)]
    assert re.findall(r"warning (\d+)!", whole) == [str(n) for n in range(200)]


def test_one_notice_joined_is_its_own_message() -> None:
    assert join([failed()], limit=200, now=NOW) == (write([failed()], limit=200, now=NOW), 1)


# --- what is cut -----------------------------------------------------------------------------------------------------


def test_log_lines_give_way_first_then_the_error_then_links_from_the_end() -> None:
    links = tuple(f"https://replicate.delivery/{n}/{'x' * 90}.png?sig={n}" for n in range(10))
    notice = failed(error="E" * 1400, logs="\n".join(f"log {n} {'l' * 80}" for n in range(15)), output=links)

    def left(limit: int) -> tuple[int, int, int]:
        body = write([notice], limit=limit, now=NOW).body
        assert len(body) <= limit
        assert body.endswith("\nnotice 7k3q9x2m4d")
        shown = [line for line in body.split("\n") if line.startswith("http")]
        assert shown == list(links[: len(shown)])
        assert len(shown) == 10 or f"… and {10 - len(shown)} more" in body
        return body.count("> log"), body.count("E"), len(shown)

    logs, error, shown = left(10_000)
    assert (logs, shown) == (15, 10)
    assert error > 1400
    fewer, error, shown = left(3500)
    assert 0 < fewer < 15
    assert error > 1400
    assert shown == 10
    assert left(2600)[0] == 0
    none, less, shown = left(1700)
    assert none == 0
    assert less < 700
    assert shown == 10
    none, least, some = left(800)
    assert least > 50
    assert 0 < some < 10


def test_places_of_files_give_way_like_links_and_are_never_cut() -> None:
    files = tuple(a_file(number, size=10) for number in range(40))
    notice = succeeded(output=LINKS, files=files)

    def left(limit: int) -> int:
        body = write([notice], limit=limit, now=NOW).body
        assert len(body) <= limit
        shown = [line for line in body.split("\n") if line.startswith("/")]
        assert shown == [f"{file.place} (10 Bytes)" for file in files[: len(shown)]]
        assert len(shown) == 40 or f"… and {40 - len(shown)} more" in body
        assert (LINKS[1] in body) == (len(shown) >= 2), "links and files give way alike"
        return len(shown)

    assert left(10_000) == 40
    assert 20 < left(3000) < 40
    assert 0 < left(500) < 5
    assert left(200) == 0


def test_of_many_files_that_were_not_kept_some_say_why() -> None:
    notice = a_notice(Event.SAVE_FAILED, files=tuple(a_lost_file(n, f"reason {n}! " + "x" * 900) for n in range(200)))
    body = write([notice], now=NOW).body
    assert is_in_order(["200 files could not be kept.", *(f"reason {n}!" for n in range(5)), "… and 195 more"], body)
    assert "reason 5!" not in body
    assert len(body) < 1500
    assert "Not kept: 200 files.\n" in write([notice], limit=160, now=NOW).body


def test_a_link_longer_than_the_channel_takes_is_counted_and_never_cut() -> None:
    body = write([succeeded(output=(f"https://h/{'x' * 500}",))], limit=300, now=NOW).body
    assert "… and 1 more" in body
    assert "http" not in body
    assert body.endswith("notice 7k3q9x2m4d")


@pytest.mark.parametrize("limit", [30, 60, 100, 160])
def test_the_notice_id_survives_the_smallest_channel(limit: int) -> None:
    body = write([failed(error="E" * 5000, output=LINKS)], limit=limit, now=NOW).body
    assert len(body) <= limit
    assert body.endswith("notice 7k3q9x2m4d")


# --- digests ---------------------------------------------------------------------------------------------------------


def many(count: int) -> list[Notice]:
    return [
        (failed if n % 3 else succeeded)(notice=f"id{n:08}", key=Key("cometapi", f"p{n:05}"), name=f"Watch {n:05}")
        for n in range(count)
    ]


@pytest.mark.parametrize(("count", "limit"), [(2, 3000), (50, 3000), (500, 3000), (50, 700), (50, 20_000)])
def test_a_digest_tells_as_many_as_fit_and_says_how_many(count: int, limit: int) -> None:
    notices = many(count)
    message, told = digest(notices, limit=limit, now=NOW)
    assert len(message.body) <= limit
    assert 1 < told <= count
    assert f"{told} notices" in message.title
    for n, notice in enumerate(notices):
        assert (notice.name in message.body) == (n < told)
        assert (notice.notice in message.body) == (n < told)
    assert (told < count) == (f"… {count - told} more follow" in message.body)
    if told < count:
        assert len(message.body) > limit / 2


def test_a_digest_has_links_whole_and_error_texts() -> None:
    message, told = digest(many(3), now=NOW)
    assert told == 3
    assert message.body.count(LINKS[0]) == 1
    assert message.body.count("CUDA out of memory") == 2
    assert message.title == "📋 3 notices: 2 failed, 1 succeeded"


def test_a_digest_has_the_places_of_files_and_counts_notices_not_files() -> None:
    saved = a_notice(Event.SAVED, notice="aaaaaaaaaa", files=(a_file(0), a_file(1)))
    not_saved = a_notice(Event.SAVE_FAILED, notice="bbbbbbbbbb", files=(a_file(0), a_lost_file(1)))
    message, _ = digest([saved, not_saved, failed()], now=NOW)
    assert message.title == "📋 3 notices: 1 saved, 1 save failed, 1 failed"
    entries = [
        f"💾 Launch teaser ({KEY.id} at cometapi): 2 files kept, 3.6 MB.\n   Kept:\n   {FOLDER}/000-out-0.png (1.2",
        "at cometapi): 1 of 2 files could not be kept.\n   Kept:\n",
        "   Not kept:\n   > out-1.png: HTTP 404\n",
    ]
    assert is_in_order(entries, message.body)


def test_a_digest_where_not_even_two_fit_is_the_first_notices_own_message() -> None:
    notices = [failed(notice="aaaaaaaaaa", error="E" * 5000), succeeded(notice="bbbbbbbbbb", output=LINKS * 20)]
    message, told = digest(notices, limit=250, now=NOW)
    assert told == 1
    assert message == write(notices[:1], limit=250, now=NOW)


def test_a_digest_of_one_is_its_own_message() -> None:
    assert digest([failed()], now=NOW) == (write([failed()], now=NOW), 1)
