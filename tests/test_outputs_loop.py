"""A short round of tests/outputs_loop.py, with a new seed each time; a failure names it."""

from __future__ import annotations

import random
from pathlib import Path

from tests.outputs_loop import end_at_random


def test_ended_at_random_every_file_is_there_byte_by_byte_and_each_prediction_is_told_once(tmp_path: Path) -> None:
    figures = end_at_random(tmp_path, seed=random.randrange(10**9), predictions=25, seconds=12.0)
    assert figures.problems == [], figures
    assert figures.kills + figures.terms > 0
