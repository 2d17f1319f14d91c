"""The yardstick: what one would write without notifier, `requests.Session().get` in a thread pool.

    python -m tests.bench.bare http://127.0.0.1:8080 --seconds 5 --threads 8

It asks for one prediction after the other as fast as it can and prints how many it got, in how much time and processor
time, once each thread has its connection. What an answer says is not looked at.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import requests

from tests.bench.api import name_of

local = threading.local()


def ask(url: str) -> None:
    """Ask for one prediction, in the thread's own session."""
    if not hasattr(local, "session"):
        local.session = requests.Session()
    headers = {"Authorization": "Bearer r8_make_believe", "Accept": "application/json"}
    local.session.get(url, headers=headers, timeout=90).raise_for_status()


def main() -> None:
    """Ask, count, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    numbers = count()

    def ask_until(end: float) -> int:
        asked = 0
        while time.monotonic() < end:
            ask(f"{options.url}/v1/predictions/{name_of(next(numbers) % 10_000)}")
            asked += 1
        return asked

    with ThreadPoolExecutor(options.threads) as pool:
        list(pool.map(ask_until, [time.monotonic() + 0.5] * options.threads))
        processor, began = time.process_time(), time.monotonic()
        asked = sum(pool.map(ask_until, [began + options.seconds] * options.threads))
        took = time.monotonic() - began
        print(json.dumps({"asked": asked, "processor": time.process_time() - processor, "seconds": took}))


if __name__ == "__main__":
    main()
