"""What stands beside a prediction's files: readable for people, and survived in any state."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.errors import PlaceError
from notifier.model import FileState, Key
from notifier.outputs import Entry, LocalDirectory, Manifest, Manifests, folder_of
from notifier.outputs.manifest import loads, merge

KEY = Key("cometapi", "x1")
NOW = 1_795_600_000.0
SHA256 = "ab" * 32
SAVED = Entry(
    0, "000-out.png", "https://a.example/out.png", FileState.SAVED, 3, SHA256, "image/png", '"v1"', NOW - 5, None
)
LOST = Entry(1, None, "https://a.example/ü.mp4", FileState.LOST, reason="HTTP 404 Not Found")
MANIFEST = Manifest(KEY, NOW, (SAVED, LOST))


def test_a_manifest_is_written_for_people_and_programs() -> None:
    text = MANIFEST.dumps().decode()
    assert "ü.mp4" in text
    assert json.loads(text) == {
        "prediction": "x1",
        "api": "cometapi",
        "written_at": "2026-11-25T09:46:40Z",
        "files": [
            {
                "number": 0,
                "name": "000-out.png",
                "url": "https://a.example/out.png",
                "state": "saved",
                "size": 3,
                "sha256": SHA256,
                "content_type": "image/png",
                "etag": '"v1"',
                "saved_at": "2026-11-25T09:46:35Z",
                "reason": None,
            },
            {
                "number": 1,
                "name": None,
                "url": "https://a.example/ü.mp4",
                "state": "lost",
                "size": None,
                "sha256": None,
                "content_type": None,
                "etag": None,
                "saved_at": None,
                "reason": "HTTP 404 Not Found",
            },
        ],
    }


entries = st.builds(
    Entry,
    number=st.integers(0, 999),
    name=st.sampled_from([None, "007-a.png", "1000-é"]),
    url=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    state=st.sampled_from([FileState.WAITING, FileState.LOST, FileState.REMOVED]),
    size=st.none() | st.integers(0, 2**40),
    sha256=st.sampled_from([None, SHA256]),
    content_type=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    etag=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    saved_at=st.none() | st.integers(0, 2**33).map(float),
    reason=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
)


@given(st.lists(entries, max_size=5, unique_by=lambda entry: entry.number))
def test_what_was_written_is_read(found: list[Entry]) -> None:
    manifest = Manifest(KEY, NOW, tuple(sorted([*found], key=lambda entry: entry.number)))
    assert loads(manifest.dumps(), KEY) == manifest


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_raise(content: bytes) -> None:
    loads(content, KEY)


JSON = MANIFEST.dumps()


@given(st.integers(0, len(JSON) - 1), st.integers(0, 255), st.integers(0, len(JSON)))
def test_no_flipped_byte_and_no_end_make_it_raise_nor_a_file_be_taken_for_saved_that_is_not(
    at: int, byte: int, end: int
) -> None:
    content = bytearray(JSON)
    content[at] = byte
    for found in (loads(bytes(content), KEY), loads(bytes(content[:end]), KEY)):
        if found is not None:
            found.dumps()
            for entry in found.files:
                assert entry.state != FileState.SAVED or None not in (entry.name, entry.size, entry.sha256)
    assert end > len(JSON) - 2 or loads(JSON[:end], KEY) is None


ODD: list[dict[str, Any]] = [
    {"number": -1},
    {"number": True},
    {"number": "0"},
    {"number": 2**70},
    {"name": "../../etc/passwd"},
    {"name": "/etc/passwd"},
    {"name": "000-a/b"},
    {"name": 7},
    {"url": None},
    {"state": "kept"},
    {"state": ["saved"]},
    {"size": None},
    {"size": -1},
    {"sha256": "x"},
    {"sha256": None},
    {"saved_at": "yesterday"},
    {"saved_at": "0001-01-01T00:00:00+23:59"},
    {"saved_at": "9999-12-31T23:59:59-23:59"},
    {"saved_at": "2026-11-25T09:46:35"},
]


@pytest.mark.parametrize("change", ODD, ids=str)
def test_an_entry_that_is_damaged_is_left_out_and_the_others_are_not(change: dict[str, Any]) -> None:
    content = json.loads(JSON)
    content["files"][0] |= change
    found = loads(json.dumps(content).encode(), KEY)
    assert found == replace(MANIFEST, files=(LOST,))


@pytest.mark.parametrize(
    "change",
    [{"api": "other"}, {"prediction": "x2"}, {"prediction": None}, {"files": None}, {"files": {}}, {"written_at": 7}],
    ids=str,
)
def test_a_manifest_that_is_not_the_predictions_or_has_no_files_is_none(change: dict[str, Any]) -> None:
    assert loads(json.dumps(json.loads(JSON) | change).encode(), KEY) is None


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"[" * 100_000, b"9" * 5000, b"\xff", b'{"files": []}'])
def test_what_is_no_manifest_is_none(content: bytes) -> None:
    assert loads(content, KEY) is None


def test_what_an_output_has_no_more_stays_and_what_it_has_anew_is_added() -> None:
    again = replace(LOST, name="001-u.mp4", state=FileState.WAITING, reason=None)
    new = replace(LOST, number=2)
    merged = merge(MANIFEST, [new, again], KEY, NOW + 1)
    assert merged == Manifest(KEY, NOW + 1, (SAVED, again, new))
    assert merge(None, [LOST, SAVED], KEY, NOW) == MANIFEST


# --- in a place --------------------------------------------------------------------------------------------------


def test_a_manifest_stands_beside_the_files_and_is_added_to(tmp_path: Path) -> None:
    manifests = Manifests(LocalDirectory(tmp_path))
    assert manifests.read(KEY) is None
    assert manifests.update(KEY, [SAVED], NOW - 9) == Manifest(KEY, NOW - 9, (SAVED,))
    assert manifests.update(KEY, [LOST], NOW) == MANIFEST
    assert (tmp_path / "cometapi/x1/manifest.json").read_bytes() == MANIFEST.dumps()
    assert manifests.read(KEY) == MANIFEST


@pytest.mark.parametrize("content", [b"", b"{", JSON[:100], JSON.replace(b"x1", b"x2"), b"\xff" * 100])
def test_a_damaged_manifest_is_written_anew(tmp_path: Path, content: bytes) -> None:
    place = LocalDirectory(tmp_path)
    place.put(folder_of(KEY), "manifest.json", content)
    assert Manifests(place).update(KEY, [SAVED], NOW).files == (SAVED,)
    assert Manifests(place).read(KEY) == Manifest(KEY, NOW, (SAVED,))


def test_one_that_cannot_be_read_at_all_is_said_and_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "cometapi").write_bytes(b"somebody's")
    with pytest.raises(PlaceError, match="Not a directory"):
        Manifests(LocalDirectory(tmp_path)).update(KEY, [SAVED], NOW)


def test_lanes_that_note_at_once_lose_nothing(tmp_path: Path) -> None:
    manifests = Manifests(LocalDirectory(tmp_path))
    threads = [
        threading.Thread(target=manifests.update, args=(KEY, [replace(LOST, number=number)], NOW))
        for number in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = manifests.read(KEY)
    assert found is not None
    assert [entry.number for entry in found.files] == list(range(20))
