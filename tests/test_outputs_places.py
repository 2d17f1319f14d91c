"""Places where files are kept: whole files or none, gone on from where they were left.

What holds for every place is tested with a local directory and with object stores; what asks for `local`, with the
directory alone.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier.errors import PlaceError
from notifier.model import Key
from notifier.outputs import files
from notifier.outputs.directory import LocalDirectory
from notifier.outputs.names import folder_of
from notifier.outputs.places import Place
from tests.place_files import FOLDER, NAME, content_below, kept_of, open_below, prepared, remote, save


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def local(directory: Path) -> Iterator[Place]:
    with prepared(directory) as place:
        yield place


@pytest.fixture(params=["local", "s3", "azure"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "local":
        yield request.getfixturevalue("local")
        return
    yield remote(request.getfixturevalue(request.param), tmp_path / "spool")
    assert open_below(tmp_path) == [], "a file was left open"


# --- from a part to a file ---------------------------------------------------------------------------------------


def test_a_file_has_its_name_only_when_it_is_whole(place: Place) -> None:
    with place.part(FOLDER, 0) as part:
        part.begin(NAME)
        part.write(b"abc")
        part.write(b"")
        part.write(b"def")
        assert part.size == 6
        assert place.files(FOLDER) == ["000.part"]
        assert (place.find(FOLDER, NAME), place.size_of(FOLDER, NAME)) == (None, None)
        assert (place.size_of(FOLDER, "000.part"), list(place.folders())) == (6, [FOLDER])
        assert part.commit() == kept_of(b"abcdef")
    assert place.files(FOLDER) == [NAME]
    assert place.find(FOLDER, NAME) == kept_of(b"abcdef")
    assert place.size_of(FOLDER, NAME) == 6
    assert list(place.folders()) == [FOLDER]


def test_a_file_is_unfinished_beside_where_it_will_be(local: Place, directory: Path) -> None:
    with local.part(FOLDER, 0) as part:
        part.begin(NAME)
        part.write(b"abc")
        part.write(b"")
        part.write(b"def")
        assert part.size == 6
        assert content_below(directory) == {"cometapi/x1/000.part": b"abcdef"}
        assert local.find(FOLDER, NAME) is None
        assert part.commit() == kept_of(b"abcdef")
    assert content_below(directory) == {f"cometapi/x1/{NAME}": b"abcdef"}
    assert local.find(FOLDER, NAME) == kept_of(b"abcdef")
    assert local.size_of(FOLDER, NAME) == 6
    assert local.address(FOLDER, NAME) == str(directory / "cometapi" / "x1" / NAME)


def test_nobody_else_can_read_what_is_kept(local: Place, directory: Path) -> None:
    before = os.umask(0)
    try:
        save(local, b"abc")
        local.put(FOLDER, "manifest.json", b"{}")
    finally:
        os.umask(before)
    found = [directory, *directory.rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in found if path.is_file()} == {0o600}


def test_an_empty_file_is_a_file(place: Place) -> None:
    assert save(place, b"") == kept_of(b"")
    assert place.find(FOLDER, NAME) == kept_of(b"")


def test_what_is_there_is_gone_on_from(place: Place) -> None:
    with place.part(FOLDER, 0) as part:
        part.begin(NAME)
        part.write(b"abc")
    with place.part(FOLDER, 0) as part:
        assert part.size == 3
        part.begin(NAME, offset=3)
        part.write(b"def")
        assert part.commit() == kept_of(b"abcdef")
    assert place.find(FOLDER, NAME) == kept_of(b"abcdef")


def test_a_source_that_begins_anew_is_written_anew(place: Place) -> None:
    with place.part(FOLDER, 0) as part:
        part.begin("000-old.png")
        part.write(b"something longer")
        part.begin(NAME)
        assert part.size == 0
        part.write(b"abc")
        part.begin(NAME, offset=3)
        part.write(b"def")
        assert part.commit() == kept_of(b"abcdef")
    assert place.files(FOLDER) == [NAME]


def test_a_part_goes_on_nowhere_but_at_its_end(place: Place) -> None:
    with place.part(FOLDER, 0) as part:
        with pytest.raises(ValueError, match="not begun"):
            part.write(b"abc")
        with pytest.raises(ValueError, match="not begun"):
            part.commit()
        part.begin(NAME)
        part.write(b"abc")
        for offset in (-1, 2, 4):
            with pytest.raises(ValueError, match="cannot go on"):
                part.begin(NAME, offset=offset)
        part.commit()
        with pytest.raises(ValueError, match="not begun"):
            part.write(b"abc")


def test_a_part_that_was_written_before_the_machine_started_is_not_trusted(local: Place, directory: Path) -> None:
    """A power cut leaves the size of a file, and zeros for what never reached the disk."""
    with local.part(FOLDER, 0) as part:
        part.begin(NAME)
        part.write(bytes(100))
    os.utime(directory / "cometapi/x1/000.part", (1_000_000_000, 1_000_000_000))
    with local.part(FOLDER, 0) as part:
        assert part.size == 0


@pytest.mark.parametrize("begun", [False, True])
def test_what_holds_nothing_does_not_stay(local: Place, directory: Path, begun: bool) -> None:
    with local.part(FOLDER, 0) as part:
        if begun:
            part.begin(NAME)
    assert list(directory.iterdir()) == []


def test_what_is_discarded_is_gone_and_its_folder_too(local: Place, directory: Path) -> None:
    with local.part(FOLDER, 0) as part:
        part.begin(NAME)
        part.write(b"abc")
        part.discard()
    assert list(directory.iterdir()) == []


def test_files_of_several_numbers_do_not_touch_each_other(place: Place) -> None:
    with place.part(FOLDER, 0) as one, place.part(FOLDER, 1) as other:
        one.begin(NAME)
        other.begin("001-out.png")
        one.write(b"one")
        other.write(b"other")
        other.discard()
        one.commit()
    assert place.files(FOLDER) == [NAME]


def test_a_part_whose_writing_to_the_disk_failed_is_not_gone_on_from(
    local: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: int) -> None:
        raise OSError(5, "Input/output error")

    with local.part(FOLDER, 0) as part:
        part.begin(NAME)
        part.write(b"abc")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing)
            with pytest.raises(PlaceError, match="Input/output error"):
                part.commit()
    with local.part(FOLDER, 0) as part:
        assert part.size == 0


# --- looking after it --------------------------------------------------------------------------------------------


def test_what_was_put_is_read_up_to_a_size(place: Place) -> None:
    place.put(FOLDER, "manifest.json", b"old")
    place.put(FOLDER, "manifest.json", b"{}")
    assert place.read(FOLDER, "manifest.json", max_size=2) == b"{}"
    assert place.read(FOLDER, "manifest.json", max_size=1) is None
    assert place.read(FOLDER, "other", max_size=1) is None


def test_a_folder_goes_with_its_last_file_and_what_is_not_ours_stays(local: Place, directory: Path) -> None:
    other = folder_of(Key("cometapi", "x2"))
    save(local, b"abc")
    local.put(FOLDER, "manifest.json", b"{}")
    save(local, b"abc", folder=other)
    (directory / "cometapi/x2/notes.txt").write_bytes(b"mine")
    local.delete(FOLDER, NAME)
    local.delete(FOLDER, NAME)
    assert local.files(FOLDER) == ["manifest.json"]
    local.delete(FOLDER, "manifest.json")
    local.delete(other, NAME)
    assert content_below(directory) == {"cometapi/x2/notes.txt": b"mine"}
    assert list(local.folders()) == [other]


def test_the_folders_of_predictions_are_listed_and_nothing_else(local: Place, directory: Path) -> None:
    folders = [folder_of(Key(*key)) for key in (("cometapi", "x1"), ("cometapi", "x2"), ("..", "x1"))]
    for folder in folders:
        save(local, b"abc", folder=folder)
    (directory / "lost+found/x").mkdir(parents=True)
    (directory / "cometapi/no id").mkdir()
    (directory / "cometapi/file").write_bytes(b"")
    (directory / "file").write_bytes(b"")
    assert sorted(local.folders()) == sorted(folders)


def test_a_folder_of_somebody_elses_is_not_even_looked_into(
    local: Place, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may look into it, so that a real one would prove nothing."""
    (directory / "lost+found").mkdir()
    save(local, b"abc")
    scandir = os.scandir

    def closed(path: Path) -> object:
        if path.name == "lost+found":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert list(local.folders()) == [FOLDER]


def test_a_folder_that_is_deleted_as_it_is_entered_is_made_again(
    local: Place, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = files.take
    entered = []

    def late(*arguments: Any, **named: Any) -> int:
        entered.append(arguments)
        if len(entered) == 1:
            (directory / "cometapi/x1").rmdir()
        return take(*arguments, **named)

    monkeypatch.setattr(files, "take", late)
    assert save(local, b"abc") == kept_of(b"abc")
    assert len(entered) == 2


def test_another_files_name_is_left_to_it_and_its_own_is_taken_for_it(place: Place) -> None:
    save(place, b"abc")
    assert save(place, b"abc") == kept_of(b"abc")
    for other in (b"abd", b"abcd", b""):
        with pytest.raises(PlaceError, match="another file is in its place; move that away"):
            save(place, other)
        assert place.find(FOLDER, NAME) == kept_of(b"abc")
    with place.part(FOLDER, 0) as part:
        part.discard()
    assert place.files(FOLDER) == [NAME]


@pytest.mark.parametrize("name", ["000-\u00e9t\u00e9+=@, 1.png", "001-\u732b.webp", "002-a%20b"])
@pytest.mark.parametrize("api", ["cometapi", "..", "\u732b"])
def test_names_of_every_kind_are_kept_as_they_are(place: Place, api: str, name: str) -> None:
    folder = folder_of(Key(api, "x-1_2"))
    assert save(place, b"abc", name, folder) == kept_of(b"abc")
    assert (place.find(folder, name), place.files(folder)) == (kept_of(b"abc"), [name])
    assert list(place.folders()) == [folder]
    place.delete(folder, name)
    assert (place.find(folder, name), place.files(folder), list(place.folders())) == (None, [], [])


def test_what_is_there_is_deleted_whatever_it_is(place: Place) -> None:
    save(place, b"abc")
    place.put(FOLDER, "manifest.json", b"{}")
    with place.part(FOLDER, 1) as part:
        part.begin("001-x")
        part.write(b"abc")
    assert place.files(FOLDER) == [NAME, "001.part", "manifest.json"]
    for name in (*place.files(FOLDER), "never.there"):
        place.delete(FOLDER, name)
    assert (place.files(FOLDER), list(place.folders())) == ([], [])


def test_names_that_lead_elsewhere_are_a_mistake(place: Place) -> None:
    for name in ("", "..", "a/b"):
        for attempt in (place.find, place.delete, place.size_of):
            with pytest.raises(ValueError, match="not the name of a file"):
                attempt(FOLDER, name)


def test_folders_that_come_and_go_at_once_lose_no_file(place: Place) -> None:
    rounds = 200 if isinstance(place, LocalDirectory) else 5
    errors: list[BaseException] = []

    def come_and_go(number: int) -> None:
        try:
            for _ in range(rounds):
                with place.part(FOLDER, number) as part:
                    part.begin(f"{number:03d}-x")
                    part.write(b"abc")
                    part.commit()
                place.put(FOLDER, "manifest.json", b"{}")
                assert place.find(FOLDER, f"{number:03d}-x") == kept_of(b"abc")
                place.delete(FOLDER, f"{number:03d}-x")
                place.delete(FOLDER, "manifest.json")
        except BaseException as error:  # noqa: BLE001 - a thread's failure is the test's
            errors.append(error)

    threads = [threading.Thread(target=come_and_go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(place.folders()) == []


chunks = st.lists(st.binary(max_size=50), max_size=6)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), chunks), max_size=4), chunks)
def test_however_often_it_is_interrupted_a_file_is_what_was_written(
    place: Place, tries: list[tuple[bool, list[bytes]]], last: list[bytes]
) -> None:
    expected = b""
    for anew, written in [*tries, (False, last)]:
        with place.part(FOLDER, 0) as part:
            assert part.size == len(expected)
            part.begin(NAME, offset=0 if anew else part.size)
            expected = b"" if anew else expected
            for chunk in written:
                part.write(chunk)
                expected += chunk
            if written is last:
                assert part.commit() == kept_of(expected)
    assert place.read(FOLDER, NAME, max_size=10_000) == expected
    place.delete(FOLDER, NAME)
