"""What the demonstration plays: some predictions, poll by poll, and the configuration that watches them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

JSON = dict[str, Any]
LINK = "https://replicate.delivery/demo/{id}/out-{n}.png"

CONFIG = """\
apis:
  demo:
    base_url: {base_url}
    token: ${{DEMO_TOKEN}}
    unreachable_after: 4s        # minutes, in real life
    lost_after: 3s
channels:
  team:
    url: json://127.0.0.1:{port}/told/team      # slack://..., mailtos://..., in real life
    rate: 20/s
  oncall:
    url: json://127.0.0.1:{port}/told/oncall
    rate: 20/s
    events: [failed, canceled, aborted, stuck, unreachable, lost]
defaults:
  interval: 1s
  stuck_after: 9s
watchlist:
{watchlist}
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the embedded API."""

    body: JSON = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Life:
    """A prediction's life: its id, what people call it, what happens, and its answers, the last of which repeats."""

    id: str
    name: str
    plot: str
    replies: tuple[Reply, ...]
    team: int
    """How many notices the channel `team` gets of it."""
    oncall: int


def _now(ago: float = 0.0) -> str:
    moment = datetime.now(UTC) - timedelta(seconds=ago)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _prediction(prediction_id: str, status: str, **facts: Any) -> JSON:
    return {
        "id": prediction_id,
        "model": "black-forest-labs/flux-schnell",
        "version": "hidden",
        "status": status,
        "input": {"prompt": "a lighthouse in a storm"},
        "output": None,
        "error": None,
        "logs": "",
        "metrics": {},
        "created_at": _now(20),
        "data_removed": False,
        "urls": {"get": f"https://api.replicate.com/v1/predictions/{prediction_id}"},
        **facts,
    }


def _done(prediction_id: str, pictures: int, seconds: float) -> JSON:
    links = [LINK.format(id=prediction_id, n=number) for number in range(pictures)]
    return _prediction(
        prediction_id, "succeeded", output=links or None, created_at=_now(seconds), completed_at=_now(),
        metrics={"predict_time": round(seconds * 0.8, 1), "image_count": pictures},
    )  # fmt: skip


def _task(prediction_id: str, status: str, inner: JSON | None = None) -> JSON:
    """The task that CometAPI's gateway wraps a prediction in."""
    task = {"task_id": prediction_id, "status": status, "fail_reason": "", "progress": "", "data": inner}
    return {"code": "success", "message": "", "data": task}


def _plain(prediction_id: str) -> Callable[..., Iterator[Reply]]:
    def times(status: str, count: int = 1, **facts: Any) -> Iterator[Reply]:
        for _ in range(count):
            yield Reply(_prediction(prediction_id, status, **facts))

    return times


def lives() -> list[Life]:
    """The cast. Made anew for each demonstration, because the times in the answers are near to now."""
    teaser, voice, draft, queue, film, thumb, flaky = map(
        _plain, ("teaser4k", "voiceover", "draft7", "batch12", "longfilm", "thumbnail", "flakyone")
    )
    trace = "Loading weights\nStep 1/30\nStep 2/30\nCUDA out of memory. Tried to allocate 2.50 GiB"
    busy = Reply({"title": "Service Unavailable", "detail": "no healthy upstream", "status": 503}, 503)
    away = Reply({"title": "Gateway Timeout", "status": 504}, 504)
    missing = Reply({"detail": "No prediction matches the given query.", "status": 404}, 404)
    return [
        Life("teaser4k", "Launch teaser", "slow start, then two pictures",
             (*teaser("starting", 5), *teaser("processing", 4), Reply(_done("teaser4k", 2, 9))), 2, 0),
        Life("poster", "Poster (CometAPI task)", "the gateway's wrapper around a success",
             (Reply(_task("poster", "SUBMITTED")), *[Reply(_task("poster", "IN_PROGRESS", {}))] * 4,
              Reply(_task("poster", "SUCCESS", _done("poster", 1, 5)))), 2, 0),
        Life("voiceover", "Voice-over", "fails with an error text",
             (*voice("processing", 6), *voice("failed", error="E1001: CUDA out of memory", logs=trace)), 1, 1),
        Life("draft7", "Draft 7", "canceled by its owner", (*draft("processing", 4), *draft("canceled")), 1, 1),
        Life("batch12", "Batch 12", "aborted before it started", (*queue("starting", 7), *queue("aborted")), 1, 1),
        Life("longfilm", "Long film", "stuck for a while, then done",
             (*film("processing", 14), Reply(_done("longfilm", 1, 14))), 2, 2),
        Life("thumbnail", "Thumbnail", "succeeds; its output comes late",
             (*thumb("processing", 2), *thumb("succeeded", 4), Reply(_done("thumbnail", 1, 7))), 2, 0),
        Life("flakyone", "Flaky one", "cannot be reached for a while",
             (*flaky("processing", 2), busy, away, busy, away, busy, *flaky("processing"),
              Reply(_done("flakyone", 1, 16))), 3, 2),
        Life("tpyo", "A typing error", "an id that the API does not know", (missing,), 1, 1),
    ]  # fmt: skip


def configuration(base_url: str, port: int, cast: list[Life]) -> str:
    """The YAML that watches them."""
    entries = (f"  - {{id: {life.id}, name: {json.dumps(life.name)}}}" for life in cast)
    return CONFIG.format(base_url=base_url, port=port, watchlist="\n".join(entries))
