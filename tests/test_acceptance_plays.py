"""Scripted lives of predictions, played by a real API to the real program: exactly these notices, and no more polls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.standins.api import Answer, ApiStandIn, comet_error, plain, prediction, problem, wrapped
from tests.standins.daemon import Daemon
from tests.standins.slack import SlackStandIn
from tests.test_acceptance import SLACK_URL, TOKEN

LINK = "https://cdn.test/out-0.png"
HTML = Answer(body=b"<!doctype html><title>Sign in</title>")
Told = tuple[str, str | None, str | None]
"""A notice as (event, before, after)."""


def running(prediction_id: str, count: int = 1) -> list[Answer]:
    return [plain(prediction_id, "processing")] * count


LIVES: dict[str, tuple[list[Answer], list[Told], bool]] = {
    # id: (what the API answers, what is told, whether the watch is then finished)
    "allstates": (
        [plain("allstates", "starting"), *running("allstates"), plain("allstates", "succeeded", output=[LINK])],
        [("status", "starting", "processing"), ("status", "processing", "succeeded")],
        True,
    ),
    "skipped": (
        [plain("skipped", "starting"), plain("skipped", "succeeded", output=LINK)],
        [("status", "starting", "succeeded")],
        True,
    ),
    "firstfinal": ([plain("firstfinal", "failed", error="NSFW")], [("status", None, "failed")], True),
    "firstrunning": (running("firstrunning"), [], False),
    "canceled": ([*running("canceled"), plain("canceled", "canceled")], [("status", "processing", "canceled")], True),
    "aborted": (
        [plain("aborted", "starting"), plain("aborted", "aborted", started_at=None)],
        [("status", "starting", "aborted")],
        True,
    ),
    "noerrortext": (
        [*running("noerrortext"), plain("noerrortext", "failed", error="")],
        [("status", "processing", "failed")],
        True,  # after `settle`
    ),
    "errorappears": (
        [
            *running("errorappears"),
            plain("errorappears", "processing", error="warming"),
            plain("errorappears", "processing", error="warming"),
            plain("errorappears", "succeeded", output="text", error=""),
        ],
        [("error", "processing", "processing"), ("status", "processing", "succeeded")],
        True,
    ),
    "late": (
        [
            *running("late"),
            plain("late", "succeeded"),
            plain("late", "succeeded", output=[]),
            plain("late", "succeeded", output=[LINK]),
        ],
        [("status", "processing", "succeeded"), ("output", "succeeded", "succeeded")],
        True,
    ),
    "removed": ([plain("removed", "succeeded", data_removed=True)], [("status", None, "succeeded")], True),
    "unknown": (
        [plain("unknown", "queued"), plain("unknown", "queued"), *running("unknown"), plain("unknown", "Cancelled ")],
        [("status", None, "queued"), ("status", "queued", "processing"), ("status", "processing", "canceled")],
        True,
    ),
    "backwards": (
        [
            *running("backwards"),
            plain("backwards", "succeeded"),
            *running("backwards"),
            plain("backwards", "succeeded", output=LINK),
        ],
        [("status", "processing", "succeeded"), ("output", "succeeded", "succeeded")],
        True,
    ),
    "growing": (
        [
            plain("growing", "processing", logs="1%", output=[LINK]),
            plain("growing", "processing", logs="2%", output=[LINK, LINK + "2"], created_at="2026-03-12T11:27:18Z"),
            plain("growing", "succeeded", output=[LINK, LINK + "2"], metrics={"predict_time": 2}),
        ],
        [("status", "processing", "succeeded")],
        True,
    ),
    "wrapped": (
        [
            wrapped("wrapped", "SUBMITTED"),
            wrapped("wrapped", "IN_PROGRESS", {}),
            wrapped("wrapped", "SUCCESS", json.dumps(prediction("wrapped", "succeeded", output=[LINK]))),
        ],
        [("status", "starting", "processing"), ("status", "processing", "succeeded")],
        True,
    ),
    "wrappedurl": (
        [wrapped("wrappedurl", "IN_PROGRESS"), wrapped("wrappedurl", "SUCCESS", fail_reason=LINK)],
        [("status", "processing", "succeeded")],
        True,
    ),
    "wrappedfail": (
        [wrapped("wrappedfail", "QUEUED"), wrapped("wrappedfail", "FAILURE", fail_reason="out of memory")],
        [("status", "starting", "failed")],
        True,
    ),
    "otherid": (
        [*running("otherid"), plain("somebodyelse", "succeeded", output=LINK), *running("otherid")],
        [],
        False,
    ),
    "noise": (
        [
            *running("noise"),
            HTML,
            Answer(body=b""),
            comet_error(200, "busy"),
            problem(500, detail="oops"),
            plain("noise", "succeeded", output=LINK),
        ],
        [("status", "processing", "succeeded")],
        True,
    ),
    "typo": ([problem(404, detail="No prediction matches the given query.")], [("lost", None, None)], False),
    "broken": ([*running("broken"), problem(503, detail="no")], [("unreachable", "processing", "processing")], False),
}

CONFIG = """
apis:
  here:
    {{base_url: '{base_url}', token: '${{API_TOKEN}}', rate: 100/s, settle: 2s, lost_after: 2s,
     unreachable_after: 2s}}
channels:
  team: {{url: '${{SLACK_URL}}', rate: 100/s, digest_over: 1000}}
defaults: {{interval: 1s}}
watchlist: [{ids}]
"""


@pytest.fixture
def api() -> Iterator[ApiStandIn]:
    with ApiStandIn() as api:
        for prediction_id, (answers, _, _) in LIVES.items():
            api.script(prediction_id, answers)
        yield api


def told_of(history: list[dict[str, Any]]) -> dict[str, list[Told]]:
    told: dict[str, list[Told]] = {prediction_id: [] for prediction_id in LIVES}
    for notice in history:
        told[notice["id"]].append((notice["event"], notice["before"], notice["after"]))
    return told


def test_each_life_is_told_exactly_and_a_finished_one_is_not_polled_again(
    tmp_path: Path, api: ApiStandIn, slack: SlackStandIn
) -> None:
    expected = {prediction_id: told for prediction_id, (_, told, _) in LIVES.items()}
    count = sum(map(len, expected.values()))
    config = CONFIG.format(base_url=api.base_url, ids=", ".join(LIVES))
    environment = {**slack.environment(), "SLACK_URL": SLACK_URL, "API_TOKEN": TOKEN}
    with Daemon(tmp_path, config, environment) as program:
        program.start()
        posts = slack.wait_for(count, timeout=60)
        # What is finished by now is not asked about in two more rounds of those that are not.
        finished = {prediction_id for prediction_id, (_, _, done) in LIVES.items() if done}
        polls = {prediction_id: sum(seen.id == prediction_id for seen in api.requests) for prediction_id in finished}
        rounds = sum(seen.id == "firstrunning" for seen in api.requests)
        api.wait_for(rounds + 4, "firstrunning")
        assert program.stop() == 0
        history = program.json("history")
        status = program.json("status")
    assert told_of(history) == expected
    assert len(posts) == len(slack.requests) == count
    assert all(each["state"] == "sent" for notice in history for each in notice["deliveries"])
    assert {watch["id"] for watch in status["watches"] if watch["done"]} == finished
    late = finished - {"noerrortext"}  # which is asked about until `settle` has passed
    assert {prediction_id: polls[prediction_id] for prediction_id in late} == {
        prediction_id: sum(seen.id == prediction_id for seen in api.requests) for prediction_id in late
    }
