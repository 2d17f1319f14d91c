"""Whether the polls that are asked for can be made."""

from __future__ import annotations

import pytest

from notifier.decide import shortfall


@pytest.mark.parametrize(
    ("asked", "latency", "said"),
    [
        (10.0, None, None),
        (10.0, 0.5, None),
        (10.0, 25.6, None),
        (20.0, None, "more than `rate`: intervals stretch 2 times"),
        (20.0, 0.1, "more than `rate`: intervals stretch 2 times"),
        (
            8.0,
            60.0,
            "at 60 s a poll, 480 would be in flight and `concurrency` is 256: intervals stretch 1.88 times",
        ),
        (
            20.0,
            60.0,
            "at 60 s a poll, 1,200 would be in flight and `concurrency` is 256: intervals stretch 4.69 times",
        ),
    ],
)
def test_what_limits_an_account_most_is_said(asked: float, latency: float | None, said: str | None) -> None:
    assert shortfall(asked=asked, rate=10.0, concurrency=256, latency=latency) == said
