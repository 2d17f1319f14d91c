"""The daemon, ended at random moments while outputs are fetched from a host that fails and forgets them.

The tests play a short round. For minutes of it:

    python -m tests.outputs_loop --minutes 5 --predictions 200 --seed 7
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from notifier.model import FileState
from notifier.store import Store
from tests.standins.api import ApiStandIn, plain
from tests.standins.asker import until
from tests.standins.daemon import Daemon
from tests.standins.files import FileStandIn, Play, reset, stalled, status, truncated
from tests.standins.receiver import Receiver

LIFE = 30.0
"""Seconds for which the host has a file: a whole hour, as it is played here."""
KEEN = ("tests.standins.keen",)


@dataclass
class Figures:
    """What came of it. `resumed` counts questions for the rest of a file, `again` those for the whole of one that was
    asked for before: its host had failed, or the daemon had ended.
    """

    seed: int
    predictions: int
    kills: int = 0
    terms: int = 0
    seconds: float = 0.0
    files: int = 0
    bytes: int = 0
    lost: int = 0
    requests: int = 0
    resumed: int = 0
    again: int = 0
    problems: list[str] = field(default_factory=list)


class Outputs:
    """Predictions with outputs of every shape; what is to be on the disk in the end by its path, with its digest."""

    def __init__(self, api: ApiStandIn, files: FileStandIn, chance: random.Random) -> None:
        self._api, self._files, self._chance = api, files, chance
        self.expected: dict[str, str] = {}
        self.lost: Counter[str] = Counter()
        self.size = 0

    def finish(self, prediction_id: str) -> None:
        """The prediction is over now, and its host has what it made, for a while."""
        shape = self._chance.randrange(6)
        count = 1 if shape == 0 else self._chance.randint(1, 5)
        urls = [self._file(prediction_id, number) for number in range(count)]
        output: Any = [
            urls[0],
            urls,
            {"images": [{"file": url} for url in urls], "seed": 7},
            [[url] for url in urls],
            {"text": "words", "more": {"deep": urls}},
            [*urls, *urls],
        ][shape]
        self._api.script(prediction_id, [plain(prediction_id, "succeeded", output=output)])

    def _file(self, prediction_id: str, number: int) -> str:
        size = self._chance.choice([1, 3000, 100_000, 3_000_000])
        content = self._chance.randbytes(size)
        if self._chance.random() < 0.1:
            self._expect(prediction_id, f"{number:03d}-output.png", content)
            return f"data:image/png;base64,{base64.b64encode(content[:50_000]).decode()}"
        name = f"{prediction_id}-{number}.png"
        self._files.put(name, content, expires_at=time.monotonic() + LIFE)
        if self._chance.random() < 0.05:
            self._files.script(name, [], then=status(404))
            self.lost[prediction_id] += 1
        else:
            self._files.script(name, self._plays(size))
            self._expect(prediction_id, f"{number:03d}-{name}", content)
        return self._files.url(name)

    def _plays(self, size: int) -> list[Play]:
        some = size // 2
        kinds = (truncated(some), reset(some), stalled(some), status(503), status(429, Retry_After="1"))
        return [self._chance.choice(kinds) for _ in range(self._chance.choice([0, 0, 1, 2]))]

    def _expect(self, prediction_id: str, name: str, content: bytes) -> None:
        content = content[:50_000] if "-output." in name else content
        self.expected[f"here/{prediction_id}/{name}"] = hashlib.sha256(content).hexdigest()
        self.size += len(content)


def end_at_random(folder: Path, *, seed: int, predictions: int, seconds: float) -> Figures:
    """End the daemon for so long, by SIGKILL and SIGTERM, while predictions end; then let it finish, and judge."""
    chance = random.Random(seed)
    figures = Figures(seed, predictions)
    ids = [f"p{number:04}" for number in range(predictions)]
    start = time.monotonic()
    with ExitStack() as stack:
        api = stack.enter_context(ApiStandIn())
        files = stack.enter_context(FileStandIn())
        hook = stack.enter_context(Receiver())
        outputs = Outputs(api, files, chance)
        for one in ids:
            api.script(one, [plain(one, "processing")])
        program = stack.enter_context(Daemon(folder, _config(folder, api, hook, ids)))
        program.launch(module=KEEN)
        waiting, said = list(ids), 0
        while waiting or time.monotonic() < start + seconds:
            pause = chance.uniform(0.3, 4.0)
            share = max(1, round(predictions * pause / seconds))
            for one in waiting[:share]:
                outputs.finish(one)
            del waiting[:share]
            time.sleep(pause)
            if chance.random() < 0.75:
                program.kill()
                figures.kills += 1
            else:
                program.signal(signal.SIGTERM)
                program.wait()
                figures.terms += 1
            said = len(program.log)
            program.launch(module=KEEN)
        # In its first tenth of a second, while Python is loaded, a signal to end is the end of it, and not with 0.
        program.wait_for_log(lambda lines: any("started watches=" in line for line in lines[said:]))
        store = f"sqlite:///{folder}/state/notifier.db"
        until(lambda: _is_done(store, predictions), timeout=2 * LIFE)
        if program.stop() != 0:
            figures.problems.append("the daemon did not end with 0")
        with Store.open(store, create=False) as opened:
            found, history = opened.files(), opened.history(None, None)
        requests = list(files.requests)
    figures.seconds = round(time.monotonic() - start, 1)
    figures.files, figures.bytes = len(outputs.expected), outputs.size
    figures.requests = len(requests)
    figures.resumed = sum("range" in seen.headers for seen in requests)
    whole = Counter(seen.id for seen in requests if "range" not in seen.headers)
    figures.again = sum(count - 1 for count in whole.values())
    states = Counter(file.state for each in found.values() for file in each)
    figures.lost = states[FileState.LOST]
    figures.problems += _wrong_on_disk(folder / "outputs", outputs.expected)
    if figures.lost != sum(outputs.lost.values()):
        figures.problems.append(f"{figures.lost} files are lost, not {sum(outputs.lost.values())}")
    told = Counter((row.key.id, row.event) for row in history if row.key and row.event.startswith("save"))
    for one in ids:
        if told[one, "saved" if not outputs.lost[one] else "save_failed"] != 1:
            figures.problems.append(f"{one} was told {[event for other, event in told if other == one]}")
    if any(each.state != "sent" for row in history for each in row.deliveries):
        figures.problems.append("not all was delivered")
    return figures


def _config(folder: Path, api: ApiStandIn, hook: Receiver, ids: list[str]) -> str:
    return f"""
apis: {{here: {{base_url: '{api.base_url}', token: some-token, rate: 1000/s}}}}
channels: {{hook: {{url: '{hook.url}', rate: 1000/s, digest_over: 100000}}}}
defaults: {{interval: 1s, save: true, events: [all]}}
outputs: {{directory: '{folder}/outputs', allow_private: true, min_free: 1MiB}}
watchlist: [{", ".join(ids)}]
"""


def _is_done(store: str, predictions: int) -> bool:
    with Store.open(store, create=False) as opened:
        states = opened.load_states(time.time()).values()
        counts = opened.files_overview()
        return (
            len(states) == predictions
            and all(state.done for state in states)
            and not counts.get(FileState.WAITING)
            and not opened.waiting_addresses()
        )


def _wrong_on_disk(root: Path, expected: dict[str, str]) -> list[str]:
    found = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    problems = [f"{name} is not there" for name in expected.keys() - found.keys()]
    problems += [f"{name} should not be there" for name in found.keys() - expected.keys()]
    return problems + [f"{name} differs" for name in expected.keys() & found.keys() if found[name] != expected[name]]


def main() -> None:
    """Play, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--predictions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = end_at_random(
            Path(folder), seed=options.seed, predictions=options.predictions, seconds=60 * options.minutes
        )
    for name, value in asdict(figures).items():
        print(f"{name}: {value}")
    raise SystemExit(1 if figures.problems else 0)


if __name__ == "__main__":
    main()
