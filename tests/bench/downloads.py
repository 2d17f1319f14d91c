"""How fast a file is kept by notifier, and by a plain requests download into a file; and in how much memory.

notifier hashes it on the way, and has it on the disk for certain (fsync) before it is named. A plain download does
neither; `requests+` is one that does both.

    python -m tests.bench.downloads --sizes 16MiB 256MiB 2GiB --turns 7 --folder /var/tmp

They take turns in one process, in either order, so that whatever else the machine does meets both. The
server is a process of its own: over plain HTTP it has the kernel send from memory (sendfile), over TLS it encrypts the
same block again and again. That it is not what is measured is seen from a third reader, `bare`, which reads as fast as
a socket can be read in Python and throws everything away: where it is hardly faster, the table says `server-bound`.

Memory is the most that any download held on top of what the first one, which is not counted, had left to the process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import re
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import trustme

from notifier.model import File, Key, Outputs
from notifier.outputs import LocalDirectory, Manifests, Means, attempt
from notifier.transport import Transport

MIB = 2**20
_BLOCK = 4 * MIB
_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_HEADROOM = 1.2
"""How much faster than both the bare reader has to be for the server not to matter."""


# --- the server --------------------------------------------------------------------------------------------------


def serve(listener: socket.socket, certificate: str | None) -> None:
    """Answer `GET /SIZE` with so many bytes, a thread for each connection; until the process is ended."""
    block = os.memfd_create("block")
    data = os.urandom(_BLOCK)
    os.write(block, data)
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)

    def answer(connection: socket.socket) -> None:
        with connection:
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                more = connection.recv(65536)
                if not more:
                    return
                asked += more
            left = int(asked.split(b" ", 2)[1].strip(b"/"))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % left)
            while left:
                most = min(left, _BLOCK)
                if context is None:
                    start = 0
                    while start < most:
                        start += os.sendfile(connection.fileno(), block, start, most - start)
                else:
                    connection.sendall(memoryview(data)[:most])
                left -= most

    def take(plain: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the reader has gone
            answer(plain if context is None else context.wrap_socket(plain, server_side=True))

    while True:
        threading.Thread(target=take, args=(listener.accept()[0],), daemon=True).start()


@contextlib.contextmanager
def running(certificate: str | None) -> Iterator[str]:
    """A server in a process of its own; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(listener, certificate), daemon=True)
        process.start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


# --- the readers -------------------------------------------------------------------------------------------------


def by_notifier(transport: Transport) -> Callable[[str, Path], None]:
    """Ours, as the saver does it: hashed, on the disk for certain, and then named."""

    def token_for(_key: Key, _url: str) -> None:
        return None

    def read(url: str, path: Path) -> None:
        place = LocalDirectory(path.parent / "outputs")
        place.prepare()
        outputs = Outputs(str(path.parent), max_size=1 << 40, allow_private=True, min_free=0)
        means = Means(outputs, place, Manifests(place), token_for)
        file, failure = attempt(File(Key("here", "x"), 0, url, url), means, transport)
        assert failure is None, failure
        Path(str(file.place)).rename(path)

    return read


def by_requests(url: str, path: Path) -> None:
    """What one would write without it."""
    with requests.get(url, stream=True, timeout=60) as answer, path.open("wb") as file:
        for piece in answer.iter_content(MIB):
            file.write(piece)


def by_requests_for_certain(url: str, path: Path) -> None:
    """What one would write to have the same."""
    content = hashlib.sha256()
    with requests.get(url, stream=True, timeout=60) as answer, path.open("wb") as file:
        for piece in answer.iter_content(MIB):
            content.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def bare(url: str, path: Path, authority: str) -> None:
    """Read and throw away, which leaves next to nothing but the server."""
    parts = urlsplit(url)
    buffer = bytearray(MIB)
    size = int(parts.path.strip("/"))
    connection = socket.create_connection(("127.0.0.1", parts.port or 0))
    if parts.scheme == "https":
        connection = ssl.create_default_context(cafile=authority).wrap_socket(connection, server_hostname="127.0.0.1")
    with connection:
        connection.sendall(f"GET {parts.path} HTTP/1.1\r\n\r\n".encode())
        while size > 0 and (read := connection.recv_into(buffer)):
            size -= read


# --- measuring ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """One download."""

    seconds: float
    processor: float
    """Seconds of it, of this process."""
    memory: int
    """Bytes that were held at most beyond what was held before."""


def measure(read: Callable[[str, Path], None], url: str, folder: Path, size: int, *, writes: bool = True) -> Run:
    """Download once."""
    path = folder / "file"
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is what is held now
    before = _memory("VmRSS")
    processor, began = time.process_time(), time.monotonic()
    read(url, path)
    run = Run(time.monotonic() - began, time.process_time() - processor, _memory("VmHWM") - before)
    if writes:
        assert path.stat().st_size == size
        path.unlink()
    return run


def _memory(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def size_of(text: str) -> int:
    """`256MiB` in bytes."""
    found = re.fullmatch(r"([0-9]+)(KiB|MiB|GiB)", text)
    if found is None:
        raise argparse.ArgumentTypeError("sizes are like 256MiB")
    return int(found[1]) * _UNITS[found[2]]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", type=size_of, default=[16 * MIB, 256 * MIB])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the files are written; default: where temporary files go")
    options = parser.parse_args()
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        authority = trustme.CA()
        bundle, certificate = str(folder / "ca.pem"), str(folder / "server.pem")
        authority.cert_pem.write_to_path(bundle)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        os.environ["REQUESTS_CA_BUNDLE"] = bundle
        transport = Transport()
        transport.start()
        ours = by_notifier(transport)
        for how, path in (("plain", None), ("TLS", certificate)):
            with running(path) as base:
                rows += [
                    compare(how, f"{base}/{size}", folder, size, ours, bundle, options.turns) for size in options.sizes
                ]
        transport.close()
    head = ["", "size", "notifier", "requests", "requests+", "bare", "ratio", "ratio+", "CPU s/GiB", "memory MiB", ""]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print(f"medians of {options.turns} turns, MiB/s; CPU and memory: notifier / requests / requests+")
    print(f"{os.cpu_count()} cores, load " + " ".join(f"{load:.1f}" for load in os.getloadavg()))
    for row in [head, *rows]:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def compare(
    how: str, url: str, folder: Path, size: int, ours: Callable[[str, Path], None], bundle: str, pairs: int
) -> list[str]:
    """A row of the table."""

    def nothing(url: str, path: Path) -> None:
        bare(url, path, bundle)

    readers = {"notifier": ours, "requests": by_requests, "requests+": by_requests_for_certain}
    for read in readers.values():  # connections, code and memory that only the first download needs
        measure(read, url, folder, size)
    runs: dict[str, list[Run]] = {name: [] for name in (*readers, "bare")}
    for turn in range(pairs):
        for name in list(readers)[:: 1 if turn % 2 else -1]:
            runs[name].append(measure(readers[name], url, folder, size))
        runs["bare"].append(measure(nothing, url, folder, size, writes=False))
    speed = {name: statistics.median(size / MIB / run.seconds for run in of) for name, of in runs.items()}
    ratios = [
        statistics.median(theirs.seconds / mine.seconds for mine, theirs in zip(runs["notifier"], of, strict=True))
        for of in (runs["requests"], runs["requests+"])
    ]
    processor = [statistics.median(run.processor for run in runs[name]) / size * 2**30 for name in readers]
    memory = [max(run.memory for run in runs[name]) / MIB for name in readers]
    bound = speed["bare"] < _HEADROOM * max(speed[name] for name in readers)
    print(f"{how} {size // MIB} MiB: {speed['notifier']:.0f} to {speed['requests']:.0f} MiB/s", flush=True)
    return [
        how, f"{size // MIB} MiB", *(f"{speed[name]:.0f}" for name in (*readers, "bare")),
        *(f"{ratio:.2f}" for ratio in ratios), "/".join(f"{value:.2f}" for value in processor),
        "/".join(f"{value:.1f}" for value in memory), "server-bound" if bound else "",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
