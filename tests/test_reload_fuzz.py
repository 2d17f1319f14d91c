"""Some hundred writes of `tests.reload_fuzz`."""

from __future__ import annotations

import random
from pathlib import Path

from tests.reload_fuzz import play


def test_no_write_of_the_configuration_ends_the_daemon_or_loses_a_watch(tmp_path: Path) -> None:
    seed = random.randrange(1_000_000)
    figures = play(tmp_path, writes=250, seed=seed)
    assert min(figures.applied, figures.refused) > 30, (seed, figures)
