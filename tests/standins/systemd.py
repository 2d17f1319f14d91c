"""A machine with a real systemd as its first process, in namespaces of its own, which are all there is of it.

    with Box() as box:
        box.files("etc/systemd/system/x.service").write_text(...)
        box.run("systemctl", "start", "x")
        with box.network():
            server = Server(("127.0.0.1", 0))  # reached by what runs in the box, and served by the test

Its files are those of this machine below an overlay that lives in memory; of its units none is started but journald.
Its network is a loopback device. It cannot load modules, set the clock or write the kernel's settings.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

INIT = "/lib/systemd/systemd"
PROGRAMS = ("unshare", "nsenter", "setpriv", "mount", "pivot_root", "systemctl", "journalctl", "systemd-analyze")
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "cat",
}
CLONE_NEWNET = 0x40000000
CONFINED = "-sys_time,-sys_module,-sys_rawio"
"""What would act on the whole machine, and so is not to be had in a box, whoever enters it."""
LACKING = 77
"""How the holder ends where this machine lacks something."""

HOLDER = r"""
# Lives until its input ends, and takes the box with it, whatever becomes of the tests. Arguments: the folder to work
# in, what becomes the first process, the capabilities that nobody has in the box, the script that starts it, then
# folders of this machine and where they are to be seen.
set -eu
fail() { echo "needs $1" >&2; exit 77; }
folder=$1
mount -t tmpfs -o mode=755 box "$folder" 2>/dev/null || fail "the right to mount"
cd "$folder"
mkdir cgroup upper work root
mount -t cgroup2 box cgroup 2>/dev/null || fail "cgroup2"
mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work box root 2>/dev/null || fail "overlayfs"
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
cgroup=$folder/cgroup${own%/}/notifier-box-$$
mkdir "$cgroup" 2>/dev/null || fail "a cgroup2 that it may write to"
init=$2 confined=$3
printf '%s' "$4" >inner
shift 4
while [ $# -gt 0 ]; do
    mkdir -p "root/$2"
    mount --bind "$1" "root/$2"
    mount -o remount,bind,ro "root/$2"
    shift 2
done
unshare --pid --fork --kill-child --uts --ipc --net sh -ec '
    echo 0 >"$1/cgroup.procs"
    exec unshare --cgroup --mount --propagation private sh -e inner "$2" "$3"
' sh "$cgroup" "$init" "$confined" </dev/null &
exec >/dev/null  # so that its end, too early, is the end of what it says
cat
# The box's first process, which unshare waits for; or unshare, where there is none yet.
kill -KILL "$(cat outside 2>/dev/null || echo $!)" 2>/dev/null || true
wait $! 2>/dev/null || true
tries=0
until find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || [ $((tries += 1)) -gt 200 ]; do sleep 0.05; done
cd /
umount -l "$folder"
rmdir "$folder"
"""

INNER = r"""
# The first process of the box, which becomes systemd. Prints how it is known outside.
read -r outside rest </proc/self/stat
echo "$outside" >outside
cd root
# Only here: removed from the overlay, not from the machine.
rm -rf etc/systemd lib/systemd/system/*.wants lib/systemd/system-generators lib/systemd/system-environment-generators
rm -rf etc/machine-id etc/fstab usr/local/lib/systemd etc/init.d etc/rc?.d etc/notifier var/lib/notifier opt/notifier
mkdir -p etc/systemd/system lib/systemd/system/sockets.target.wants lib/systemd/system/sysinit.target.wants
for unit in systemd-journald.socket systemd-journald-dev-log.socket; do
    ln -s "../$unit" lib/systemd/system/sockets.target.wants/
done
ln -s ../systemd-journald.service lib/systemd/system/sysinit.target.wants/
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id  # without one, systemd would enable all that Debian has
: >etc/fstab
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    : >"dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
ln -s pts/ptmx dev/ptmx
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/old
pivot_root . run/old
cd /
umount -l run/old
rmdir run/old
# The kernel's settings are the machine's; only those of the network are the box's own.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,rw /proc/sys/net
if [ -e /proc/sysrq-trigger ]; then
    mount --bind /dev/null /proc/sysrq-trigger
fi
mount --make-rshared /  # or no service could read its credentials
echo "$outside"
exec 1>&2
exec env -i container=box PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb \
    setpriv --bounding-set="$2" \
    "$1" --system --unit=multi-user.target --show-status=no
"""


class Box:
    """A running systemd; a context manager, or call `close()`. Several can run side by side.

    `shared` are folders of this machine that are seen in it, and where. Skips the test where this machine cannot have
    such a box.
    """

    def __init__(self, shared: Mapping[Path, str] | None = None) -> None:
        if os.geteuid() != 0:
            pytest.skip("a booted systemd needs root")
        for program in PROGRAMS:
            if shutil.which(program, path=ENVIRONMENT["PATH"]) is None:
                pytest.skip(f"a booted systemd needs {program}")
        if not Path(INIT).exists():
            pytest.skip(f"a booted systemd needs {INIT}")
        self._folder = tempfile.TemporaryDirectory(prefix="box-")
        self.folder = Path(self._folder.name)
        """Where it is mounted, which only it sees."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the box
        folders = [str(each) for pair in (shared or {}).items() for each in pair]
        arguments = [self._folder.name, INIT, CONFINED, INNER, *folders]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", HOLDER, "sh", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=ENVIRONMENT,
            start_new_session=True,  # a ^C is for the tests, which then end it
        )
        try:
            self._boot()
        except BaseException:  # whatever it was, nothing may stay
            self.close()
            raise

    def _boot(self) -> None:
        assert self._holder.stdout is not None
        said = self._holder.stdout.readline().split()
        if not said:
            self._holder.communicate()
            why = self._said().strip()
            if self._holder.returncode == LACKING or "unshare failed" in why:
                pytest.skip(f"a booted systemd: {why}")
            raise AssertionError(f"the box was not set up: {why}")
        self.pid = int(said[0])
        """Of its systemd, as this machine counts."""
        deadline = time.monotonic() + 30
        while self.run("systemctl", "is-active", "multi-user.target", check=None).stdout != "active\n":
            assert time.monotonic() < deadline, f"systemd did not boot: {self._said()}"
            assert self._holder.poll() is None, f"systemd ended: {self._said()}"
            time.sleep(0.02)

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def files(self, path: str = "") -> Path:
        """The way to its files for whoever is outside: `files("etc/passwd")`."""
        return Path(f"/proc/{self.pid}/root") / path.lstrip("/")

    def entering(self, *command: str, cwd: str = "/") -> list[str]:
        """What runs the command in it, as root."""
        kinds = ("--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid")
        confined = ("setpriv", f"--bounding-set={CONFINED}", "--")
        return ["nsenter", f"--target={self.pid}", *kinds, f"--wdns={cwd}", *confined, *command]

    def run(
        self,
        *command: str,
        check: int | None = 0,
        input: str | None = None,  # noqa: A002 - as in subprocess
        timeout: float = 60.0,
        cwd: str = "/",
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root; AssertionError when it does not end with `check`, or not in time."""
        process = subprocess.Popen(
            self.entering(*command, cwd=cwd),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**ENVIRONMENT, **(environment or {})},
            start_new_session=True,
        )
        ended = True
        try:
            output, error = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            ended = False
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # nsenter, and what it waits for
                output, error = process.communicate()
        assert ended, f"{command} did not end in {timeout} s:\n{output}\n{error}"
        done = subprocess.CompletedProcess(command, process.returncode, output, error)
        assert check in (None, done.returncode), f"{command}: {done.returncode}\n{output}\n{error}"
        return done

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """The journal's entries, oldest first, with all their fields; `arguments` are journalctl's."""
        self.run("journalctl", "--sync")
        found = self.run("journalctl", "--output=json", "--all", "--no-pager", "--quiet", *arguments)
        return [json.loads(line) for line in found.stdout.splitlines()]

    @contextmanager
    def network(self) -> Iterator[None]:
        """While it lasts, sockets that this thread makes are the box's, and so are those of threads that it starts."""
        with open("/proc/thread-self/ns/net") as before, open(f"/proc/{self.pid}/ns/net") as inside:
            _enter_network(inside.fileno())
            try:
                yield
            finally:
                _enter_network(before.fileno())

    def close(self) -> None:
        """End it, and all that runs in it, at once."""
        self._holder.communicate()  # it ends with its input
        self._errors.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _enter_network(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
