"""From a change at the API to a message at a local channel, at a thousand polls a second and changes a minute."""

from __future__ import annotations

import time
from contextlib import ExitStack

import apprise

from tests.bench.api import CHANGE_EVERY, Api, Behaviour, changes_at, name_of
from tests.bench.measure import percentile
from tests.bench.program import config_text, program
from tests.bench.setting import Setting
from tests.bench.table import Row

WATCHES = 10_000
INTERVAL = 10.0


def news(setting: Setting) -> list[Row]:
    """Both delays: from the new status's answer, and from the change itself."""
    seconds = 30.0 if setting.quick else 60.0
    with ExitStack() as stack:
        api = stack.enter_context(Api(setting.folder, Behaviour(watches=WATCHES)))
        receiver = stack.enter_context(Api(setting.folder, processes=1))
        channel = f"json://127.0.0.1:{receiver.port}/"
        stack.enter_context(program(setting.folder, config_text({api.url: WATCHES}, INTERVAL, channel)))
        time.sleep(INTERVAL + 3.0)
        first = time.monotonic() + 0.5
        api.begin_changes(first)
        time.sleep(seconds + INTERVAL + 2.0)
        answered = {stamp.number: stamp.answered for stamp in reversed(api.stamps(first)) if stamp.changed}
        arrived = {stamp.number: stamp.arrived for stamp in reversed(receiver.stamps()) if stamp.number >= 0}
        alone = _bare(channel, receiver)
    changed = [n for n in range(WATCHES) if changes_at(n, WATCHES, first) < first + seconds]
    missing = [number for number in changed if number not in arrived]
    told = [arrived[number] - answered[number] for number in changed if number in arrived]
    since = [arrived[number] - changes_at(number, WATCHES, first) for number in changed if number in arrived]
    p99 = percentile(told, 0.99) * 1000
    return [
        Row(
            "new status answered -> message at a channel, p99, 1,000 polls/s",
            f"{p99:.1f} ms (median {percentile(told, 0.5) * 1000:.1f}, most {max(told) * 1000:.0f}) "
            f"of {len(changed)}, {len(missing)} missing",
            p99 if not missing else float("inf"), "ms", 50, 20,
            f"bare Apprise: median {percentile(alone, 0.5) * 1000:.1f}, p99 {percentile(alone, 0.99) * 1000:.1f} ms",
            percentile(told, 0.5) / percentile(alone, 0.5),
        ),
        Row(
            f"detection delay at {60 / CHANGE_EVERY:,.0f} changes a minute, interval {INTERVAL:g} s",
            f"p50 {percentile(since, 0.5):.2f} s, p99 {percentile(since, 0.99):.2f} s",
            yardstick=f"least possible: p50 {INTERVAL / 2:g} s, p99 {INTERVAL * 0.99:g} s",
            ratio=percentile(since, 0.5) / (INTERVAL / 2),
        ),
    ]  # fmt: skip


def _bare(channel: str, receiver: Api) -> list[float]:
    """What Apprise alone needs from the call to the message's arrival, beside the same daemon at the same work."""
    sender = apprise.Apprise()
    sender.add(channel)
    began = {}
    for number in range(9_000_000, 9_000_100):
        began[number] = time.monotonic()
        sender.notify(title="processing", body=f"{name_of(number)} at here")
        time.sleep(CHANGE_EVERY)
    return [stamp.arrived - began[stamp.number] for stamp in receiver.stamps() if stamp.number in began]
