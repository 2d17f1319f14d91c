"""What was planted where files are kept: nothing is written through it, read through it or over it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from notifier.errors import PlaceError
from notifier.outputs.names import Folder
from notifier.outputs.places import Place
from tests.place_files import FOLDER, NAME, content_below, kept_of, prepared, save


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def place(directory: Path) -> Iterator[Place]:
    with prepared(directory) as place:
        yield place


def test_a_file_of_the_same_name_and_content_is_taken_for_this_one(place: Place) -> None:
    save(place, b"abc")
    assert save(place, b"abc") == kept_of(b"abc")
    assert place.files(FOLDER) == [NAME]


def plant_file(path: Path, _: Path) -> None:
    path.write_bytes(b"somebody's")


def plant_link_to_file(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "victim")


def plant_link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "new")


def plant_hard_link(path: Path, outside: Path) -> None:
    path.hardlink_to(outside / "victim")


def plant_pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def plant_socket(path: Path, _: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        here = os.open(path.parent, os.O_RDONLY)  # the whole path is too long for a socket's address
        try:
            listener.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)


def plant_folder(path: Path, _: Path) -> None:
    path.mkdir()


Plant = Callable[[Path, Path], None]
PLANTS = [
    plant_file,
    plant_link_to_file,
    plant_link_to_nothing,
    plant_hard_link,
    plant_pipe,
    plant_socket,
    plant_folder,
]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder with a file that nobody may touch."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"victim")
    yield outside
    assert content_below(outside) == {"victim": b"victim"}


@pytest.mark.parametrize("plant", PLANTS)
def test_nothing_that_has_the_name_already_is_overwritten(
    place: Place, directory: Path, outside: Path, plant: Plant
) -> None:
    place.put(FOLDER, "manifest.json", b"{}")
    planted = directory / "cometapi/x1" / NAME
    plant(planted, outside)
    before = planted.lstat()
    with pytest.raises(PlaceError, match=r"000-out\.png: another file is in its place; move that away"):
        save(place, b"abc")
    assert (planted.lstat().st_ino, planted.lstat().st_mtime) == (before.st_ino, before.st_mtime)
    assert place.files(FOLDER) == [NAME, "000.part", "manifest.json"]


@pytest.mark.parametrize("plant", PLANTS[1:-1])
def test_a_part_is_never_written_through_what_was_planted(
    place: Place, directory: Path, outside: Path, plant: Plant
) -> None:
    place.put(FOLDER, "manifest.json", b"{}")
    plant(directory / "cometapi/x1/000.part", outside)
    with place.part(FOLDER, 0) as part:
        assert part.size == 0
    save(place, b"abc")
    assert place.find(FOLDER, NAME) == kept_of(b"abc")


@pytest.mark.parametrize("plant", PLANTS[:-1])
def test_putting_replaces_what_was_planted_and_writes_through_nothing(
    place: Place, directory: Path, outside: Path, plant: Plant
) -> None:
    place.put(FOLDER, "manifest.json", b"{}")
    for name in ("manifest.json", "manifest.json.part"):
        (directory / "cometapi/x1" / name).unlink(missing_ok=True)
        plant(directory / "cometapi/x1" / name, outside)
    place.put(FOLDER, "manifest.json", b"[]")
    assert place.read(FOLDER, "manifest.json", max_size=2) == b"[]"
    assert place.files(FOLDER) == ["manifest.json"]


@pytest.mark.parametrize("plant", PLANTS[1:])
def test_what_is_no_file_of_ours_is_not_found(place: Place, directory: Path, outside: Path, plant: Plant) -> None:
    place.put(FOLDER, "manifest.json", b"{}")
    plant(directory / "cometapi/x1" / NAME, outside)
    if plant is not plant_hard_link:  # which is a file, and may be read
        assert place.find(FOLDER, NAME) is None
        assert place.size_of(FOLDER, NAME) is None
        assert place.read(FOLDER, NAME, max_size=100) is None
    if plant is not plant_folder:
        place.delete(FOLDER, NAME)
        assert place.files(FOLDER) == ["manifest.json"]


@pytest.mark.parametrize("where", ["cometapi", "cometapi/x1"])
@pytest.mark.parametrize("plant", PLANTS[:-1])
def test_a_folder_that_leads_elsewhere_is_not_entered(
    place: Place, directory: Path, outside: Path, plant: Plant, where: str
) -> None:
    (directory / where).parent.mkdir(exist_ok=True)
    if plant in (plant_link_to_file, plant_link_to_nothing):
        (directory / where).symlink_to(outside)
    else:
        plant(directory / where, outside)
    attempts: list[Callable[[], object]] = [
        lambda: save(place, b"abc"),
        lambda: place.put(FOLDER, NAME, b"abc"),
        lambda: place.find(FOLDER, NAME),
        lambda: place.read(FOLDER, NAME, max_size=100),
        lambda: place.delete(FOLDER, "victim"),
        lambda: place.files(FOLDER),
    ]
    for attempt in attempts:
        with pytest.raises(PlaceError, match="Not a directory; move away what is in its place"):
            attempt()
    assert list(place.folders()) == []


def test_a_folder_in_the_place_of_a_part_is_said(place: Place, directory: Path) -> None:
    (directory / "cometapi/x1/000.part").mkdir(parents=True)
    with pytest.raises(PlaceError, match=r"000\.part: Is a directory; move away what is in its place"):
        place.part(FOLDER, 0)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/x", "a/b", "a\0"])
def test_a_name_that_leads_elsewhere_is_our_own_mistake(place: Place, directory: Path, name: str) -> None:
    with place.part(FOLDER, 0) as part, pytest.raises(ValueError, match="not the name"):
        part.begin(name)
    for folder in (Folder(name, "x"), Folder("x", name)):
        with pytest.raises(ValueError, match="not the name"):
            place.part(folder, 0)
    with pytest.raises(ValueError, match="not the name"):
        place.put(FOLDER, name, b"")
    with pytest.raises(ValueError, match="not the name"):
        place.delete(FOLDER, name)
    assert content_below(directory.parent) == {}


def test_another_who_wants_the_same_part_is_refused_until_it_is_closed(place: Place) -> None:
    with place.part(FOLDER, 0) as part:
        part.begin(NAME)
        part.write(b"abc")
        with pytest.raises(PlaceError, match=r"000\.part: another process is writing it"):
            place.part(FOLDER, 0)
        part.write(b"def")
    with place.part(FOLDER, 0) as part:
        assert part.size == 6
