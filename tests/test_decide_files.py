"""Which files of an output are owed, and what is told when it is known what became of them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.decide import files_notice, files_owed, source_of
from notifier.decide.files import OTHER_LIFE
from notifier.decide.links import LINK_LIFE
from notifier.model import Asset, Event, File, FileState, Key, Observation, Status

KEY = Key("here", "x")
NOW, WALL = 1_000_000.0, 1_700_000_000.0
HOST = "https://replicate.delivery"


def owed(
    *urls: str, known: tuple[File, ...] = (), completed_at: float | None = WALL, again: bool = False
) -> list[File]:
    seen = Observation(Status.SUCCEEDED, assets=tuple(map(Asset, urls)), completed_at=completed_at)
    return list(files_owed(KEY, known, seen, now=NOW, wall=WALL, again=again))


def over(file: File, state: FileState, **changes: object) -> File:
    return replace(file, state=state, url=None, **changes)  # type: ignore[arg-type]


def test_files_are_numbered_in_the_order_of_the_output() -> None:
    found = owed(f"{HOST}/a.png?sig=1", "data:,hi", "https://cdn.example/b")
    assert [(file.number, file.source.split(" ")[0], file.url) for file in found] == [
        (0, f"{HOST}/a.png", f"{HOST}/a.png?sig=1"),
        (1, "data:text/plain", "data:,hi"),
        (2, "https://cdn.example/b", "https://cdn.example/b"),
    ]
    assert {(file.state, file.due_at, file.attempts) for file in found} == {(FileState.WAITING, NOW, 0)}


@pytest.mark.parametrize(
    ("url", "completed_at", "expires_at"),
    [
        (f"{HOST}/a.png", WALL, NOW + LINK_LIFE),
        ("https://pbxt.replicate.delivery/a.png", WALL - 600, NOW + LINK_LIFE - 600),
        (f"{HOST}/a.png", None, NOW + LINK_LIFE),
        (f"{HOST}/a.png", WALL + 600, NOW + LINK_LIFE),  # their clock is ahead of ours
        (f"{HOST}/a.png", WALL - 2 * LINK_LIFE, NOW - LINK_LIFE),
        ("https://cdn.example/a.png", WALL, NOW + OTHER_LIFE),
        ("https://notreplicate.delivery/a.png", WALL, NOW + OTHER_LIFE),
        ("data:,x", WALL, None),
    ],
)
def test_a_file_is_given_up_when_its_host_deletes_it(
    url: str, completed_at: float | None, expires_at: float | None
) -> None:
    (file,) = owed(url, completed_at=completed_at)
    assert file.expires_at == expires_at


def test_what_is_there_is_not_fetched_again_and_what_is_new_gets_a_number_of_its_own() -> None:
    a, b = owed(f"{HOST}/a.png?sig=1", f"{HOST}/b.png?sig=1")
    known = (over(a, FileState.SAVED), b)
    found = owed(f"{HOST}/c.png", f"{HOST}/b.png?sig=2", f"{HOST}/a.png?sig=2", known=known)
    assert [(file.number, file.url) for file in found] == [(2, f"{HOST}/c.png"), (1, f"{HOST}/b.png?sig=2")]


def test_a_number_is_the_files_place_in_the_output_as_long_as_nobody_has_it() -> None:
    second = replace(owed(f"{HOST}/a.png", f"{HOST}/b.png")[1], state=FileState.SAVED, url=None)
    found = owed(f"{HOST}/a.png", f"{HOST}/b.png", f"{HOST}/c.png", known=(second,))
    assert [(file.number, file.source) for file in found] == [(0, f"{HOST}/a.png"), (2, f"{HOST}/c.png")]


@pytest.mark.parametrize("state", [FileState.LOST, FileState.REMOVED])
def test_what_is_gone_is_only_fetched_again_by_hand(state: FileState) -> None:
    (file,) = owed(f"{HOST}/a.png")
    gone = over(file, state, attempts=7, last_error="HTTP 404", ended_at=NOW)
    assert owed(f"{HOST}/a.png", known=(gone,)) == []
    assert owed(f"{HOST}/a.png", known=(gone,), again=True) == [file]


def test_files_that_differ_in_their_queries_alone_are_told_apart_by_their_order() -> None:
    urls = (f"{HOST}/file?id=1", f"{HOST}/file?id=2")
    first, second = owed(*urls)
    assert (first.number, second.number) == (0, 1)
    assert owed(*urls, known=(over(first, FileState.SAVED), over(second, FileState.SAVED))) == []
    (again,) = owed(*urls, known=(over(first, FileState.SAVED), second))
    assert (again.number, again.url) == (1, urls[1])


def test_two_data_uris_are_two_files() -> None:
    first, second = owed("data:image/png;base64,AAAA", "data:image/png;base64,AAAB")
    assert first.source != second.source
    assert owed("data:image/png;base64,AAAB", known=(first, over(second, FileState.SAVED))) == []


# --- what is told -------------------------------------------------------------------------------------------------


def test_nothing_is_told_while_a_file_is_on_its_way() -> None:
    a, b = owed(f"{HOST}/a", f"{HOST}/b")
    assert files_notice("X", [over(a, FileState.SAVED), b], now=NOW, wall=WALL) is None


def test_that_all_are_kept_is_told_as_saved() -> None:
    a, b = owed(f"{HOST}/a", f"{HOST}/b")
    notice = files_notice("X", [over(a, FileState.SAVED), over(b, FileState.SAVED)], now=NOW, wall=WALL)
    assert notice is not None
    assert (notice.event, notice.names, notice.count, notice.output) == (Event.SAVED, frozenset({"saved"}), 2, ())
    assert (notice.name, notice.key, notice.time) == ("X", KEY, WALL)


def test_what_could_not_be_kept_is_told_with_its_link_while_that_works() -> None:
    a, b = owed(f"{HOST}/a?sig=1", f"{HOST}/b")
    lost = replace(a, state=FileState.LOST, last_error="it is empty")
    notice = files_notice("X", [lost, over(b, FileState.SAVED)], now=NOW + 60, wall=WALL + 60)
    assert notice is not None
    assert (notice.event, notice.output, notice.expires) == (
        Event.SAVE_FAILED,
        (f"{HOST}/a?sig=1",),
        WALL + LINK_LIFE,
    )
    late = files_notice("X", [lost, over(b, FileState.SAVED)], now=NOW + 4000, wall=WALL + 4000)
    assert late is not None
    assert (late.event, late.output, late.expires) == (Event.SAVE_FAILED, (), None)


def test_what_is_lost_is_told_once_the_others_were_tried_and_only_once() -> None:
    a, b = owed(f"{HOST}/a", f"{HOST}/b")
    lost = over(a, FileState.LOST)
    assert files_notice("X", [lost, b], now=NOW, wall=WALL) is None
    assert files_notice("X", [lost, replace(b, attempts=1, due_at=NOW + 15)], now=NOW, wall=WALL) is None
    tried = replace(b, attempts=4, due_at=NOW + 120)
    notice = files_notice("X", [lost, tried], now=NOW, wall=WALL)
    assert notice is not None
    assert notice.event is Event.SAVE_FAILED
    told = replace(lost, told=True)
    assert files_notice("X", [told, tried], now=NOW, wall=WALL) is None
    rest = files_notice("X", [told, over(tried, FileState.SAVED)], now=NOW, wall=WALL)
    assert rest is not None
    assert rest.event is Event.SAVED
    both = files_notice("X", [told, over(tried, FileState.LOST)], now=NOW, wall=WALL)
    assert both is not None
    assert both.event is Event.SAVE_FAILED


def test_files_that_are_given_up_together_are_told_together() -> None:
    files = [replace(file, attempts=9, due_at=NOW + 9e4) for file in owed(*(f"{HOST}/{n}" for n in range(3)))]
    end = NOW + LINK_LIFE
    lost = [over(file, FileState.LOST) for file in files]
    assert files_notice("X", [lost[0], *files[1:]], now=end, wall=WALL) is None
    assert files_notice("X", [*lost[:2], files[2]], now=end + 5, wall=WALL) is None
    assert files_notice("X", lost, now=end + 10, wall=WALL) is not None


def test_the_same_end_has_the_same_notice_id_and_another_end_another() -> None:
    a, b = owed(f"{HOST}/a", f"{HOST}/b")
    kept, lost = over(a, FileState.SAVED), over(b, FileState.LOST)
    ends = [[kept, lost], [kept, lost], [kept, over(b, FileState.SAVED)]]
    first, same, other = (files_notice("X", files, now=NOW + n, wall=WALL + n) for n, files in enumerate(ends))
    assert first is not None
    assert same is not None
    assert other is not None
    assert first.notice == same.notice != other.notice


# --- sources -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "source"),
    [
        (f"{HOST}/x/a.png?sig=secret#f", f"{HOST}/x/a.png"),
        ("https://user:secret@a.example:8443/x", "https://a.example:8443/x"),
        ("https://us@er:secret@[::1]/x", "https://[::1]/x"),
        ("HTTPS://A.example", "https://A.example"),
        ("data:image/png;base64,secret", "data:image/png"),
        ("DATA:;base64,secret", "data:text/plain"),
        ("https://[secret", ""),
    ],
)
def test_a_source_holds_no_secret(url: str, source: str) -> None:
    assert re.sub(" [0-9a-f]{12}$", "", source_of(url)) == source


@given(st.text())
def test_a_source_can_be_told_of_any_text(text: str) -> None:
    source_of(text)
    source_of(f"https://{text}")
    assert len(source_of(f"data:{text}")) <= 120
