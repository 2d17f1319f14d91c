"""Where files are when nobody says: the search for the configuration, and the store's place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from notifier.errors import NotifierError


class NoConfigError(NotifierError):
    """There is no configuration file; the text says where it was looked for."""

    exit_code = 78


def find(option: Path | None, environ: Mapping[str, str]) -> Path:
    """The configuration file: `--config`, else $NOTIFIER_CONFIG, else the first of `./config.yaml`,
    `$XDG_CONFIG_HOME/notifier/config.yaml` (~/.config) and `/etc/notifier/config.yaml` that exists.

    A file that was named is not replaced by another one. Raises NoConfigError where there is none.
    """
    if option is not None:
        return _named(option, "--config")
    if named := environ.get("NOTIFIER_CONFIG"):
        return _named(Path(named), "$NOTIFIER_CONFIG")
    places = (
        Path("config.yaml"),
        _folder(environ, "XDG_CONFIG_HOME", ".config") / "notifier" / "config.yaml",
        Path("/etc/notifier/config.yaml"),
    )
    for place in places:
        if os.path.lexists(place):
            return place
    raise NoConfigError(
        f"no configuration found: --config was not given, $NOTIFIER_CONFIG is not set, and there is no "
        f"{', no '.join(map(str, places))}"
    )


def default_store(environ: Mapping[str, str]) -> str:
    """The store's URL where the configuration names none: in systemd's $STATE_DIRECTORY (the first, where a service
    has several: systemd.exec(5)), else in $XDG_STATE_HOME/notifier (~/.local/state/notifier).
    """
    if directory := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        folder = Path(directory)
    else:
        folder = _folder(environ, "XDG_STATE_HOME", ".local/state") / "notifier"
    return f"sqlite:///{folder.absolute() / 'notifier.db'}"


def _named(path: Path, by: str) -> Path:
    if not os.path.lexists(path):
        raise NoConfigError(f"no configuration found: {path}, named by {by}, is not there")
    return path


def _folder(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    """A folder of the XDG Base Directory Specification, which has relative paths ignored."""
    folder = Path(environ.get(variable, ""))
    if folder.is_absolute():
        return folder
    return Path(environ.get("HOME") or os.path.expanduser("~")) / below_home
