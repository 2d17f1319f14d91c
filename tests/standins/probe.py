"""Tries what a daemon that was taken over might try, and prints as JSON what came of it: an errno's name, or "done".

python probe.py ADDRESS... with each address as JSON
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

CLONE_NEWUSER = 0x10000000
PATIENCE = 1.0
"""Seconds for a connection on a loopback device."""


def outcome(action: Callable[[], object]) -> str:
    """What came of it."""
    try:
        action()
    except TimeoutError:
        return "nothing"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def apart(action: Callable[[], object]) -> str:
    """What came of it in a process of its own, for what would change the rest."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writer, outcome(action).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with open(reader) as said:
        return said.read()


def call(name: str, *arguments: object) -> Callable[[], None]:
    """A function of the C library."""

    def act() -> None:
        library = ctypes.CDLL(None, use_errno=True)
        if getattr(library, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), name)

    return act


def connect(address: str) -> Callable[[], None]:
    """A connection that is made and dropped."""
    return lambda: socket.create_connection(json.loads(address), PATIENCE).close()


def write(folder: Path) -> Callable[[], None]:
    """A new file."""

    def act() -> None:
        file = folder / "written-by-the-probe"
        file.write_text("")
        file.unlink()

    return act


def open_folders() -> Iterator[Path]:
    """Where everybody may write, as far as the folders' own modes go."""
    for place in ("etc", "usr/local", "srv", "var/lib"):
        yield Path("/", place, "open-to-all")


def others() -> list[str]:
    """Processes of other users that are to be seen."""
    own = os.getuid()
    return [each.name for each in Path("/proc").glob("[0-9]*") if each.stat().st_uid != own]


def main() -> None:
    """Try everything."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    token = Path(os.environ["CREDENTIALS_DIRECTORY"], "cometapi")
    found: dict[str, Any] = {
        "written": {str(folder): outcome(write(folder)) for folder in open_folders()},
        "own": {folder: outcome(write(Path(folder))) for folder in (os.environ["STATE_DIRECTORY"], "/tmp")},
        "read": {
            path: outcome(Path(path).read_bytes)
            for path in ("/etc/notifier/config.yaml", str(token), "/etc/notifier/credentials/cometapi", "/etc/shadow",
                         "/tmp/of-others", "/proc/1/environ", "/proc/meminfo", "/dev/kmsg")
        },
        "listed": {path: outcome(partial(os.listdir, path)) for path in ("/home", "/root")},
        "called": {
            "unshare": apart(call("unshare", CLONE_NEWUSER)),
            "chroot": apart(call("chroot", b"/tmp")),
            "ptrace": apart(call("ptrace", 0, 0, 0, 0)),
            "setpriority": apart(lambda: os.setpriority(os.PRIO_PROCESS, 0, 1)),
            "code in memory": apart(partial(mmap.mmap, -1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
            "netlink": apart(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
            "packets": apart(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
            "open files": apart(lambda: resource.setrlimit(
                resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)),
        },
        "connected": {address: outcome(connect(address)) for address in sys.argv[1:]},
        "others": others(),
        "status": {key: status[key].strip() for key in ("CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")},
        "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
    }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
