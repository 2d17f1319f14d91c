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
    unreachable_after: 3s     # in real life: 2m
    lost_after: 3s            # 2m
channels:
  team:
    url: json://127.0.0.1:{port}/told/team   # slack://, mailtos://, ...
    rate: 20/s
  oncall:
    url: json://127.0.0.1:{port}/told/oncall
    rate: 20/s
    events: [failed, canceled, aborted, stuck, unreachable, lost]
defaults:
  interval: 1s                # 30s
  stuck_after: 16s            # 30m
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
             (*teaser("starting", 7), *teaser("processing", 6), Reply(_done("teaser4k", 2, 13)))),
        Life("poster", "Poster", "wrapped in CometAPI's task",
             (*[Reply(_task("poster", "SUBMITTED"))] * 2, *[Reply(_task("poster", "IN_PROGRESS", {}))] * 7,
              Reply(_task("poster", "SUCCESS", _done("poster", 1, 9))))),
        Life("voiceover", "Voice-over", "fails with an error text",
             (*voice("processing", 8), *voice("failed", error="E1001: CUDA out of memory", logs=trace))),
        Life("draft7", "Draft 7", "canceled by its owner", (*draft("processing", 6), *draft("canceled"))),
        Life("batch12", "Batch 12", "aborted before it started", (*queue("starting", 12), *queue("aborted"))),
        Life("longfilm", "Long film", "stuck for a while, then done",
             (*film("processing", 22), Reply(_done("longfilm", 1, 22)))),
        Life("thumbnail", "Thumbnail", "its output comes late",
             (*thumb("processing", 5), *thumb("succeeded", 6), Reply(_done("thumbnail", 1, 11)))),
        Life("flakyone", "Flaky one", "cannot be reached for a while",
             (*flaky("starting", 4), *flaky("processing"), busy, away, busy, away, busy, *flaky("processing", 2),
              Reply(_done("flakyone", 1, 16)))),
        Life("tpyo", "A typing error", "an id unknown to the API", (missing,)),
    ]  # fmt: skip


def configuration(base_url: str, port: int, cast: list[Life]) -> str:
    """The YAML that watches them."""
    entries = (f"  - {{id: {life.id}, name: {json.dumps(life.name)}}}" for life in cast)
    return CONFIG.format(base_url=base_url, port=port, watchlist="\n".join(entries))
