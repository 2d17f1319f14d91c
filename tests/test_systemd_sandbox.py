"""What the daemon could do if somebody took it over: a probe tries it, under the very settings of the unit."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
from typing import Any

import pytest

from tests.standins.daemon import ROOT
from tests.standins.machine import TOKEN, Machine

METADATA = "169.254.169.254"
SIOCSIFADDR = 0x8916
PROBE = "usr/local/lib/probe.py"
OPEN = ("/etc/open-to-all", "/usr/local/open-to-all", "/srv/open-to-all", "/var/lib/open-to-all")


def listen(host: str) -> socket.socket:
    """A listener on the loopback device, which has the address from now on."""
    listener = socket.socket()
    if host != "127.0.0.1":
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(host))
        fcntl.ioctl(listener, SIOCSIFADDR, address)
    listener.bind((host, 0))
    listener.listen()
    return listener


@pytest.fixture
def found(machine: Machine) -> dict[str, Any]:
    """What came of the probe's tries."""
    for place in OPEN:
        folder = machine.box.files(place)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
    machine.box.files("tmp/of-others").write_text("")
    machine.box.files(PROBE).write_text((ROOT / "tests/standins/probe.py").read_text())
    with machine.box.network():
        listeners = {"here": listen("127.0.0.1"), "metadata": listen(METADATA)}
    try:
        addresses = [json.dumps(listener.getsockname()[:2]).replace(" ", "") for listener in listeners.values()]
        command = ["/opt/notifier/bin/python3", f"/{PROBE}", *addresses]
        as_user = ("setpriv", "--reuid=notifier", "--regid=notifier", "--clear-groups")
        folders = {"CREDENTIALS_DIRECTORY": "/etc/notifier/credentials", "STATE_DIRECTORY": "/tmp"}
        unconfined = json.loads(machine.box.run(*as_user, *command, environment=folders).stdout)
        # The try is worth something only where nothing else forbids it.
        assert set(unconfined["written"].values()) | set(unconfined["connected"].values()) == {"done"}
        quoted = " ".join(f"'{each}'" for each in command)
        machine.drop_in(f"[Service]\nExecStartPre={quoted}\n")
        machine.start()
    finally:
        for listener in listeners.values():
            listener.close()
    (line,) = [line for line in machine.log() if line.startswith("{")]
    tried: dict[str, Any] = json.loads(line)
    tried["connected"] = dict(zip(listeners, tried["connected"].values(), strict=True))
    return tried


def test_it_can_do_its_work_and_nothing_else(found: dict[str, Any]) -> None:
    assert found == {
        "written": dict.fromkeys(OPEN, "EROFS"),
        "own": {"/var/lib/notifier": "done", "/tmp": "done"},
        "read": {
            "/etc/notifier/config.yaml": "done",
            "/run/credentials/notifier.service/cometapi": "done",
            "/etc/notifier/credentials/cometapi": "EACCES",
            "/etc/shadow": "EACCES",
            "/tmp/of-others": "ENOENT",
            "/proc/1/environ": "ENOENT",
            "/proc/meminfo": "ENOENT",
            "/dev/kmsg": "ENOENT",
        },
        "listed": {"/home": "EACCES", "/root": "EACCES"},
        "called": {
            "unshare": "EPERM",
            "chroot": "EPERM",
            "ptrace": "EPERM",
            "setpriority": "EPERM",
            "code in memory": "EPERM",
            "netlink": "EAFNOSUPPORT",
            "packets": "EAFNOSUPPORT",
            "open files": "done",
        },
        "connected": {"here": "done", "metadata": "nothing"},
        "others": [],
        "status": {"CapEff": "0" * 16, "CapBnd": "0" * 16, "CapAmb": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"},
        "core": 0,
    }


def test_no_other_user_can_read_the_secrets(machine: Machine) -> None:
    machine.start()
    for path in ("/run/credentials/notifier.service/cometapi", "/etc/notifier/credentials/cometapi",
                 f"/proc/{machine.show('MainPID')}/environ", "/var/lib/notifier/notifier.db"):  # fmt: skip
        machine.box.run("grep", "-q", ".", path)
        machine.box.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "cat", path, check=1)
    assert machine.box.run("grep", "-rl", TOKEN, "/run/credentials").stdout.split() == [
        "/run/credentials/notifier.service/cometapi"
    ]
