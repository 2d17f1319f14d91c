"""A few thousand answers of `tests.fuzz`, another few each time."""

from __future__ import annotations

import random

from tests.fuzz import play


def test_no_answer_is_read_or_decided_wrongly() -> None:
    seed = random.randrange(1_000_000)
    figures = play(5000, seed)
    assert min(figures.observations, figures.failures, figures.notices, figures.finals) > 50, (seed, figures)
