"""Downloads in a network of their own, in which nothing leads out: public and metadata addresses, and DNS that lies.

    unshare --net --mount python -m tests.standins.namespace FOLDER

All addresses are on the loopback interface of a new network namespace; /etc/resolv.conf is another one in a new mount
namespace. What came of each download is printed as JSON: the kind of its failure, or the address that served it.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import requests
import trustme

from notifier.transport import Guard, Transport
from tests.sinks import MemorySink, fetch
from tests.standins.files import FileStandIn, redirect

PUBLIC, METADATA, METADATA6 = "93.184.215.14", "169.254.169.254", "fd00:ec2::254"
"""The first is nobody's that could be reached: there is no way out."""
A, AAAA = 1, 28
ANSWERS: dict[str, list[list[str]]] = {
    "public.example": [[PUBLIC]],
    "metadata.example": [[METADATA]],
    "metadata6.example": [[METADATA6]],
    "both.example": [[METADATA, PUBLIC]],
    "rebound.example": [[PUBLIC], [METADATA]],
}
"""To the next question, and so on; the last to all others."""


class Names:
    """A DNS server that answers as it likes (RFC 1035)."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        self._answers = {name: list(answers) for name, answers in ANSWERS.items()}
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, asker = self._socket.recvfrom(4096)
            self._socket.sendto(self._answer(question), asker)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = int.from_bytes(question[at + 1 : at + 3], "big")
        versions = self._answers.get(".".join(labels), [[]])
        # Both kinds are asked for at once: only one of them is the next question.
        addresses = versions.pop(0) if len(versions) > 1 and kind == A else versions[0]
        found = [packed for address in addresses if (packed := _packed(address, kind))]
        header = struct.pack(">HHHHHH", int.from_bytes(question[:2], "big"), 0x8180, 1, len(found), 0, 0)
        records = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed for packed in found)
        return header + question[12 : at + 5] + records


def _packed(address: str, kind: int) -> bytes:
    parsed = ip_address(address)
    return parsed.packed if parsed.version == (4 if kind == A else 6) else b""


def furnish(folder: Path) -> None:
    """Give this namespace its addresses and its DNS."""
    for address in (PUBLIC, METADATA):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{METADATA6}/128", "dev", "lo", "nodad"], check=True)
    for name, text in (("resolv.conf", "nameserver 127.0.0.1\n"), ("hosts", ""), ("nsswitch.conf", "hosts: dns\n")):
        if (Path("/etc") / name).exists():
            (folder / name).write_text(text)
            subprocess.run(["mount", "--bind", str(folder / name), f"/etc/{name}"], check=True)


def main(folder: Path) -> None:
    """Play all of it."""
    if Path("/proc/self/ns/net").readlink() == Path(f"/proc/{os.getppid()}/ns/net").readlink():
        sys.exit("this is for a network namespace of its own")
    furnish(folder)
    Names()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))

    def get(host: str, guard: Guard = Guard(), name: str = "file") -> str:  # noqa: B008 - it cannot be changed
        """With a transport that has not looked up anything yet."""
        transport = Transport(environment={"SSL_CERT_FILE": str(folder / "ca.pem")})
        transport.start()
        try:
            sink = MemorySink()
            answer = fetch(transport, f"https://{host}/{name}", sink, guard)
            return sink.data.decode() if isinstance(answer, requests.Response) else str(answer)
        finally:
            transport.close()

    with ExitStack() as stack:
        servers: dict[str, FileStandIn] = {}
        for address in (PUBLIC, METADATA, METADATA6):
            server = FileStandIn(authority=authority, names=(*ANSWERS, address), address=address, port=443)
            servers[address] = stack.enter_context(server)
            server.put("file", address.encode())
        servers[PUBLIC].script("moved", [], then=redirect("https://metadata.example/file"))
        results: dict[str, object] = {
            "public": get("public.example"),
            "metadata": get("metadata.example"),
            "metadata by IPv6": get("metadata6.example"),
            "metadata by its address": get(f"[{METADATA6}]"),
            "both": get("both.example"),
            "redirected": get("public.example", name="moved"),
            "rebound": [get("rebound.example") for _ in range(2)],
            "connections": sum(servers[address].connections for address in (METADATA, METADATA6)),
            "metadata where it is allowed": get("metadata.example", Guard(allow_private=True)),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
