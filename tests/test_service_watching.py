"""Seeing edits of the configuration: real files, and a clock that is passed in."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from notifier.model import Config, Key
from notifier.service.watching import SHRINK_WAIT, ConfigurationWatch, shrinks


class Bench:
    """A configuration on disk and the watch over it; `looks` takes one look after the other."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text("one\n")
        self.now = 0.0
        self.config = Config(self.path, (self.path,), {}, {}, (), (), "sqlite://", include=("watchlist.d/*.yaml",))
        self.watch = ConfigurationWatch(self.config, lambda: self.now)

    def looks(self, count: int = 1) -> list[bool]:
        return [self.watch.is_ready() for _ in range(count)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_nothing_is_ready_while_nothing_changes(bench: Bench) -> None:
    assert bench.looks(3) == [False, False, False]


def test_an_edit_is_ready_when_two_looks_agree_and_only_until_it_was_acted_on(bench: Bench) -> None:
    bench.path.write_text("two\n")
    assert bench.looks(3) == [False, True, True]
    bench.watch.acted(bench.config)
    assert bench.looks(2) == [False, False]


def test_a_file_that_is_still_being_written_is_waited_for(bench: Bench) -> None:
    ready = []
    for text in ("t", "tw", "two"):
        bench.path.write_text(text)
        ready += bench.looks()
    assert ready == [False, False, False]
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
    bench.watch.acted(bench.config)
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
    bench.watch.acted(bench.config)
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
    bench.watch = ConfigurationWatch(bench.config, lambda: bench.now)
    more.unlink()
    assert bench.looks(2) == [False, True]
    bench.watch.acted(replace(bench.config, files=(bench.path,)))
    assert bench.looks(3) == [False] * 3


def test_a_file_that_is_new_to_the_configuration_must_have_been_whole(bench: Bench, tmp_path: Path) -> None:
    """It was read when the edit that includes it was acted on, but nobody had looked at it before."""
    (tmp_path / "more.yaml").write_text("- a\n")
    bench.path.write_text("include: more.yaml\n")
    assert bench.looks(2) == [False, True]
    known = replace(bench.config, files=(bench.path, tmp_path / "more.yaml"))
    bench.watch.acted(known)
    assert bench.looks(2) == [False, True]
    bench.watch.acted(known)
    assert bench.looks(3) == [False] * 3


def test_mending_a_file_that_only_the_refused_configuration_has_is_an_edit(bench: Bench, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text("- {idd: a}\n")
    bench.path.write_text("include: new.yaml\n")
    assert bench.looks(2) == [False, True]
    bench.watch.acted(None, [bench.path, new])
    assert bench.looks(2) == [False, True]
    bench.watch.acted(None, [new])
    assert bench.looks(3) == [False] * 3
    new.write_text("- {id: a}\n")
    assert bench.looks(2) == [False, True]
    bench.watch.acted(replace(bench.config, files=(bench.path, new)))
    assert bench.looks(3) == [False] * 3


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
    bench.watch.acted(bench.config)
    with (tmp_path / "watchlist.d" / "long.yaml").open("wb") as file:
        file.truncate(2**40)
    assert bench.looks(2) == [False, True]
    bench.watch.acted(bench.config)
    (tmp_path / "watchlist.d" / "folder.yaml").mkdir()
    assert bench.looks(2) == [False, True]
