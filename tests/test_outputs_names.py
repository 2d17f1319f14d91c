"""What files are called: nothing that a provider writes into a URL leads out of the folder, or means something else."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config.values import ID_PATTERN, NAME_PATTERN
from notifier.model import Key
from notifier.outputs.content_types import extension, likely_type
from notifier.outputs.names import (
    MANIFEST,
    Folder,
    file_name,
    folder_of,
    is_file_name,
    is_folder,
    part_name,
)

HOST = "https://a.example"


@pytest.mark.parametrize(
    ("path", "content_type", "name"),
    [
        ("/x/out-0.png", None, "out-0.png"),
        ("/x/out-0.png?sig=a.mp4#b.gif", "image/webp", "out-0.png"),
        ("/x/OUT.PNG", None, "OUT.PNG"),
        ("/x/out", "image/png", "out.png"),
        ("/x/out", "Image/PNG; name=a.gif", "out.png"),
        ("/x/out", "application/octet-stream", "out"),
        ("/x/out", None, "out"),
        ("/x/v1.5", "video/mp4", "v1.5.mp4"),
        ("/x/a.7z", "image/png", "a.7z"),
        ("/x/a.tar.gz", None, "a.tar.gz"),
        ("/x/a.png/", None, "a.png"),
        ("", "image/png", "output.png"),
        ("/", "image/png", "output.png"),
        ("/.png", None, "output.png"),
        ("/???", "image/png", "output.png"),
        ("/%3F%3F.png", None, "output.png"),
        ("/..", None, "output"),
        ("/%2e%2e", None, "output"),
        ("/..%2f..%2fetc%2fpasswd", None, "etc_passwd"),
        ("/..%5C..%5Cboot.ini", None, "boot.ini"),
        ("/%252e%252e%252fa.png", None, "2e_2e_2fa.png"),
        ("/a%00.png%0a", None, "a.png"),
        ("/%2D-help.png", None, "help.png"),
        ("/.htaccess", None, "output.htaccess"),
        ("/...a.png...", None, "a.png"),
        ("/my%20cat%20(1).png", None, "my_cat_1.png"),
        ("/my+cat.png", None, "my+cat.png"),
        ("/$(rm -rf);`x`|&.png", None, "rm_-rf_x.png"),
        ("/a:b*c<d>e|f\"g'h.png", None, "a_b_c_d_e_f_g_h.png"),
        ("/CON.png", None, "CON.png"),
        ("/caf%C3%A9.png", None, "café.png"),
        ("/cafe%CC%81.png", None, "café.png"),
        ("/e%E2%80%8D%CC%81.png", None, "é.png"),
        ("/caf%E9.png", None, "caf.png"),
        ("/%E2%80%AEgnp.exe", None, "gnp.exe"),
        ("/%EF%BB%BFa.png", None, "a.png"),
        ("/a%E2%81%84b%E2%88%95c.png", None, "a_b_c.png"),
        ("/%E7%8C%AB.png", None, "猫.png"),
        ("/%F0%9F%90%88.png", None, "🐈.png"),
        ("/\ud800a.png", None, "a.png"),
        ("/a;type=png", "image/png", "a_type=png.png"),
    ],
)
def test_a_name_is_the_urls_made_harmless(path: str, content_type: str | None, name: str) -> None:
    assert file_name(0, HOST + path, content_type) == f"000-{name}"


@pytest.mark.parametrize("url", ["data:image/png;base64,/a/b.gif", "DATA:image/png,x", "https://[", ""])
def test_what_has_no_name_gets_one(url: str) -> None:
    assert file_name(7, url, "image/png") == "007-output.png"


def test_names_sort_as_their_numbers_do_and_tell_them_apart() -> None:
    names = [file_name(n, f"{HOST}/out-0.png") for n in range(1000)]
    assert names == sorted(set(names))
    assert file_name(1000, f"{HOST}/out-0.png") == "1000-out-0.png"
    with pytest.raises(ValueError, match="0 or more"):
        file_name(-1, HOST)


@pytest.mark.parametrize("letter", ["x", "ü", "猫", "🐈", "e\u0323\u0301"])
def test_a_long_name_keeps_its_extension_and_whole_characters(letter: str) -> None:
    name = file_name(0, f"{HOST}/{quote(letter * 300)}.safetensors", None)
    assert name.endswith(".safetensors")
    assert 94 <= len(name.encode()) <= 100
    whole = unicodedata.normalize("NFC", letter * 300)
    assert whole.startswith(name.removeprefix("000-").removesuffix(".safetensors"))


def test_no_file_is_ever_called_as_the_manifest_or_as_an_unfinished_one() -> None:
    assert part_name(0) == "000.part"
    assert file_name(0, f"{HOST}/{MANIFEST}") != MANIFEST
    assert file_name(0, f"{HOST}/.part") != part_name(0)
    assert not is_file_name(MANIFEST)
    assert not is_file_name(part_name(0))


RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.I)
paths = (
    st.text(max_size=300)
    | st.text(max_size=300).map(lambda text: quote(text, errors="replace"))
    | st.lists(st.sampled_from(["..", "/", "%2f", "%2e", ".", "\\", "-", "~", "\x00", "é", "e\u0301", ".png", "con"]))
    .map("".join)
)  # fmt: skip
content_types = st.none() | st.sampled_from(["image/png", "text/html; charset=x", "x/y", "/", ";", "+"]) | st.text()


@given(st.integers(0, 5000), paths, content_types)
def test_whatever_the_url_is_its_name_stays_in_the_folder_and_means_nothing_else(
    number: int, path: str, content_type: str | None
) -> None:
    name = file_name(number, f"{HOST}/{path}", content_type)
    assert (Path("/folder") / name).parent == Path("/folder")
    assert 0 < len(name.encode()) <= 100
    assert name.isprintable()
    assert not set(name) & set("/\\:*?\"<>|$`&;!'(){}[]~# \t\n")
    assert name.startswith(f"{number:03d}-")
    assert not name.endswith((".", " ", "-", "_"))
    assert not RESERVED.fullmatch(name)
    assert unicodedata.is_normalized("NFC", name)
    assert is_file_name(name)


@given(paths, paths, st.integers(0, 999), st.integers(0, 999))
def test_two_numbers_never_have_the_same_name_even_where_case_is_the_same(
    one: str, other: str, first: int, second: int
) -> None:
    names = file_name(first, f"{HOST}/{one}").lower(), file_name(second, f"{HOST}/{other}").lower()
    assert first == second or names[0] != names[1]


@given(st.text(max_size=120) | st.text(max_size=60).map("000-".__add__))
def test_only_what_it_makes_itself_is_taken_for_a_name(name: str) -> None:
    if is_file_name(name):
        assert (Path("/folder") / name).parent == Path("/folder")
        assert name.isprintable()


@pytest.mark.parametrize(
    "name", ["../x", "000-../x", "000-", "000", "x-a.png", "\u0660\u0660\u0660-a.png", "000-a/b", "000-.a", "00-a"]
)
def test_names_from_elsewhere_are_refused(name: str) -> None:
    assert not is_file_name(name)


# --- extensions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("image/jpeg", "jpg"),
        ("image/svg+xml", "svg"),
        ("video/mp4;codecs=avc1", "mp4"),
        (" Audio/MPEG ", "mp3"),
        ("model/gltf-binary", "glb"),
        ("application/json", "json"),
        ("application/ld+json", "json"),
        ("application/vnd.x+zip", "zip"),
        ("text/plain; charset=utf-8", "txt"),
        ("application/octet-stream", None),
        ("binary/octet-stream", None),
        ("json", None),
        ("", None),
        (None, None),
    ],
)
def test_a_content_type_has_its_extension(content_type: str | None, expected: str | None) -> None:
    assert extension(content_type) == expected


# --- folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "folder"),
    [
        ("cometapi", "cometapi"),
        ("my.api-2_x", "my.api-2_x"),
        ("über", "über"),
        ("..", "%.."),
        (".", "%."),
        (".hidden", "%.hidden"),
        ("-rf", "%-rf"),
    ],
)
def test_an_accounts_folder_is_called_as_it_is_save_what_would_lead_elsewhere(api: str, folder: str) -> None:
    assert str(folder_of(Key(api, "x-1"))) == f"{folder}/x-1"


@given(st.from_regex(NAME_PATTERN, fullmatch=True), st.from_regex(ID_PATTERN, fullmatch=True))
def test_every_key_that_the_configuration_lets_through_has_a_folder_below_the_directory(api: str, id_: str) -> None:
    folder = folder_of(Key(api, id_))
    assert (Path("/directory") / folder.api / folder.id).resolve().parent.parent == Path("/directory")
    assert not folder.api.startswith((".", "-"))
    assert len(folder.api.encode()) <= 255
    assert is_folder(folder)


@given(st.from_regex(NAME_PATTERN, fullmatch=True), st.from_regex(NAME_PATTERN, fullmatch=True))
def test_two_accounts_never_share_a_folder(one: str, other: str) -> None:
    folders = [unicodedata.normalize("NFC", folder_of(Key(api, "x")).api) for api in (one, other)]
    assert one == other or folders[0] != folders[1]


def test_accounts_that_a_file_system_may_hold_for_one_do_not_share_a_folder() -> None:
    ring, angstrom = "\u00c5", "\u212b"
    assert folder_of(Key(ring, "x")).api == ring
    assert folder_of(Key(angstrom, "x")).api.startswith("%")
    assert len(folder_of(Key("\U0001d538" * 64, "x")).api) == 65


@pytest.mark.parametrize(
    "key", [("", "x"), ("a/b", "x"), ("a", ""), ("a", ".."), ("a", "x/y"), ("a", "x\n"), ("%", "x")]
)
def test_no_other_key_has_a_folder(key: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="not a key"):
        folder_of(Key(*key))


@pytest.mark.parametrize(
    "folder", [("..", "x/y"), ("a/b", "x"), ("a", ".."), ("", "x"), ("%", ""), ("lost+found", "x")]
)
def test_folders_from_elsewhere_are_refused(folder: tuple[str, str]) -> None:
    assert not is_folder(Folder(*folder))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("000-out.png", "image/png"),
        ("001-a.JPG", "image/jpeg"),
        ("002-a.mp3", "audio/mpeg"),
        ("003-a.wav", "audio/wav"),
        ("004-a.mp4", "video/mp4"),
        ("005-a.qqq", None),
        ("006-png", None),
    ],
)
def test_a_name_tells_the_likely_type(name: str, kind: str | None) -> None:
    assert likely_type(name) == kind
