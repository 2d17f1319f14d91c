"""The directory of the outputs itself: missing, read-only or full, which is said with the way out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from notifier.errors import PlaceError, PlaceFullError
from notifier.outputs.directory import LocalDirectory
from tests.place_files import FOLDER, NAME, kept_of, save
from tests.standins.disk import SmallDisk


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


def test_a_directory_that_does_not_exist_is_made_but_not_the_one_above_it(tmp_path: Path) -> None:
    place = LocalDirectory(tmp_path / "outputs")
    assert (place.find(FOLDER, NAME), place.files(FOLDER), list(place.folders())) == (None, [], [])
    place.delete(FOLDER, NAME)
    assert not (tmp_path / "outputs").exists()
    save(place, b"abc")
    assert stat.S_IMODE((tmp_path / "outputs").stat().st_mode) == 0o700
    unmounted = LocalDirectory(tmp_path / "disk" / "outputs")
    for attempt in (unmounted.prepare, lambda: save(unmounted, b"abc"), unmounted.free):
        with pytest.raises(PlaceError, match="No such file or directory; make the folder above it, or give `outputs"):
            attempt()
    assert not (tmp_path / "disk").exists()


def test_a_directory_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    LocalDirectory(tmp_path).prepare()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert list(tmp_path.iterdir()) == []


def test_the_directory_itself_may_be_a_link(tmp_path: Path, directory: Path) -> None:
    (tmp_path / "disk").mkdir()
    directory.symlink_to(tmp_path / "disk")
    save(LocalDirectory(directory), b"abc")
    assert (tmp_path / "disk/cometapi/x1" / NAME).read_bytes() == b"abc"


def test_a_directory_that_is_a_file_is_said(directory: Path) -> None:
    directory.write_bytes(b"")
    with pytest.raises(PlaceError, match="outputs: File exists; move away what is in its place"):
        LocalDirectory(directory).prepare()


def test_a_directory_that_is_taken_away_is_made_again(directory: Path) -> None:
    place = LocalDirectory(directory)
    place.prepare()
    directory.rmdir()
    assert save(place, b"abc") == kept_of(b"abc")


def test_a_read_only_disk_is_said_with_the_way_out(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", "1M") as disk:
        place = LocalDirectory(disk.inside / "outputs")
        place.prepare()
        save(place, b"abc")
        disk.make_read_only()
        attempts: list[Callable[[], object]] = [
            place.prepare,
            lambda: place.part(FOLDER, 1),
            lambda: place.put(FOLDER, "manifest.json", b"{}"),
            lambda: place.delete(FOLDER, NAME),
        ]
        for attempt in attempts:
            with pytest.raises(PlaceError, match=r"Read-only file system; mount it writable, or give `outputs\.dir"):
                attempt()
        assert place.find(FOLDER, NAME) == kept_of(b"abc")


def test_a_full_disk_is_an_error_of_its_own_and_what_was_written_is_gone_on_from(tmp_path: Path) -> None:
    with SmallDisk(tmp_path / "disk", "1M") as disk:
        place = LocalDirectory(disk.inside / "outputs")
        place.put(FOLDER, "manifest.json", b"{}")
        content = os.urandom(300_000)
        with place.part(FOLDER, 0) as part:
            part.begin(NAME)
            part.write(content[:100_000])
            disk.fill()
            assert place.free() == 0
            with pytest.raises(
                PlaceFullError, match=r"000\.part: No space left on device; free some space on the disk"
            ):
                part.write(content[100_000:])
            assert 100_000 <= part.size < len(content)
        with pytest.raises(PlaceFullError):
            place.put(FOLDER, "manifest.json", bytes(50_000))
        assert place.read(FOLDER, "manifest.json", max_size=10) == b"{}"
        assert place.files(FOLDER) == ["000.part", "manifest.json"]
        disk.make_room()
        assert place.free() > 500_000
        with place.part(FOLDER, 0) as part:
            part.begin(NAME, offset=part.size)
            part.write(content[part.size :])
            assert part.commit() == kept_of(content)
        assert place.find(FOLDER, NAME) == kept_of(content)
