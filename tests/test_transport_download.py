"""Downloads from a real file server that behaves, and from one that does not."""

from __future__ import annotations

import gzip
import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import requests

from notifier.transport import Answer, Kind, Transport
from tests.sinks import ANYWHERE, MIB, MemorySink, failed, fetch, get, limits, whole
from tests.standins import files as play
from tests.standins.files import FileStandIn

CONTENT = random.Random(6).randbytes(3 * MIB + 17)
NAME = "out-0.png"
HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def files() -> Iterator[FileStandIn]:
    with FileStandIn() as files:
        files.put(NAME, CONTENT)
        yield files


@pytest.fixture
def url(files: FileStandIn) -> str:
    return files.url(NAME)


# --- whole files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [play.honest, play.chunked, play.until_closed], ids=["length", "chunks", "end"])
def test_a_file_arrives_as_it_is_in_blocks(transport: Transport, files: FileStandIn, url: str, how: play.Play) -> None:
    files.script(NAME, [how])
    sink = MemorySink()
    answer = whole(fetch(transport, url, sink))
    assert sink.data == CONTENT
    *blocks, last = sink.blocks
    assert (set(blocks), last < blocks[0]) == ({512 * 1024}, True), "which is what file systems are fast with"
    assert (answer.status_code, answer.headers["Content-Type"], answer.url) == (200, "image/png", url)
    assert (sink.head.status, sink.head.offset) == (200, 0)
    assert sink.head.total == (len(CONTENT) if how is play.honest else None)
    assert sink.head.headers["content-type"] == "image/png"


def test_the_file_itself_is_asked_for_and_nothing_that_is_made_of_it(transport: Transport, files: FileStandIn) -> None:
    whole(fetch(transport, files.url(NAME), MemorySink(), X_A="1", Accept_Encoding="gzip"))
    headers = files.requests[0].headers
    assert headers == {"x-a": "1", "accept-encoding": "identity", "host": f"127.0.0.1:{files.port}"}


def test_an_empty_file_is_a_file(transport: Transport, files: FileStandIn, url: str) -> None:
    files.script(NAME, [play.empty])
    sink = MemorySink()
    whole(fetch(transport, url, sink))
    assert (sink.head.total, sink.blocks) == (0, [])


def test_a_download_that_is_not_waited_for_is_told_of_once(transport: Transport, url: str) -> None:
    answers: SimpleQueue[Answer] = SimpleQueue()
    threads: SimpleQueue[str] = SimpleQueue()

    def done(answer: Answer) -> None:
        threads.put(threading.current_thread().name)
        answers.put(answer)

    sinks = [MemorySink() for _ in range(8)]
    for sink in sinks:
        transport.download(get(url), sink=sink, guard=ANYWHERE, limits=limits(), done=done)
    for _ in sinks:
        whole(answers.get(timeout=60))
        assert threads.get() == "transport"
    assert all(sink.data == CONTENT for sink in sinks)
    assert answers.empty()


def test_a_download_of_any_length_takes_the_same_memory(transport: Transport, files: FileStandIn) -> None:
    class Nowhere(MemorySink):
        def write(self, data: bytes) -> None:
            self.blocks.append(len(data))

    size = 256 * MIB
    files.script("long", [play.streams(16 * MIB), play.streams(size)])
    whole(fetch(transport, files.url("long"), Nowhere()))
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is what is held now
    before = memory("VmRSS")
    sink = Nowhere()
    whole(fetch(transport, files.url("long"), sink, within=limits(max_size=size)))
    assert sum(sink.blocks) == size
    assert memory("VmHWM") - before < 32 * MIB


def memory(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def test_connections_are_not_shared_with_anybody(transport: Transport, files: FileStandIn, url: str) -> None:
    """One that the guard of another had opened, or none at all, could lead anywhere."""
    for _ in range(2):
        whole(fetch(transport, url, MemorySink()))
        transport.exchange(get(url), timeout=20, max_body=64 * MIB)
    assert [seen.connection for seen in files.requests] == [1, 2, 3, 2]


def test_child_processes_do_not_inherit_a_connection(transport: Transport, files: FileStandIn, url: str) -> None:
    files.script(NAME, [play.stalled(after=MIB)])
    answers: SimpleQueue[Answer] = SimpleQueue()
    transport.download(get(url), sink=MemorySink(), guard=ANYWHERE, limits=limits(), done=answers.put)
    files.wait_for()
    descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    (connection,) = (number for number in descriptors if _leads_to(number, files.port))  # no copy of it is left open
    assert not os.get_inheritable(connection)


def _leads_to(descriptor: int, port: int) -> bool:
    try:
        other = socket.socket(fileno=descriptor)
    except OSError:  # no socket, or the folder that was just listed
        return False
    try:
        return bool(other.getpeername()[1:2] == (port,))
    except OSError:
        return False
    finally:
        other.detach()  # it is not ours to close


# --- the rest of a file ------------------------------------------------------------------------------------------

HALF = MIB + 5


def resume(transport: Transport, url: str, sink: MemorySink, validator: str | None = None) -> Answer:
    headers: dict[str, Any] = {"Range": f"bytes={len(sink.data)}-"}
    if validator is not None:
        headers["If_Range"] = validator
    return fetch(transport, url, sink, **headers)


def test_a_download_that_broke_goes_on_where_it_was(transport: Transport, files: FileStandIn, url: str) -> None:
    files.script(NAME, [play.truncated(after=HALF)])
    sink = MemorySink()
    assert failed(fetch(transport, url, sink)).kind is Kind.BROKEN
    assert sink.data == CONTENT[:HALF], "what came is not lost"
    answer = whole(resume(transport, url, sink, sink.head.validator))
    assert sink.data == CONTENT
    assert answer.status_code == 206
    assert (sink.heads[1].offset, sink.heads[1].total) == (HALF, len(CONTENT))
    assert files.requests[1].headers["if-range"] == sink.heads[0].validator is not None


def test_a_file_that_changed_comes_from_its_start(transport: Transport, files: FileStandIn, url: str) -> None:
    files.script(NAME, [play.truncated(after=HALF)])
    sink = MemorySink()
    failed(fetch(transport, url, sink))
    files.put(NAME, CONTENT[::-1])
    assert whole(resume(transport, url, sink, sink.head.validator)).status_code == 200
    assert (sink.heads[1].offset, sink.data) == (0, CONTENT[::-1])


def test_a_server_that_ignores_ranges_sends_the_file_from_its_start(
    transport: Transport, files: FileStandIn, url: str
) -> None:
    files.script(NAME, [play.range_ignored])
    sink = MemorySink(CONTENT[:HALF])
    assert whole(resume(transport, url, sink)).status_code == 200
    assert sink.data == CONTENT


def test_a_file_of_which_there_is_no_more_is_told_apart(transport: Transport, files: FileStandIn, url: str) -> None:
    sink = MemorySink(CONTENT)
    answer = resume(transport, url, sink)
    assert isinstance(answer, requests.Response)
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(CONTENT)}")
    assert (sink.heads, sink.data) == ([], CONTENT)


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("bytes 0-9/10", 10), ("bytes 5-8/10", 4), ("bytes 6-9/10", 4), ("bytes 5-9/*", 5), ("bytes 5-9/11", 5),
        ("bytes 9-5/6", 5), ("bytes 5-9/10", 4), ("items 5-9/10", 5), ("", 5), (None, 5), ("bytes 5-\xb2/10", 5),
    ],
)  # fmt: skip
def test_a_part_that_was_not_asked_for_is_not_taken(
    transport: Transport, files: FileStandIn, url: str, value: str | None, length: int
) -> None:
    files.script(NAME, [play.content_range(value, b"x" * length)])
    sink = MemorySink(b"12345")
    error = failed(resume(transport, url, sink))
    assert error.kind is Kind.MALFORMED
    assert error.reason.startswith("not what was asked for: ")
    assert (sink.heads, sink.data) == ([], b"12345")


def test_a_part_is_not_taken_for_the_whole(transport: Transport, files: FileStandIn, url: str) -> None:
    files.script(NAME, [play.content_range("bytes 0-4/10", b"12345")])
    assert failed(fetch(transport, url, MemorySink())).kind is Kind.MALFORMED


@pytest.mark.parametrize("version", [{"ETag": '"other"'}, {"Last-Modified": play.NOW}], ids=str)
def test_a_part_of_another_version_is_not_taken(
    transport: Transport, files: FileStandIn, url: str, version: dict[str, str]
) -> None:
    """By a server that knows ranges, and has never heard of If-Range."""
    part = {f"{name.replace('-', '_')}": value for name, value in version.items()}
    files.script(NAME, [play.status(206, b"67890", Content_Range="bytes 5-9/10", **part)])
    validator = '"mine"' if "ETag" in version else play.LONG_AGO
    error = failed(resume(transport, url, MemorySink(b"12345"), validator))
    assert error.reason.endswith("a part of another version of the file")


def test_a_part_in_chunks_is_counted_too(transport: Transport, files: FileStandIn, url: str) -> None:
    head = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 5-9/10\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunks, error, kept in (
        (b"4\r\n6789\r\n", "truncated: 1 bytes are missing", b"123456789"),
        (b"6\r\n67890!\r\n", "not HTTP: more bytes than the file has", b"12345"),
    ):
        files.script(NAME, [play.sends(head + chunks + b"0\r\n\r\n")])
        sink = MemorySink(b"12345")
        assert failed(resume(transport, url, sink)).reason == error
        assert sink.data == kept
    files.script(NAME, [play.sends(head + b"5\r\n67890\r\n0\r\n\r\n")])
    sink = MemorySink(b"12345")
    whole(resume(transport, url, sink))
    assert sink.data == b"1234567890"


@pytest.mark.parametrize("asked", ["bytes=1-5", "bytes=-5", "bytes=0-1,3-4", "items=0-", "bytes=x-"])
def test_only_the_rest_of_a_file_can_be_asked_for(transport: Transport, files: FileStandIn, asked: str) -> None:
    error = failed(fetch(transport, files.url(NAME), MemorySink(), Range=asked))
    assert (error.kind, error.reason) == (Kind.REQUEST, "cannot be sent: a Range other than bytes=N-")
    assert files.requests == []


# --- bodies that are not what they seem --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "came"),
    [
        (play.truncated(after=HALF), HALF),
        (play.reset(after=1000), 1000),
        (play.claims(len(CONTENT) + 1), len(CONTENT)),
        (play.sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"), 2),
        (play.sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\nok\r\n0\r\n\r\n"), 2),
        (play.sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n4\r\nab"), 4),
    ],
    ids=["truncated", "reset", "too long a length", "no last chunk", "bad chunk", "half a chunk"],
)
def test_a_file_cut_short_is_a_failure_and_what_came_is_kept(
    transport: Transport, files: FileStandIn, url: str, how: play.Play, came: int
) -> None:
    files.script(NAME, [how])
    sink = MemorySink()
    assert failed(fetch(transport, url, sink)).kind is Kind.BROKEN
    assert len(sink.data) == came
    whole(fetch(transport, url, sink))
    assert sink.data == CONTENT, "the next try is like the first"


def test_what_follows_the_end_of_an_answer_is_no_part_of_it(transport: Transport, files: FileStandIn, url: str) -> None:
    files.script(NAME, [play.claims(1000)])
    sink = MemorySink()
    whole(fetch(transport, url, sink))
    assert sink.data == CONTENT[:1000]
    assert sink.head.total == 1000


@pytest.mark.parametrize(
    "head",
    [b"", b"garbage\r\n\r\n", HEAD + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\nokay", b"\x16\x03\x01\r\n\r\n"],
)
def test_what_is_not_http_is_a_failure(transport: Transport, files: FileStandIn, url: str, head: bytes) -> None:
    files.script(NAME, [play.sends(head)])
    sink = MemorySink()
    assert failed(fetch(transport, url, sink)).kind in (Kind.BROKEN, Kind.MALFORMED)
    assert sink.heads == []


def test_interim_answers_and_trailers_are_not_the_head(transport: Transport, files: FileStandIn, url: str) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n"
    files.script(
        NAME, [play.sends(early + HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nETag: no\r\n\r\n")]
    )
    sink = MemorySink()
    answer = whole(fetch(transport, url, sink))
    assert (sink.data, sink.head.total, "ETag" in answer.headers) == (b"ok", None, False)


# --- compressed though nobody asked ------------------------------------------------------------------------------


def test_a_file_that_comes_compressed_all_the_same_is_unpacked(
    transport: Transport, files: FileStandIn, url: str
) -> None:
    files.script(NAME, [play.gzipped])
    sink = MemorySink()
    whole(fetch(transport, url, sink))
    assert sink.data == CONTENT
    assert (sink.head.total, sink.head.validator) == (None, None), "there is no going on in the middle of it"


def test_what_is_small_only_when_packed_comes_in_blocks_as_well(
    transport: Transport, files: FileStandIn, url: str
) -> None:
    files.script(NAME, [packed(gzip.compress(bytes(40 * MIB)))])
    sink = MemorySink()
    whole(fetch(transport, url, sink))
    assert (len(sink.data), max(sink.blocks) < MIB) == (40 * MIB, True)


def packed(body: bytes, encoding: str = "gzip", status: int = 200, **headers: str) -> play.Play:
    return play.status(status, body, Content_Encoding=encoding, **headers)


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        (packed(gzip.compress(CONTENT)[:-1]), Kind.BROKEN),  # its checksum is cut
        (packed(gzip.compress(CONTENT)[:MIB]), Kind.BROKEN),
        (packed(gzip.compress(b"abc")[:-8] + b"12345678"), Kind.MALFORMED),
        (packed(gzip.compress(b"abc") + b"garbage"), Kind.MALFORMED),
        (packed(b"not gzip"), Kind.MALFORMED),
        (packed(CONTENT, "br"), Kind.MALFORMED),
        (packed(CONTENT, "gzip, gzip"), Kind.MALFORMED),
        (packed(gzip.compress(bytes(65 * MIB))), Kind.TOO_LARGE),
        (packed(gzip.compress(b"67890"), status=206, Content_Range="bytes 5-9/10"), Kind.MALFORMED),
    ],
)
def test_what_is_packed_badly_is_a_failure(
    transport: Transport, files: FileStandIn, url: str, how: play.Play, kind: Kind
) -> None:
    files.script(NAME, [how])
    assert failed(resume(transport, url, MemorySink(b"12345"))).kind is kind


@pytest.mark.parametrize(
    "body", [b"", gzip.compress(b""), gzip.compress(b"ab") + gzip.compress(b"c")], ids=["nothing", "empty", "two"]
)
def test_odd_ways_to_pack_are_unpacked(transport: Transport, files: FileStandIn, url: str, body: bytes) -> None:
    files.script(NAME, [packed(body)])
    sink = MemorySink()
    whole(fetch(transport, url, sink))
    assert sink.data in (b"", b"abc")


def test_what_is_unpacked_to_nothing_has_an_end_too(transport: Transport, files: FileStandIn, url: str) -> None:
    """Empty blocks of deflate, for as long as anybody listens (RFC 1951, 3.2.4)."""

    async def endless(turn: play.Turn) -> None:
        await turn.send(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10])
        while True:
            await turn.send(b"\x00\x00\x00\xff\xff" * 10_000)

    files.script(NAME, [endless])
    assert failed(fetch(transport, url, MemorySink(), within=limits(max_size=MIB))).kind is Kind.TOO_LARGE


@pytest.mark.parametrize("encoding", ["identity", "", "IDENTITY", "x-gzip", "GZIP"])
def test_an_encoding_has_several_names(transport: Transport, files: FileStandIn, url: str, encoding: str) -> None:
    files.script(NAME, [packed(gzip.compress(b"ok") if "gzip" in encoding.lower() else b"ok", encoding)])
    sink = MemorySink()
    whole(fetch(transport, url, sink))
    assert sink.data == b"ok"
