"""Which place `outputs.directory` means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from notifier.outputs.directory import LocalDirectory
from notifier.outputs.places import Place
from notifier.outputs.remote import RemotePlace


def place_of(directory: str, *, spool: Path, environ: Mapping[str, str]) -> Place:
    """The place that an absolute path or an object store's URL means, which is not looked at yet.

    `spool` is where an object store's unfinished files are until they are whole. Raises ValueError for anything that
    the configuration does not let through.
    """
    if directory.startswith("/"):
        return LocalDirectory(Path(directory))
    return RemotePlace(directory, spool=spool, environ=environ)
