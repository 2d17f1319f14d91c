"""The machine that the tests boot is a real one, and nothing of it stays."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.standins.daemon import ROOT
from tests.standins.systemd import Box

BOOTS = """
from tests.standins.systemd import Box
box = Box()
print(box.pid, box.folder, flush=True)
input()
"""

GROUPS = 'mount -t cgroup2 none /mnt; find /mnt -name "$1"'


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Traces:
    """What there is of a box, as this machine sees it."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.pid, self.folder = pid, folder
        (self.cgroup,) = re.findall(r"notifier-box-\d+", Path(f"/proc/{pid}/cgroup").read_text())[:1]

    def __call__(self) -> set[str]:
        """The kinds of what is left."""
        groups = subprocess.run(["unshare", "--mount", "sh", "-ec", GROUPS, "sh", self.cgroup], capture_output=True)
        found = {
            "process": Path(f"/proc/{self.pid}").exists(),
            "folder": self.folder.exists(),
            "mount": any(str(self.folder) in table for table in mount_tables()),
            "cgroup": groups.stdout != b"",
        }
        return {kind for kind, is_there in found.items() if is_there}


def mount_tables() -> Iterator[str]:
    """What every process of this machine has mounted."""
    for file in Path("/proc").glob("[0-9]*/mountinfo"):
        with suppress(OSError):  # it has just ended
            yield file.read_text()


def test_boxes_stand_side_by_side_and_leave_nothing_behind() -> None:
    with Box() as one, Box() as other:
        one.files("run/mine").write_text("")
        assert not other.files("run/mine").exists()
        assert one.run("cat", "/proc/1/comm").stdout == "systemd\n"
        assert one.run("systemctl", "is-system-running").stdout == "running\n"
        traces = [Traces(box.pid, box.folder) for box in (one, other)]
        assert [left() for left in traces] == [{"process", "folder", "mount", "cgroup"}] * 2
    assert [left() for left in traces] == [set(), set()]


def test_a_box_ends_with_the_tests_even_if_those_are_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BOOTS], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        said = tests.stdout.readline().split()
        if not said:
            pytest.skip("no box can be had")  # another test says why
        left = Traces(int(said[0]), Path(said[1]))
        tests.kill()
    wait_until(lambda: not left())


def test_a_command_that_takes_too_long_is_ended_and_says_so() -> None:
    with Box() as box:
        with pytest.raises(AssertionError, match=r"did not end in 0\.2 s"):
            box.run("sleep", "1000", timeout=0.2)
        wait_until(lambda: "1000" not in box.run("sh", "-c", "cat /proc/[0-9]*/cmdline").stdout)
        with pytest.raises(AssertionError, match="oh no"):
            box.run("sh", "-c", "echo oh no; false")


def test_what_is_changed_in_a_box_is_not_changed_on_this_machine() -> None:
    with Box() as box:
        box.run("sh", "-ec", "echo of the box >/etc/issue; touch /usr/share/of-the-box; hostname of-the-box")
        assert "of the box" not in Path("/etc/issue").read_text()
        assert not Path("/usr/share/of-the-box").exists()
        assert "of-the-box" not in Path("/proc/sys/kernel/hostname").read_text()
        assert "Read-only" in box.run("sh", "-c", "echo 1 >/proc/sys/kernel/panic", check=None).stderr
        now = box.run("date", "--iso-8601=seconds").stdout.strip()  # not another time, lest it be set after all
        assert box.run("date", f"--set={now}", check=1).stderr.endswith("Operation not permitted\n")
        assert box.run("sh", "-c", "cat /sys/class/net/*/operstate | wc -l").stdout == "1\n"
