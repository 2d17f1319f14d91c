"""A machine on which notifier is installed as the README says: its commands, typed to the letter into a terminal.

What they would fetch from the network is there beforehand: `apt`, `git` and pip are replaced in that terminal's shell.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import yaml

from tests.standins.api import ApiStandIn
from tests.standins.daemon import ROOT
from tests.standins.receiver import Receiver
from tests.standins.systemd import ENVIRONMENT, Box

README = ROOT / "README.md"
UNIT = "etc/systemd/system/notifier.service"
DROP_IN = "etc/systemd/system/notifier.service.d/test.conf"
CLONE = "run/clone"
"""What `git clone` and `git pull` bring, in the box."""
PYTHON = "/usr/bin/python3"
KEPT = ("etc/notifier", "etc/systemd/system")
"""What the installation put where tests change it."""
TOKEN = "the-token-that-must-be-shown-nowhere"
HOOK = "the-hook-that-must-be-shown-nowhere"
PACKAGES = "usr/local/lib/packages"
"""The libraries that pip would fetch, in the box."""

SHELL = rf"""
unset HISTFILE
PS1='\n@@$?@@\n' PS2=
apt() {{ :; }}
git() {{
    case "$1 $#" in
    "clone 3") [ ! -e "$3" ] && cp -r /{CLONE} "$3" ;;
    "pull 1") [ -e pyproject.toml ] && cp -r /{CLONE}/. . ;;
    *) return 1 ;;
    esac
}}
/opt/notifier/bin/pip() {{ /opt/notifier/bin/python3 /run/pip "$@"; }}
"""

PIP = f"""
import compileall, pathlib, shutil, sys, sysconfig
verb, folder = sys.argv[1:]
assert verb == "install" and (pathlib.Path(folder) / "pyproject.toml").exists()
packages = pathlib.Path(sysconfig.get_path("purelib"))
shutil.rmtree(packages / "notifier", ignore_errors=True)
shutil.copytree(pathlib.Path(folder) / "notifier", packages / "notifier")
compileall.compile_dir(packages / "notifier", quiet=1)
(packages / "libraries.pth").write_text("/{PACKAGES}\\n")
command = pathlib.Path(sysconfig.get_path("scripts")) / "notifier"
command.write_text(f"#!{{sys.executable}}\\nimport sys\\nfrom notifier.cli import main\\nsys.exit(main())\\n")
command.chmod(0o755)
"""


def commands(section: str) -> list[str]:
    """The commands of the README between `<!-- section -->` and `<!-- end -->`, one as it is typed, each."""
    _, _, rest = README.read_text(encoding="utf-8").partition(f"<!-- {section} -->\n")
    text, end, _ = rest.partition("<!-- end -->")
    assert end, f"the README has no {section}"
    lines = iter([line[4:] for line in text.splitlines() if line.startswith("    ")])
    found = []
    for line in lines:
        typed = [line]
        if word := re.search(r"<<'(\w+)'$", line):
            for more in lines:
                typed.append(more)
                if more == word[1]:
                    break
        found.append("\n".join(typed))
    return found


class Terminal:
    """Root's shell on a terminal of the machine, as an administrator has it."""

    def __init__(self, box: Box) -> None:
        box.files("run/shell").write_text(SHELL)
        self._terminal, inside = pty.openpty()
        self._process = subprocess.Popen(
            box.entering("bash", "--noprofile", "--rcfile", "/run/shell", "--noediting", "-i"),
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        os.close(inside)
        self._prompt()

    def type(self, command: str, pasted: str | None = None) -> str:
        """Type a command, and paste what it reads; what it says. AssertionError unless it ends with 0."""
        os.write(self._terminal, f"{command}\n".encode())
        if pasted is not None:
            os.write(self._terminal, f"{pasted}\n\x04".encode())
        said, code = self._prompt()
        assert code == "0", f"{command}: {code}\n{said}"
        return said

    def _prompt(self, timeout: float = 60.0) -> tuple[str, str]:
        said, deadline = "", time.monotonic() + timeout
        while not (prompt := re.search(r"\n@@(\d+)@@\r?\n$", said)):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no prompt in {timeout} s: {said}"
            said += os.read(self._terminal, 65536).decode(errors="replace")
        return said[: prompt.start()].replace("\r\n", "\n"), prompt[1]

    def close(self) -> None:
        """Hang up."""
        os.close(self._terminal)
        self._process.wait(20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Machine:
    """A booted machine with notifier on it; a context manager, or call `close()`."""

    api: ApiStandIn
    """What it asks, on its own network; it wants TOKEN. Only while it is `fresh`."""
    receiver: Receiver
    """What it tells, likewise."""

    def __init__(self) -> None:
        self._since = 0
        """The newest entry of the journal that is of no interest any more, on the monotonic clock."""
        with ExitStack() as kept:
            self.box = kept.enter_context(Box({kept.enter_context(libraries()): PACKAGES}))
            self._fetch()
            self._install()
            self.box.run("cp", "-a", *(f"/{each}" for each in KEPT), "/run/installed/")
            self._kept = kept.pop_all()

    def _fetch(self) -> None:
        """What the network would bring."""
        self.box.files("run/installed").mkdir()
        clone = self.box.files(CLONE)
        clone.mkdir()
        for name in ("notifier", "systemd"):
            shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", clone)
        self.box.files("run/pip").write_text(PIP)

    def _install(self) -> None:
        with self.box.network():
            receiver = Receiver()
        with receiver, Terminal(self.box) as terminal:
            pasted = {"cometapi": TOKEN, "slack": f"{receiver.url}{HOOK}"}
            self.said = {command: terminal.type(command, _pasted(command, pasted)) for command in commands("service")}
            """What each command of the README said."""
            self.history = terminal.type("history")
            self.told = receiver.posts
            """What arrived meanwhile at the address that was pasted."""

    def close(self) -> None:
        """End it."""
        self._kept.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what a test changes ------------------------------------------------------------------------------------------

    @contextmanager
    def fresh(self) -> Iterator[Self]:
        """As it was installed, with nothing running and nothing known, and an API and a receiver for it."""
        with ExitStack() as ends:
            ends.callback(self._reset)
            with self.box.network():
                self.api = ends.enter_context(ApiStandIn(token=TOKEN))
                self.receiver = ends.enter_context(Receiver())
            self._reset()
            self.credential("slack", f"{self.receiver.url}{HOOK}")
            self.watch("a")
            self._since = _time(self.box.journal("--lines=1")[0])
            yield self

    def _reset(self) -> None:
        self.box.run("sh", "-ec", f"""
            systemctl kill --signal=KILL notifier 2>/dev/null || true
            systemctl stop notifier
            rm -rf {' '.join(f'/{each}' for each in KEPT)} /var/lib/notifier
            cp -a /run/installed/notifier /run/installed/system /etc/
            mv /etc/system /etc/systemd/system
            systemctl daemon-reload
            systemctl reset-failed
        """)  # fmt: skip

    def watch(self, *ids: str, **account: str) -> None:
        """Save a configuration that has these predictions polled every second; `account` adds to that."""
        settings = {"base_url": self.api.base_url, "token": "${credential:cometapi}", "rate": "1000/s", **account}
        self.configure(yaml.safe_dump({
            "apis": {"cometapi": settings},
            "channels": {"team": {"url": "${credential:slack}", "rate": "1000/s", "retry_after": ["1s"]}},
            "defaults": {"interval": "1s"},
            "store": "sqlite:////var/lib/notifier/notifier.db",
            "watchlist": list(ids),
        }, sort_keys=False))  # fmt: skip

    def configure(self, text: str) -> None:
        """Save the configuration."""
        self.box.files("etc/notifier/config.yaml").write_text(text)

    def credential(self, name: str, secret: str) -> None:
        """Put a secret in its place."""
        file = self.box.files(f"etc/notifier/credentials/{name}")
        file.touch(mode=0o600)
        file.write_text(f"{secret}\n")

    def drop_in(self, text: str) -> None:
        """What an administrator would write into `systemctl edit notifier`."""
        file = self.box.files(DROP_IN)
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(text))
        self.systemctl("daemon-reload")

    # --- what is asked of it ------------------------------------------------------------------------------------------

    def systemctl(self, *arguments: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        """systemctl as root."""
        return self.box.run("systemctl", *arguments, check=check, timeout=90)

    def start(self) -> None:
        """Start the service, which is when it says that it is ready."""
        self.systemctl("start", "notifier")

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.systemctl("show", "--value", f"--property={name}", "notifier").stdout.removesuffix("\n")

    def command(self, *arguments: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Another verb, as root types it."""
        environment = {"CREDENTIALS_DIRECTORY": "/etc/notifier/credentials"}
        return self.box.run("/opt/notifier/bin/notifier", *arguments, check=check, environment=environment)

    def journal(self) -> list[dict[str, Any]]:
        """What the journal has of the service since it was made fresh, systemd's own lines included."""
        # Not --after-cursor, which leaves one out where the cursor's own entry is of another unit.
        return [entry for entry in self.box.journal("--unit=notifier") if _time(entry) > self._since]

    def log(self) -> list[str]:
        """The same, the texts alone."""
        return [str(entry["MESSAGE"]) for entry in self.journal()]

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float = 40.0) -> None:
        """Wait until it holds; AssertionError with the log when that takes too long."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "\n".join([f"never came: {what}", *self.log()])
            time.sleep(0.2)  # each look is a process or two

    def wait_for_log(self, text: str, count: int = 1) -> None:
        """Wait until so many lines of the log have the text."""
        self.wait_for(lambda: sum(text in line for line in self.log()) >= count, text)

    def wait_for_status(self, text: str) -> None:
        """Wait until the line that `systemctl status` shows has the text."""
        self.wait_for(lambda: text in self.show("StatusText"), f"the status {text}")


def _time(entry: Mapping[str, Any]) -> int:
    """When it was written."""
    return int(entry["__MONOTONIC_TIMESTAMP"])


def _pasted(command: str, secrets: Mapping[str, str]) -> str | None:
    """What is pasted into a command that waits for it."""
    if "/dev/stdin" not in command or "<<" in command:
        return None
    return secrets[command.rpartition("/")[2]]


@contextmanager
def libraries() -> Iterator[Path]:
    """A folder with the libraries that notifier needs: of the Python that runs the tests, or, where the system's is of
    another version, installed anew.
    """
    version = ["-c", "import sys; print(*sys.version_info[:2])"]
    versions = [
        subprocess.run([each, *version], capture_output=True, text=True).stdout for each in (PYTHON, sys.executable)
    ]
    if versions[0] == versions[1]:
        yield Path(sysconfig.get_path("purelib"))
        return
    with tempfile.TemporaryDirectory(prefix="libraries-") as folder:
        subprocess.run([PYTHON, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/pip", "install", "-q", str(ROOT)], check=True)
        (packages,) = Path(folder).glob("lib/python*/site-packages")
        yield packages
