"""Some seconds of the soak: that it runs, and that files, threads and the store's log do not grow in them."""

from __future__ import annotations

from pathlib import Path

from tests.soak import soak


def test_what_the_daemon_uses_is_flat(tmp_path: Path) -> None:
    figures = soak(tmp_path, seed=1, watches=60, seconds=24)
    assert [problem for problem in figures.problems if not problem.startswith("memory")] == []
    assert figures.edits == 2
    assert figures.polls > 500
    assert figures.messages > 20
