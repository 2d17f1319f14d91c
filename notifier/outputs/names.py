"""What the files of a prediction are called, and where they stand: plain functions, which look at no disk.

`<api>/<prediction-id>/<n>-<name>`, and beside them `manifest.json` and, while a file is on its way, `<n>.part`.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from notifier.model import Key
from notifier.outputs.content_types import extension

MANIFEST = "manifest.json"
MAX_NAME = 100
"""Bytes of UTF-8 that a file's whole name has at most."""
DEFAULT_NAME = "output"
_MAX_FOLDER = 200
"""Bytes that an account's folder has at most; a file system's limit is 255."""

_API = re.compile(r"[\w.-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""As the configuration has them."""
_EXTENSION = re.compile(r"(?=[0-9]*[a-z])[a-z0-9]{1,12}", re.I)
"""`7z` is one; in `v1.5`, the 5 is none."""
_KEPT_CATEGORIES = ("L", "M", "N", "So")
"""Of Unicode: letters, their marks, digits, and what emoji are."""
_KEPT = frozenset("-._+=@,")
_EDGES = "._-"
"""What a name neither begins nor ends with."""


class Folder(NamedTuple):
    """A prediction's folder in a place: two names that lead nowhere else. Made by `folder_of`."""

    api: str
    id: str

    def __str__(self) -> str:
        return f"{self.api}/{self.id}"


def folder_of(key: Key) -> Folder:
    """The folder of a prediction: of each its own.

    It is called as the account is, with `%` before what would be hidden or lead elsewhere (`..`), which no account's
    name holds. Raises ValueError for a key that no configuration lets through.
    """
    if not _API.fullmatch(key.api) or not _ID.fullmatch(key.id):
        raise ValueError(f"not a key of a prediction: {tuple(key)!r}")
    name = f"%{key.api}" if key.api.startswith((".", "-")) else key.api
    if len(name.encode()) > _MAX_FOLDER or unicodedata.normalize("NFC", name) != name:
        # Two names that only a file system holds for one would share a folder.
        name = "%" + hashlib.sha256(key.api.encode()).hexdigest()
    return Folder(name, key.id)


def is_api_folder(name: str) -> bool:
    """Whether it may be an account's folder."""
    return re.fullmatch(r"%?[\w.-]+", name) is not None and name not in (".", "..")


def is_folder(folder: Folder) -> bool:
    """Whether `folder_of` may have made it."""
    return is_api_folder(folder.api) and _ID.fullmatch(folder.id) is not None


def part_name(number: int) -> str:
    """What an unfinished file is called: before its headers came, nobody knows how its name will end."""
    return f"{_prefix(number)}.part"


def file_name(number: int, url: str, content_type: str | None = None) -> str:
    """`007-cat.png`: the name for the file of that number, counted from 0 as the output is.

    The same for the same arguments, different for different numbers, and sorted as they are below 1,000. It is
    printable, in Unicode's composed form, at most 100 bytes long, and begins with a digit: it is hidden nowhere, is no
    option to any command and none of the names that Windows keeps for itself. The name in the URL's path is decoded
    once. The extension is the URL's, else the content type's, else there is none.
    """
    stem, suffix = _split(_printable(_last_segment(url)))
    if not suffix and (known := extension(content_type)):
        suffix = f".{known}"
    prefix = f"{_prefix(number)}-"
    return prefix + _cut(stem or DEFAULT_NAME, MAX_NAME - len(prefix) - len(suffix)) + suffix


def is_file_name(name: str) -> bool:
    """Whether `file_name` may have made it: it makes every such name of itself again."""
    number, _, rest = name.partition("-")
    if len(name) > MAX_NAME or not re.fullmatch("[0-9]{3,9}", number):
        return False
    return file_name(int(number), quote(rest, safe="", errors="replace")) == name


def _prefix(number: int) -> str:
    if number < 0:
        raise ValueError(f"an output's number is 0 or more, not {number}")
    return f"{number:03d}"


def _last_segment(url: str) -> str:
    if url[:5].lower() == "data:":
        return ""
    try:
        path = urlsplit(url).path
    except ValueError:
        return ""
    return unquote(path.rstrip("/").rpartition("/")[2])


def _printable(text: str) -> str:
    """The text without what might mean something to a file system, a terminal or a shell."""
    kept = "".join(map(_kept, text[-1000:]))
    return re.sub("_{2,}", "_", unicodedata.normalize("NFC", kept))  # last: what kept two from composing may be gone


def _kept(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "C":
        return ""  # controls, marks of direction, halves of characters, and what Unicode does not know
    if character == "\ufffd":
        return "_"  # bytes that were no UTF-8
    return character if character in _KEPT or category.startswith(_KEPT_CATEGORIES) else "_"


def _split(name: str) -> tuple[str, str]:
    """The name and its extension with the dot, either of them empty if there is none."""
    name = name.rstrip(_EDGES)
    stem, dot, ending = name.rpartition(".")
    if dot and _EXTENSION.fullmatch(ending):
        return stem.strip(_EDGES), f".{ending}"
    return name.strip(_EDGES), ""


def _cut(text: str, size: int) -> str:
    """The beginning of the text: at most that many bytes, and whole characters."""
    return text.encode()[:size].decode("utf-8", "ignore").rstrip(_EDGES)
