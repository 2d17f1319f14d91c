"""The real program, started as users start it, in a folder and an environment of its own."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

INHERITED = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
ROOT = Path(__file__).parents[2]
"""Where `python -m` finds the stand-ins for the program."""
IMPATIENT = """
from notifier.channels import wire
wire.send.__kwdefaults__["deadline"] = {}
from notifier.cli import main
main()
"""


class Daemon:
    """`notifier run` as a process; its log is read as it comes. Ended by its id when the test ends.

    It is started by `launcher`, a command that becomes what is given to it (`nsenter`, say). With `deadline`, a send
    may take so many seconds instead of a minute.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        environment: Mapping[str, str] | None = None,
        *,
        launcher: Sequence[str] = (),
        deadline: float | None = None,
    ) -> None:
        self.folder = folder
        self._python = (*launcher, sys.executable)
        self._program = ("-m", "notifier") if deadline is None else ("-c", IMPATIENT.format(deadline))
        self.path = folder / "config.yaml"
        self.path.write_text(config)
        self.environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "STATE_DIRECTORY": str(folder / "state"),
            **(environment or {}),
        }
        self.log: list[str] = []
        self._said = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self, *arguments: str, **variables: str) -> Self:
        """Start it, with more variables in its environment, and wait until it says that it has."""
        already = len(self.log)
        self.launch(*arguments, **variables)
        self.wait_for_log(lambda lines: any("started watches=" in line for line in lines[already:]))
        return self

    def launch(self, *arguments: str, module: Sequence[str] = (), **variables: str) -> None:
        """Start it, or a module that stands in for it, and wait for nothing."""
        self._process = subprocess.Popen(
            [*self._python, *(("-m", *module) if module else self._program), "run", "-c", str(self.path), *arguments],
            cwd=self.folder,
            env={**self.environment, **variables},
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._said:
                self.log.append(line.rstrip("\n"))
                self._said.notify_all()
        process.stderr.close()

    def wait_for_log(self, condition: Callable[[list[str]], bool], timeout: float = 20.0) -> None:
        """Wait until the log's lines meet the condition."""
        with self._said:
            met = self._said.wait_for(lambda: condition(self.log), timeout)
        assert met, "the log never said so:\n" + "\n".join(self.log)

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def limit_files(self, size: int) -> int:
        """Let no file that it writes be longer than `size` bytes, like a quota; returns what was allowed before."""
        assert self._process is not None
        before, hard = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, hard))
        return before

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end; its exit code."""
        assert self._process is not None
        code = self._process.wait(timeout)
        assert self._reader is not None
        self._reader.join()
        self._process = None
        return code

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL: no chance to tidy up."""
        self.signal(signal.SIGKILL)
        self.wait()

    def command(
        self, *arguments: str, check: int | None = 0, module: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Another verb, with the same configuration and environment."""
        done = subprocess.run(
            [*self._python, *(("-m", *module) if module else self._program), *arguments, "-c", str(self.path)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check is not None:
            assert done.returncode == check, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        """What a reading verb says with --json."""
        return json.loads(self.command(*arguments, "--json").stdout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self.wait()
