"""What a lane makes of the kept files of what it tells, and of a channel that does not take them."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from notifier import message
from notifier.channels import send, targets
from notifier.deliver import Lanes, Outbox, Route
from notifier.errors import DeliveryError, PlaceError
from notifier.model import Channel, Delivery, File, FileState, Key, Message, Secret
from notifier.store import Store
from tests.deliver_bench import DOWN, REFUSED, SILENT, START, TEAM, UNPACED, Bench
from tests.standins.smtp import SMTPStandIn

TOO_LARGE = DeliveryError("HTTP 413", content=True)
LOST = PlaceError("/var/lib/outputs: Input/output error")


class Kept:
    """Our seam to where files are kept."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes | PlaceError] = {}
        self.reads: list[tuple[str, int]] = []

    def read(self, file: File, *, max_size: int) -> bytes | None:
        """What a file of that name holds, or raise."""
        assert file.name is not None
        self.reads.append((file.name, max_size))
        content = self.contents.get(file.name)
        if isinstance(content, PlaceError):
            raise content
        return content


class FilesBench(Bench):
    """A lane whose notices come from the store with files of the prediction, as `keep` says."""

    def __init__(self, store: Store) -> None:
        self.kept, self.files = Kept(), dict[str, tuple[File, ...]]()
        super().__init__(store)
        self.configure(attach=True)
        genuine = self.store.waiting

        def waiting(*arguments: Any, **named: Any) -> Sequence[Delivery]:
            return [
                replace(each, notice=replace(each.notice, files=self.files.get(each.notice.name, ())))
                for each in genuine(*arguments, **named)
            ]

        self.broken.waiting = waiting  # type: ignore[attr-defined]

    def new_lane(self, address: Any = TEAM, **known: Any) -> Any:
        """With files to be read."""
        return super().new_lane(address, files=self.kept, **known)

    def keep(self, prediction: str, *names: str, size: int = 100, **facts: Any) -> None:
        """The prediction has files of these names and this size, each with bytes of its own."""
        for name in names:
            content = (name.encode() * size)[:size]
            self.kept.contents[name] = content
            before = self.files.get(prediction, ())
            known = {"state": FileState.SAVED, "content_type": "image/png", "size": size, **facts}
            file = File(Key("api", prediction), len(before), "https://h/x", name=name, **known)
            self.files[prediction] = (*before, file)

    def carried(self) -> list[list[str]]:
        """The names of the files that went with each attempt."""
        return [[each.name for each in words.attachments] for _, words in self.wire.tried]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[FilesBench]:
    with Store.open(f"sqlite:///{tmp_path}/n.db", daemon=True, now=START) as store:
        yield FilesBench(store)


# --- which files ---------------------------------------------------------------------------------------------------


def test_a_message_carries_the_files_of_what_it_tells_in_order(bench: FilesBench) -> None:
    bench.keep("a", "000-x.png", "001-y.png")
    bench.tell("a", "succeeded")
    bench.run()
    (words,) = bench.wire.sent
    assert [(each.name, each.content_type, each.content) for each in words.attachments] == [
        (name, "image/png", bench.kept.contents[name]) for name in ("000-x.png", "001-y.png")
    ]
    assert "succeeded" in words.title


def test_without_attach_nothing_is_read(bench: FilesBench) -> None:
    bench.configure(attach=False)
    bench.keep("a", "000-x.png")
    bench.tell("a")
    bench.run()
    assert (bench.carried(), bench.kept.reads) == ([[]], [])


def test_notices_that_are_told_together_share_their_files(bench: FilesBench) -> None:
    bench.keep("a", "000-x.png")
    bench.tell("a", "processing")
    bench.tell("a", "succeeded", before="processing")
    bench.keep("b", "000-z.png")
    bench.tell("b")
    bench.run()
    assert bench.carried() == [["000-x.png"], ["000-z.png"]]


def test_only_what_is_saved_is_carried(bench: FilesBench) -> None:
    for state in FileState:
        bench.keep("a", f"{state}.png", state=state)
    bench.tell("a")
    bench.run()
    assert bench.carried() == [["saved.png"]]
    assert [name for name, _ in bench.kept.reads] == ["saved.png"]


# sizes, and how many bytes all may have -> which are carried
FITS = [
    ([100, 200, 300], 600, [0, 1, 2]),
    ([100, 200, 300], 599, [0, 1]),
    ([700, 200, 300], 600, [1, 2]),
    ([100, 600, 300], 600, [0, 2]),
    ([601], 600, []),
    ([0, 600], 600, [1]),
]


@pytest.mark.parametrize(("sizes", "most", "carried"), FITS)
def test_as_many_files_go_with_a_message_as_fit_together(
    bench: FilesBench, sizes: list[int], most: int, carried: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    bench.configure(attach_max=most)
    for number, size in enumerate(sizes):
        bench.keep("a", str(number), size=size)
    bench.tell("a")
    bench.run()
    assert bench.carried() == [[str(number) for number in carried]]
    assert all(limit >= sizes[int(name)] for name, limit in bench.kept.reads)
    assert "not attached" not in caplog.text


def test_a_digest_carries_none(bench: FilesBench) -> None:
    bench.configure(digest_over=1)
    for prediction in "ab":
        bench.keep(prediction, f"000-{prediction}.png")
        bench.tell(prediction)
    bench.run()
    assert (bench.carried(), bench.kept.reads) == ([[]], [])


@pytest.mark.parametrize("content", [None, LOST])
def test_a_file_that_is_not_to_be_had_is_left_out_and_logged_once(
    bench: FilesBench, content: PlaceError | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.keep("a", "000-x.png", "001-y.png")
    if content is None:
        del bench.kept.contents["000-x.png"]
    else:
        bench.kept.contents["000-x.png"] = content
    bench.tell("a")
    bench.wire.script = [DOWN]
    bench.run(60)
    assert bench.carried() == [["001-y.png"]] * 2
    (line,) = [line for line in caplog.messages if line.startswith("file not attached")]
    assert "file=000-x.png" in line
    assert ("Input/output error" if content else "it is not there as it was saved") in line


def test_a_repeat_reads_the_files_anew(bench: FilesBench) -> None:
    bench.keep("a", "000-x.png")
    bench.tell("a")
    bench.wire.script = [DOWN]
    bench.run()
    bench.kept.contents["000-x.png"] = b"mended"
    bench.run(60)
    assert [words.attachments[0].content for words in bench.wire.sent] == [b"mended"]


# --- files that are refused ----------------------------------------------------------------------------------------


def test_what_is_refused_with_its_files_goes_at_once_without_and_then_in_its_plain_form(bench: FilesBench) -> None:
    bench.keep("a", "000-x.png")
    bench.tell("a", "succeeded")
    bench.wire.rule = lambda words: TOO_LARGE if words.attachments else None
    bench.run()
    assert bench.carried() == [["000-x.png"], []]
    assert [at for at, _ in bench.wire.tried] == [0.0, 0.0]
    (first, second) = (words for _, words in bench.wire.tried)
    assert (first.title, first.body) == (second.title, second.body)
    assert bench.states() == {"a": ("sent", 2)}
    assert bench.reports.said == []
    bench.keep("b", "000-x.png")
    bench.tell("b", "succeeded")
    plain: list[Message] = []

    def picky(words: Message) -> DeliveryError | None:
        plain.append(words)
        return REFUSED if len(plain) < 3 else None

    bench.wire.rule = picky
    bench.run(60)
    assert [bool(words.attachments) for words in plain] == [True, False, False]
    assert len({words.body for words in plain}) == 2
    assert bench.states()["b"] == ("sent", 3)


def test_refused_files_hold_up_no_other_message_and_are_no_trouble_of_the_channel(bench: FilesBench) -> None:
    for prediction in "abcdefgh":
        bench.keep(prediction, "000-x.png")
        bench.tell(prediction)
    bench.wire.rule = lambda words: TOO_LARGE if words.attachments else None
    bench.run()
    assert bench.wire.attempts() == list("aabbccddeeffgghh")
    assert {state for state, _ in bench.states().values()} == {"sent"}
    assert bench.failing_since() is None


def test_what_may_have_hung_on_its_files_is_repeated_without(bench: FilesBench) -> None:
    bench.keep("a", "000-x.png")
    bench.tell("a")
    bench.wire.script = [SILENT, DOWN]
    bench.run(600)
    assert bench.carried() == [["000-x.png"], [], []]


def test_files_wait_with_their_message_for_a_channel_that_is_down_but_every_third_attempt_is_without(
    bench: FilesBench,
) -> None:
    bench.configure(retry_after=(10.0,))
    bench.keep("a", "000-x.png")
    bench.tell("a")
    bench.wire.script = [DOWN] * 4
    bench.run(600)
    assert bench.carried() == [["000-x.png"], ["000-x.png"], [], ["000-x.png"], ["000-x.png"]]
    bench.keep("b", "000-x.png")
    bench.tell("b")
    bench.wire.rule = lambda words: DeliveryError("HTTP 500") if words.attachments else None
    bench.run(600)
    assert bench.states()["b"] == ("sent", 3)


def test_a_channel_that_says_when_to_come_back_is_not_asked_before_although_it_refused_files(bench: FilesBench) -> None:
    bench.keep("a", "000-x.png")
    bench.tell("a")
    bench.wire.script = [DeliveryError("HTTP 413", content=True, retry_after=900.0)]
    bench.run(899)
    assert len(bench.wire.tried) == 1
    bench.run(2)
    assert bench.carried() == [["000-x.png"], []]


def test_a_channel_that_was_changed_is_given_the_files_again(bench: FilesBench) -> None:
    bench.configure(retry_after=(100.0,))
    bench.keep("a", "000-x.png")
    bench.tell("a")
    bench.wire.script = [SILENT]
    bench.run()
    bench.configure(attach_max=1000)
    bench.run()
    assert bench.carried() == [["000-x.png"]] * 2


def test_a_mistake_of_ours_with_the_files_does_not_keep_the_words(bench: FilesBench) -> None:
    bench.keep("a", "000-x.png")
    bench.tell("a")
    bench.wire.rule = lambda words: ZeroDivisionError("oops") if words.attachments else None
    bench.run()
    assert bench.states() == {"a": ("sent", 2)}


def test_all_lanes_read_from_what_they_were_given(bench: FilesBench) -> None:
    arrived = threading.Event()
    carried: list[str] = []

    def take(words: Message) -> None:
        carried.extend(each.name for each in words.attachments)
        arrived.set()

    bench.keep("a", "000-x.png")
    bench.tell("a")
    lanes = Lanes(
        outbox=cast("Outbox", bench.broken), words=message, incidents=bench.reports, clock=bench.clock, files=bench.kept
    )
    lanes.configure({TEAM: Route(bench.channel, take, 3000)})
    lanes.wake([TEAM])
    assert arrived.wait(20)
    assert lanes.stop(20)
    assert carried == ["000-x.png"]


# --- on the wire ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["taken", "announced limit", "552 after data", "552 at data", "reset"])
def test_a_mail_arrives_with_the_picture_or_without_it_where_it_is_too_large(bench: FilesBench, how: str) -> None:
    with SMTPStandIn() as server:
        if how == "announced limit":
            server.size_limit = 20_000
        elif how != "taken":
            step = "at_data" if how == "552 at data" else "after_data"
            server.script({step: "reset" if how == "reset" else "552 5.3.4 message too big"})
        url = f"mailto://localhost:{server.port}?from=bot@example.com&to=oncall@example.com"
        channel = Channel("team", Secret(url), rate=UNPACED, attach=True)
        (target,) = targets(channel)
        bench.lane.configure(channel, bench.pacer, lambda words: send(target, words), target.body_limit)
        bench.keep("a", "000-x.png", size=60_000)
        notice = bench.tell("a", "succeeded")
        bench.run(6 if how == "reset" else 0)
        (mail,) = server.wait_for(1)
    assert bench.states() == {"a": ("sent", 1 if how == "taken" else 2)}
    text = mail.message.get_body(("plain",))
    assert text is not None
    assert notice in text.get_content()
    digests = [hashlib.sha256(part.get_payload(decode=True)).hexdigest()  # type: ignore[arg-type]
               for part in mail.message.iter_attachments()]  # fmt: skip
    picture = bench.kept.contents["000-x.png"]
    assert isinstance(picture, bytes)
    assert digests == ([hashlib.sha256(picture).hexdigest()] if how == "taken" else [])
