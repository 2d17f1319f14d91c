"""A small disk: a tmpfs in a mount namespace of its own, which is gone when the test is, however that ends."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Self

import pytest

MOUNT = 'mount -t tmpfs -o "size=$2,mode=700" none "$1" && echo mounted && exec cat'


class SmallDisk:
    """Mounted at `folder` for whatever `launcher` starts; `inside` is the way to its files from without.

    Skips the test where the machine does not allow mounting.
    """

    def __init__(self, folder: Path, size: str) -> None:
        folder.mkdir()
        try:
            self._holder = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT, "sh", str(folder), size],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError:
            pytest.skip("needs unshare(1)")
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "mounted\n":
            _, error = self._holder.communicate()
            pytest.skip(f"needs the right to mount: {error.strip()}")
        self._folder = folder
        self.inside = Path(f"/proc/{self._holder.pid}/root{folder}")
        self.launcher = ("nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt")

    def fill(self) -> None:
        """Leave no room on it."""
        with (self.inside / "filler").open("ab", buffering=0) as file:
            for portion in (65536, 512):
                try:
                    while file.write(bytes(portion)):
                        pass
                except OSError:
                    pass

    def make_room(self) -> None:
        """Give back what `fill` took."""
        (self.inside / "filler").unlink()

    def make_read_only(self) -> None:
        """Let nothing be written any more; nothing on it may be open for writing."""
        subprocess.run([*self.launcher, "mount", "-o", "remount,ro", str(self._folder)], check=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()  # `cat` ends with its input, and the namespace with it
