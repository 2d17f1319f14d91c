"""References to secrets: `${NAME}`, `${NAME:-default}`, `${file:/path}`, `${credential:name}`.

They may stand inside a longer text, and what they bring is taken as it is: nothing in it is looked at again. No
message says what a secret is, only where it should have come from.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from notifier.config.wording import shown

MAX_BYTES = 64 * 2**10
"""A secret's file may be this long; a longer one is not a secret."""

FORMS = "${NAME}, ${NAME:-default}, ${file:/path} or ${credential:name}"

_REFERENCE = re.compile(r"\$\{((?:(?!\$\{)[^}\n])*)(\}?)")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
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


def expand(text: str, environ: Mapping[str, str], folder: Path) -> tuple[str, list[Fault]]:
    """The text with every reference replaced, and the faults of those that cannot be.

    A relative `${file:path}` starts at `folder`. Blanks and line ends at the end of a file are not part of the secret.
    """
    parts: list[str] = []
    faults: list[Fault] = []
    end = 0
    for occurrence, match in enumerate(_REFERENCE.finditer(text)):
        parts.append(text[end : match.start()])
        end = match.end()
        try:
            parts.append(_resolve(match, environ, folder))
        except _Unresolved as unresolved:
            faults.append(Fault(occurrence, match.group(), str(unresolved)))
    return "".join(parts) + text[end:], faults


def _resolve(match: re.Match[str], environ: Mapping[str, str], folder: Path) -> str:
    body = match[1]
    if not match[2]:
        raise _Unresolved(f"this reference has no end: write {FORMS}")
    if body.startswith("file:"):
        return _read(folder / body.removeprefix("file:"))
    if body.startswith("credential:"):
        return _credential(body.removeprefix("credential:"), environ)
    if not (variable := _VARIABLE.fullmatch(body)):
        raise _Unresolved(f"this is no reference: write {FORMS}")
    value = environ.get(variable[1])
    if variable[2] is not None:
        return value or variable[2]
    if value is None:
        raise _Unresolved(f"the environment variable {variable[1]} is not set")
    return value


def _credential(name: str, environ: Mapping[str, str]) -> str:
    """A file in systemd's $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential=)."""
    if not _CREDENTIAL.fullmatch(name):
        raise _Unresolved("a credential's name is a file name, without slashes")
    if not (directory := environ.get("CREDENTIALS_DIRECTORY")):
        raise _Unresolved(
            f"the credential {name} cannot be had: the environment variable CREDENTIALS_DIRECTORY is not set, which "
            "systemd sets for a service that has LoadCredential= or SetCredential="
        )
    return _read(Path(directory) / name)


def _read(path: Path) -> str:
    name = shown(str(path), 200)
    try:
        # Looked at first, as opening a pipe could wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _Unresolved(f"{name} is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _Unresolved(f"{name} cannot be read: {error.strerror}") from None
    except ValueError:
        raise _Unresolved(f"{name} cannot be a file's name") from None
    if len(data) > MAX_BYTES:
        raise _Unresolved(f"{name} is longer than {MAX_BYTES // 2**10} KiB: that is no secret")
    try:
        secret = data.decode("utf-8").rstrip()
    except UnicodeDecodeError:
        raise _Unresolved(f"{name} is not UTF-8 text") from None
    if not secret:
        raise _Unresolved(f"{name} is empty")
    return secret
