"""Notices of one prediction, with what a test says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from notifier.model import Event, File, FileState, Key, Notice

KEY = Key("cometapi", "ufawqhfynnddngldkgtslldrkq")
NOW = 1_763_820_000.0  # 2025-11-22 14:00 UTC
LINKS = ("https://replicate.delivery/x/out-0.png?sig=ab&exp=1", "https://replicate.delivery/x/out-1.png")


def a_notice(event: Event = Event.STATUS, **facts: object) -> Notice:
    """Something that happened to the prediction five seconds ago."""
    values: dict[str, object] = {"notice": "7k3q9x2m4d", "key": KEY, "name": "Launch teaser", "time": NOW - 5}
    return Notice(event=event, **{**values, **facts})  # type: ignore[arg-type]


def succeeded(**facts: object) -> Notice:
    """A success with links."""
    values: dict[str, object] = {"before": "processing", "status": "succeeded", "has_output": True, "output": LINKS}
    return a_notice(**{**values, **facts})  # type: ignore[arg-type]


def failed(**facts: object) -> Notice:
    """A failure with an error text."""
    values: dict[str, object] = {"before": "processing", "status": "failed", "error": "CUDA out of memory"}
    return a_notice(**{**values, **facts})  # type: ignore[arg-type]


FOLDER = f"/var/lib/notifier/outputs/cometapi/{KEY.id}"


def a_file(number: int = 0, **facts: Any) -> File:
    """A file of its output that is kept."""
    name = f"{number:03}-out-{number}.png"
    values: dict[str, Any] = {
        "source": f"https://replicate.delivery/x/out-{number}.png",
        "state": FileState.SAVED,
        "name": name,
        "place": f"{FOLDER}/{name}",
        "size": 1_200_000 * (number + 1),
    }
    return File(KEY, number, **{**values, **facts})


def a_waiting_file(number: int = 0) -> File:
    """A file of its output that is on its way."""
    return a_file(number, state=FileState.WAITING, name=None, place=None, size=None)


def a_lost_file(number: int = 0, reason: str = "HTTP 404", **facts: Any) -> File:
    """A file of its output that could not be kept."""
    gone: dict[str, Any] = {"name": None, "place": None, "size": None, "last_error": reason}
    return a_file(number, state=FileState.LOST, **{**gone, **facts})


RUNNING: dict[str, Any] = {"before": "processing", "status": "processing"}
"""The facts of a notice about a prediction that goes on running."""


def is_in_order(phrases: Sequence[str], body: str) -> bool:
    """Whether the body holds these phrases, one after the other."""
    at = 0
    for phrase in phrases:
        at = body.find(phrase, at)
        if at < 0:
            return False
        at += len(phrase)
    return True
