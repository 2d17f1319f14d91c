"""References to secrets: `${NAME}`, `${NAME:-default}`, `${file:/path}`, `${credential:name}`.

They may stand inside a longer text, and what they bring is taken as it is: nothing in it is looked at again. No
message says what a secret is, only where it should have come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from notifier.config.files import Content, UnreadableError
from notifier.config.wording import shown

MAX_BYTES = 64 * 2**10
"""A secret's file may be this long; a longer one is not a secret."""

FORMS = "${NAME}, ${NAME:-default}, ${file:/path} or ${credential:name}"

_REFERENCE = re.compile(r"\$\{((?:(?!\$\{)[^}\n])*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
Read = Callable[[Path], Content]
"""Reads a file, as `files.read` does."""

_CREDENTIAL = re.compile(r"(?!\.{1,2}$)[^/\x00]{1,255}")


@dataclass(frozen=True, slots=True)
class Fault:
    """A reference that brings nothing: the how many-th in its text (from 0), as it stands there, and why."""

    occurrence: int
    reference: str
    text: str


class _Unresolved(Exception):  # noqa: N818 - it never leaves this module
    """Why a reference brings nothing."""


def has_reference(text: str) -> bool:
    """Whether a secret is referred to, not written down."""
    return "${" in text


def expand(text: str, environ: Mapping[str, str], folder: Path, read: Read) -> tuple[str, list[Fault]]:
    """The text with every reference replaced, and the faults of those that cannot be; `read` reads the files.

    A relative `${file:path}` starts at `folder`. Blanks and line ends at the end of a file are not part of the secret.
    """
    parts: list[str] = []
    faults: list[Fault] = []
    end = 0
    for occurrence, match in enumerate(_REFERENCE.finditer(text)):
        parts.append(text[end : match.start()])
        end = match.end()
        try:
            parts.append(_resolve(match, environ, folder, read))
        except _Unresolved as unresolved:
            faults.append(Fault(occurrence, match.group(), str(unresolved)))
    return "".join(parts) + text[end:], faults


def _resolve(match: re.Match[str], environ: Mapping[str, str], folder: Path, read: Read) -> str:
    body = match[1]
    if not match[2]:
        raise _Unresolved(f"this reference has no end: write {FORMS}")
    if body.startswith("file:"):
        return _secret(folder / body.removeprefix("file:"), read)
    if body.startswith("credential:"):
        return _credential(body.removeprefix("credential:"), environ, read)
    if not (variable := _VARIABLE.fullmatch(body)):
        raise _Unresolved(f"this is no reference: write {FORMS}")
    value = environ.get(variable[1])
    if variable[2] is not None:
        return value or variable[2]
    if value is None:
        raise _Unresolved(f"the environment variable {variable[1]} is not set")
    return value


def _credential(name: str, environ: Mapping[str, str], read: Read) -> str:
    """A file in systemd's $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential=)."""
    if not _CREDENTIAL.fullmatch(name):
        raise _Unresolved("a credential's name is a file name, without slashes")
    if not (directory := environ.get("CREDENTIALS_DIRECTORY")):
        raise _Unresolved(
            f"the credential {name} cannot be had: the environment variable CREDENTIALS_DIRECTORY is not set, which "
            "systemd sets for a service that has LoadCredential= or SetCredential="
        )
    return _secret(Path(directory) / name, read)


def _secret(path: Path, read: Read) -> str:
    name = shown(str(path), 200)
    try:
        data = read(path).data
    except UnreadableError as error:
        raise _Unresolved(f"{name} {error}") from None
    if data is None or len(data) > MAX_BYTES:
        raise _Unresolved(f"{name} is longer than {MAX_BYTES // 2**10} KiB: that is no secret")
    try:
        secret = data.decode("utf-8").rstrip()
    except UnicodeDecodeError:
        raise _Unresolved(f"{name} is not UTF-8 text") from None
    if not secret:
        raise _Unresolved(f"{name} is empty")
    return secret
