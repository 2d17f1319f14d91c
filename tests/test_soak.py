"""Some seconds of the soak: that it runs, and that what the daemon uses is within bounds meanwhile."""

from __future__ import annotations

from pathlib import Path

from tests.soak import soak


def test_nothing_breaks_in_it_and_what_the_daemon_uses_is_bounded(tmp_path: Path) -> None:
    figures = soak(tmp_path, seed=1, watches=60, seconds=24)
    assert figures.problems == []
    assert figures.edits == 2
    assert figures.polls > 300
    assert figures.messages > 10
    most = {part: most for part, (_, most) in figures.parts.items()}
    assert most["threads"] < 40
    assert most["files"] < 250  # of each watch three: polls that end leave connections, for two minutes
    assert most["log"] < 10 * 1024
    assert most["memory"] < 400 * 1024
