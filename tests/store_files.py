"""What the tests of a store's files share: one change, its files, and how a refusal is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from notifier.errors import StoreError
from notifier.model import Address, Event, Key, Notice, State
from notifier.store import Change, Store, database_path, is_running

NOW = 1_800_000_000.0
KEY = Key("cometapi", "aaa")
TEAM = Address("team", "")
CHANGE = Change(KEY, State(NOW, "processing"), ((Notice("n1", Event.STATUS, NOW, KEY), (TEAM,)),))


@contextmanager
def refused(url: str, *words: str, daemon: bool = True) -> Iterator[None]:
    """After what is done inside, opening is refused with these words, and no byte of the database is touched."""
    yield
    path = database_path(url)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError) as caught:
        Store.open(url, daemon=daemon).close()
    for word in (str(path), *words):
        assert word in str(caught.value)
    assert caught.value.exit_code == 74
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not is_running(url), "the lock was let go"


def marker(path: Path) -> Path:
    return path.with_name(path.name + ".marker")


def beside(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()} if path.parent.exists() else set()
