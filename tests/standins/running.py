"""The whole daemon in this process, on a configuration file that tests edit under it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from notifier.errors import NotifierError
from notifier.model import Clock
from notifier.service import Service, load_config
from tests.standins.asker import until


class Running:
    """A daemon on a configuration file; `start`, and `stop` or `wait`. See the fixture `quick_beats`."""

    def __init__(self, folder: Path, text: str) -> None:
        self.path = folder / "config.yaml"
        self.environ = {"STATE_DIRECTORY": str(folder)}
        self.wall_step = 0.0
        self.edit(text)
        clock = Clock(wall=lambda: time.time() + self.wall_step)
        self.service = Service(load_config(self.path, self.environ), environ=self.environ, clock=clock)
        self.ended: NotifierError | None = None
        self._thread = threading.Thread(target=self._run, name="daemon")

    def _run(self) -> None:
        try:
            self.service.run(take_signals=False)
        except NotifierError as error:
            self.ended = error

    def edit(self, text: str) -> None:
        """Save another configuration."""
        self.path.write_text(text)
        self.path.chmod(0o600)

    def start(self) -> None:
        """Start it; returns when it has started, or ended."""
        self._thread.start()
        until(lambda: self.service._heartbeat._thread.is_alive() or not self._thread.is_alive())

    def reload(self, text: str) -> None:
        """Save an edit and have it applied; returns when it is."""
        self.edit(text)
        wanted = load_config(self.path, self.environ)
        self.service.reload()
        until(lambda: self.service._config.apis == wanted.apis and self.service._config.watches == wanted.watches)

    def wait(self) -> None:
        """Wait for its end."""
        self._thread.join(30)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        """End it."""
        self.service.stop()
        self.wait()


@contextmanager
def running(folder: Path, text: str) -> Iterator[Running]:
    """A daemon that has started, and is ended afterwards."""
    daemon = Running(folder, text)
    daemon.start()
    try:
        yield daemon
    finally:
        daemon.stop()
