"""Files of outputs in the store: noted with the state, taken up, over, and in the end forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from notifier.model import Address, Event, File, FileState, Key, Notice, State, Status
from notifier.store import Change, Owed, Store

NOW = 1_700_000_000.0
KEY, OTHER = Key("here", "x"), Key("here", "y")
DONE = State(NOW, status=Status.SUCCEEDED, has_output=True, done=True)
TOLD = Notice("n1", Event.STATUS, NOW, KEY, status=Status.SUCCEEDED, has_output=True)
TEAM, MAIL = Address("team", ""), Address("mail", "a@example.com")
DATA = "data:text/plain,hello"


def file(number: int, key: Key = KEY, **changes: object) -> File:
    url = f"https://a.example/{number}.png"
    one = File(key, number, url, f"{url}?sig=1", created_at=NOW, due_at=NOW + number, expires_at=NOW + 3600)
    return replace(one, **changes)  # type: ignore[arg-type]


def saved(one: File, **changes: object) -> File:
    facts = {
        "name": f"{one.number:03d}.png",
        "place": f"/kept/{one.number}",
        "size": 3,
        "sha256": "00",
        "ended_at": NOW,
    }
    return replace(one, state=FileState.SAVED, url=None, **{**facts, **changes})  # type: ignore[arg-type]


def nothing(_: Sequence[File]) -> Sequence[Owed]:
    return ()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path}/notifier.db", now=NOW) as store:
        yield store


def brief(one: File) -> File:
    """As lists have it: without the megabytes of a `data:` URI."""
    return replace(one, url=None) if one.url and one.url.startswith("data:") else one


def test_files_are_written_with_the_state_and_come_back_as_they_were(tmp_path: Path) -> None:
    files = (file(0), file(1, url=DATA, expires_at=None, source="data:text/plain 0123456789ab"))
    full = saved(file(2), validator='"e"', content_type="image/png", attempts=3, last_error="HTTP 503")
    url = f"sqlite:///{tmp_path}/notifier.db"
    with Store.open(url, now=NOW) as store:
        store.record([Change(KEY, DONE, ((TOLD, (TEAM,)),), (*files, full))], NOW)
    with Store.open(url, now=NOW) as store:
        assert store.files() == {KEY: (file(0), brief(files[1]), full)}
        assert store.files([OTHER]) == {}
        assert store.waiting_file(brief(files[1])) == files[1]
        assert store.waiting_file(full) is None
        assert store.files_overview() == {FileState.WAITING: 2, FileState.SAVED: 1}


def test_nothing_is_noted_where_the_state_could_not_be(store: Store) -> None:
    broken = replace(TOLD, notice=None)  # type: ignore[arg-type]
    with pytest.raises(Exception, match="NOT NULL"):
        store.record([Change(KEY, DONE, ((broken, (TEAM,)),), (file(0),))], NOW)
    assert store.files() == {}


def test_a_file_that_is_on_its_way_gets_the_new_url_and_one_that_is_over_stays_as_it_is(store: Store) -> None:
    store.record([Change(KEY, DONE, files=(file(0), file(1)))], NOW)
    store.mark_file_failed(file(0), due_at=NOW + 5, reason="HTTP 503")
    store.end_file(saved(file(1)), nothing, NOW)
    again = [replace(file(number), url="https://b.example/new", expires_at=NOW + 99) for number in (0, 1)]
    store.record([Change(KEY, DONE, files=tuple(again))], NOW)
    first, second = store.files()[KEY]
    assert (first.url, first.expires_at, first.attempts, first.due_at) == (
        "https://b.example/new",
        NOW + 99,
        1,
        NOW + 5,
    )
    assert second == saved(file(1))


def test_the_one_that_has_waited_longest_is_due_first(store: Store) -> None:
    files = (file(2), file(0), file(1, OTHER), file(9, OTHER, url=DATA))
    store.record([Change(KEY, DONE, files=files[:2]), Change(OTHER, DONE, files=files[2:])], NOW)
    assert store.due_files(NOW + 5, 10) == [file(0), file(1, OTHER), file(2)]
    assert store.due_files(NOW + 5, 2) == [file(0), file(1, OTHER)]
    assert store.due_files(NOW - 1, 10) == []
    assert store.next_file_at(NOW + 5) == NOW + 9
    assert store.next_file_at(NOW + 9) is None
    store.end_file(saved(file(0)), nothing, NOW)
    assert store.due_files(NOW + 5, 10) == [file(1, OTHER), file(2)]


def test_attempts_are_counted_and_what_can_be_gone_on_with_is_noted(store: Store) -> None:
    store.record([Change(KEY, DONE, files=(file(0),))], NOW)
    store.note_file_begun(replace(file(0), validator='"v1"', content_type="image/png"))
    assert store.files()[KEY] == (replace(file(0), validator='"v1"', content_type="image/png"),)
    store.mark_file_failed(replace(file(0), validator='"v2"'), due_at=NOW + 7, reason="reset")
    store.mark_file_failed(replace(file(0), validator='"v2"'), due_at=NOW + 8, reason="disk full", counts=False)
    (one,) = store.files()[KEY]
    assert (one.attempts, one.due_at, one.last_error, one.validator) == (1, NOW + 8, "disk full", '"v2"')


def test_what_comes_late_does_not_change_a_file_that_is_over(store: Store) -> None:
    store.record([Change(KEY, DONE, files=(file(0),))], NOW)
    store.end_file(saved(file(0)), nothing, NOW)
    store.note_file_begun(replace(file(0), validator='"late"'))
    store.mark_file_failed(file(0), due_at=NOW + 7, reason="late")
    assert store.files()[KEY] == (saved(file(0)),)


def test_the_end_of_a_file_and_its_notice_are_one_transaction(store: Store) -> None:
    store.record([Change(KEY, DONE, files=(file(0), file(1)))], NOW)
    seen: list[Sequence[File]] = []

    def tell(files: Sequence[File]) -> Sequence[Owed]:
        seen.append(files)
        return [(replace(TOLD, notice="n2", event=Event.SAVED), (TEAM, MAIL))]

    deliveries, released = store.end_file(saved(file(0)), tell, NOW)
    assert [delivery.address for delivery in deliveries] == [TEAM, MAIL]
    assert seen == [(saved(file(0)), file(1))]
    assert released == []

    assert not any(each.told for each in store.files()[KEY])

    def fail(_: Sequence[File]) -> Sequence[Owed]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.end_file(saved(file(1)), fail, NOW)
    assert store.files()[KEY][1] == file(1)


def test_what_is_lost_is_noted_as_told_with_the_notice(store: Store) -> None:
    store.record([Change(KEY, DONE, files=(file(0), file(1)))], NOW)
    lost = [replace(file(number), state=FileState.LOST, ended_at=NOW) for number in (0, 1)]
    store.end_file(lost[0], nothing, NOW)
    assert [each.told for each in store.files()[KEY]] == [False, False]
    store.end_file(lost[1], lambda _: [(replace(TOLD, event=Event.SAVE_FAILED), ())], NOW)
    assert [each.told for each in store.files()[KEY]] == [True, True]


def test_what_waits_for_files_is_due_when_they_are_over(store: Store) -> None:
    held = {"mail": NOW + 60}
    change = Change(KEY, DONE, ((TOLD, (TEAM, MAIL)),), (file(0), file(1)), held)
    other = Change(OTHER, DONE, ((replace(TOLD, key=OTHER), (MAIL,)),), (file(0, OTHER),), held)
    due = {delivery.address: delivery.due_at for delivery in store.record([change, other], NOW)[:2]}
    assert due == {TEAM: NOW, MAIL: NOW + 60}
    assert store.end_file(saved(file(0)), nothing, NOW + 1)[1] == []
    assert store.end_file(replace(file(1), state=FileState.LOST), nothing, NOW + 2)[1] == [MAIL]
    assert [each.due_at for each in store.waiting(MAIL, limit=9, now=NOW)] == [NOW + 2, NOW + 60]


def test_a_delivery_that_has_failed_does_not_wait_for_files(store: Store) -> None:
    (one,) = store.record([Change(KEY, DONE, ((TOLD, (MAIL,)),), (file(0),), {"mail": NOW + 60})], NOW)
    store.mark_failed([one.id], due_at=NOW + 300, reason="down")
    assert store.end_file(saved(file(0)), nothing, NOW + 2)[1] == []


def test_a_delivery_has_what_became_of_the_files_by_now(store: Store) -> None:
    silent = replace(TOLD, notice="n2", has_output=False)
    store.record([Change(KEY, DONE, ((TOLD, (TEAM,)), (silent, (TEAM,))), (file(0),))], NOW)
    assert [each.notice.files for each in store.waiting(TEAM, limit=9, now=NOW)] == [(file(0),), ()]
    store.end_file(saved(file(0)), nothing, NOW)
    assert [each.notice.files for each in store.waiting(TEAM, limit=9, now=NOW)] == [(saved(file(0)),), ()]


def test_old_files_are_found_and_what_is_gone_is_forgotten_after_90_days(store: Store) -> None:
    files = [saved(file(number), ended_at=NOW + number) for number in range(3)]
    gone = [
        replace(file(3), state=FileState.LOST, ended_at=NOW),
        replace(file(4), state=FileState.REMOVED, ended_at=NOW + 10),
    ]
    for one in (*files, *gone):
        store.end_file(one, nothing, NOW)
    assert store.old_files(NOW + 2, 10) == files[:2]
    assert store.old_files(NOW + 2, 1, 1) == files[1:2]
    assert store.prune(NOW + 90 * 86400 + 5).files == 1
    assert store.files()[KEY] == (*files, gone[1])


def test_a_clock_that_was_set_back_makes_no_file_wait_for_long(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/notifier.db"
    with Store.open(url, daemon=True, now=NOW) as store:
        store.record([Change(KEY, DONE, files=(file(0, created_at=NOW + 9e6, due_at=NOW + 9e6),))], NOW)
    with Store.open(url, daemon=True, now=NOW) as store:
        (one,) = store.files()[KEY]
    assert one.created_at == NOW
    assert one.due_at <= NOW + 3600
