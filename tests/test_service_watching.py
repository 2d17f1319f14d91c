"""Seeing edits of the configuration: real files, and a clock that is passed in."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from notifier.config import files, files_of
from notifier.model import Config, Key
from notifier.service.watching import SHRINK_WAIT, ConfigurationWatch, shrinks


class Bench:
    """A configuration on disk and the watch over it; `looks` takes one look after the other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text("one\n")
        self.now = 0.0
        self.config = Config(self.path, (self.path,), {}, {}, (), (), "sqlite://", include=("watchlist.d/*.yaml",))
        self.begin()

    def begin(self) -> None:
        self.watch = ConfigurationWatch(replace(self.config, seen=self.seen()), lambda: self.now)

    def seen(self, *more: Path) -> dict[Path, str]:
        """What whoever reads the configuration sees in its files now."""
        return {path: digest(path) for path in (*files_of(self.config), *more)}

    def act(self) -> None:
        self.watch.acted(replace(self.config, seen=self.seen()), self.seen())

    def looks(self, count: int = 1) -> list[bool]:
        return [self.watch.is_ready() for _ in range(count)]


def digest(path: Path) -> str:
    try:
        return files.read(path).digest
    except files.UnreadableError as error:
        return str(error)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_nothing_is_ready_while_nothing_changes(bench: Bench) -> None:
    assert bench.looks(3) == [False, False, False]


def test_an_edit_is_ready_when_two_looks_agree_and_only_until_it_was_acted_on(bench: Bench) -> None:
    bench.path.write_text("two\n")
    assert bench.looks(3) == [False, True, True]
    bench.act()
    assert bench.looks(2) == [False, False]


def test_a_file_that_is_still_being_written_is_waited_for(bench: Bench) -> None:
    ready = []
    for text in ("t", "tw", "two"):
        bench.path.write_text(text)
        ready += bench.looks()
    assert ready == [False, False, False]
    assert bench.looks() == [True]


def test_that_the_files_change_all_the_time_is_known_once(bench: Bench) -> None:
    restless = []
    for number in range(40):
        bench.path.write_text(f"{number}\n")
        assert bench.looks() == [False]
        restless.append(bench.watch.is_restless)
    assert restless == [False] * 14 + [True] + [False] * 25
    assert bench.looks() == [True]


def test_a_touch_or_an_edit_that_is_undone_is_no_edit(bench: Bench) -> None:
    os.utime(bench.path, (1, 1))
    assert bench.looks(3) == [False] * 3
    bench.path.write_text("two\n")
    bench.looks()
    bench.path.write_text("one\n")
    assert bench.looks(3) == [False] * 3


def test_an_atomic_replacement_and_a_swapped_link_are_edits(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("two\n")
    (tmp_path / "new").replace(bench.path)
    assert bench.looks(2) == [False, True]
    bench.act()
    (tmp_path / "other").write_text("three\n")
    (tmp_path / "link").symlink_to("other")
    (tmp_path / "link").replace(bench.path)
    assert bench.looks(2) == [False, True]


def test_a_file_that_vanishes_for_one_look_is_no_edit_but_one_that_stays_away_is(bench: Bench) -> None:
    text = bench.path.read_text()
    bench.path.unlink()
    assert bench.looks() == [False]
    bench.path.write_text(text)
    assert bench.looks(2) == [False, False]
    bench.path.unlink()
    assert bench.looks(2) == [False, True]


def test_a_file_that_comes_to_match_an_include_pattern_is_an_edit(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "watchlist.d").mkdir()
    (tmp_path / "watchlist.d" / "more.yaml").write_text("- a\n")
    assert bench.looks(2) == [False, True]
    bench.act()
    (tmp_path / "watchlist.d" / "more.yaml").write_text("- b\n")
    assert bench.looks(2) == [False, True]


@pytest.mark.parametrize(
    ("before", "after", "does"),
    [(9, 0, False), (10, 5, False), (10, 4, True), (10, 0, True), (100, 49, True), (100, 50, False), (0, 10, False)],
)
def test_an_edit_shrinks_when_it_removes_more_than_half_of_ten_or_more(before: int, after: int, *, does: bool) -> None:
    keys = [Key("api", str(number)) for number in range(100)]
    assert shrinks(keys[:before], keys[:after]) is does


def test_an_edit_that_shrinks_may_be_acted_on_after_30_seconds_that_a_new_edit_starts_anew(bench: Bench) -> None:
    bench.path.write_text("less\n")
    bench.looks(2)
    assert not bench.watch.may_shrink()
    bench.now += SHRINK_WAIT - 1
    bench.looks()
    assert not bench.watch.may_shrink()
    bench.path.write_text("even less\n")
    assert bench.looks(2) == [False, True]
    assert not bench.watch.may_shrink()
    bench.now += SHRINK_WAIT
    assert bench.looks() == [True]
    assert bench.watch.may_shrink()


def test_an_included_file_that_is_removed_is_one_edit(bench: Bench, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("- a\n")
    bench.config = replace(bench.config, files=(bench.path, more), include=("more.yaml",))
    bench.begin()
    more.unlink()
    assert bench.looks(2) == [False, True]
    bench.config = replace(bench.config, files=(bench.path,))
    bench.act()
    assert bench.looks(3) == [False] * 3


def test_a_file_that_is_new_to_the_configuration_must_have_been_looked_at_twice(bench: Bench, tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("- half")
    bench.path.write_text("include: more.yaml\n")
    assert bench.looks(2) == [False, True]
    assert not bench.watch.agrees_with(bench.seen(more))  # nobody had looked at it: it may be half-saved
    more.write_text("- whole\n")
    assert bench.looks(2) == [False, True]
    assert bench.watch.agrees_with(bench.seen(more))
    bench.config = replace(bench.config, files=(bench.path, more))
    bench.act()
    assert bench.looks(3) == [False] * 3


def test_what_is_edited_between_a_look_and_the_reading_is_waited_for(bench: Bench) -> None:
    bench.path.write_text("two\n")
    assert bench.looks(2) == [False, True]
    bench.path.write_text("thr")
    assert not bench.watch.agrees_with(bench.seen())
    bench.path.write_text("three\n")
    assert bench.looks(2) == [False, True]
    assert bench.watch.agrees_with(bench.seen())


def test_a_held_edit_that_another_one_follows_before_it_is_read_waits_anew(bench: Bench) -> None:
    bench.path.write_text("less\n")
    bench.looks(2)
    assert not bench.watch.may_shrink()
    bench.now += SHRINK_WAIT
    bench.path.write_text("even less\n")
    assert not bench.watch.agrees_with(bench.seen())
    assert bench.looks() == [True]
    assert not bench.watch.may_shrink()


def test_what_is_edited_before_the_watch_begins_but_after_the_reading_is_an_edit(bench: Bench) -> None:
    seen = bench.seen()
    bench.path.write_text("two\n")
    bench.watch = ConfigurationWatch(replace(bench.config, seen=seen), lambda: bench.now)
    assert bench.looks() == [True]
    bench.act()
    assert bench.looks(2) == [False] * 2


def test_a_file_that_only_the_refused_configuration_has_is_looked_at_until_it_is_mended(
    bench: Bench, tmp_path: Path
) -> None:
    """Also one that is not there yet, such as a secret's, or a link into nowhere."""
    new, secret = tmp_path / "new.yaml", tmp_path / "secret"
    new.write_text("- {idd: a}\n")
    bench.path.write_text("include: new.yaml\n")
    bench.looks(2)
    seen = bench.seen(new, secret)
    assert not bench.watch.agrees_with(seen)
    assert bench.looks() == [True]
    assert bench.watch.agrees_with(seen)
    bench.watch.acted(None, seen)
    assert bench.looks(3) == [False] * 3
    new.write_text("- {id: a}\n")
    assert bench.looks(2) == [False, True]
    bench.watch.acted(None, bench.seen(new, secret))
    secret.write_text("t0ken\n")
    assert bench.looks(2) == [False, True]
    bench.config = replace(bench.config, files=(bench.path, new))
    bench.watch.acted(replace(bench.config, seen=bench.seen(secret)), bench.seen(secret))
    assert bench.looks(3) == [False] * 3
    secret.write_text("other\n")
    assert bench.looks(2) == [False, True]


def test_a_failure_to_read_a_file_is_not_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files, say: nothing of that shows from outside when it is over."""
    bench.path.write_text("two\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", failing)
        assert bench.looks(2) == [False, True]
        assert bench.seen() == {bench.path: "cannot be read: Too many open files"}
        bench.watch.acted(None, bench.seen())
    assert bench.looks(2) == [False, True]


def failing(_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_an_edit_that_does_not_show_from_outside_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same length, and within one tick of the file system's clock."""
    before = bench.path.stat()
    genuine = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: before if path == bench.path else genuine(path, **how))
    bench.path.write_text("two\n")
    assert bench.looks(2) == [False, True]


def test_what_cannot_be_read_to_its_end_is_not_waited_for(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "watchlist.d").mkdir()
    os.mkfifo(tmp_path / "watchlist.d" / "pipe.yaml")
    assert bench.looks(2) == [False, True]
    bench.act()
    with (tmp_path / "watchlist.d" / "long.yaml").open("wb") as file:
        file.truncate(2**40)
    assert bench.looks(2) == [False, True]
    bench.act()
    (tmp_path / "watchlist.d" / "folder.yaml").mkdir()
    assert bench.looks(2) == [False, True]
    bench.act()
    bench.path.unlink()
    bench.path.symlink_to(bench.path.name)
    assert bench.looks(2) == [False, True]


def test_a_pipe_that_takes_a_files_place_between_a_look_and_its_opening_is_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = files.look

    def swapped(path: Path) -> tuple[int, ...]:
        seen = genuine(path)
        path.unlink()
        os.mkfifo(path)
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(files, "look", swapped)
        with pytest.raises(files.UnreadableError, match="it is not a file"):
            files.read(bench.path)
    assert bench.looks(2) == [False, True]
