"""Everything that an answer of the prediction API can be instead of a good one, by name, and what it must come to.

Whatever holds a status where a poll must fail says `failed`: should it be believed, that is told, and the test sees it.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tests.standins.api import (
    Answer,
    Connection,
    Misbehaviour,
    comet_error,
    hang,
    plain,
    prediction,
    problem,
    reset,
    sends,
    wrapped,
)

MIB = 2**20
LINK = "https://cdn.test/out-0.png"
Make = Callable[[str], Answer]
"""The faulty answer to a poll of that id."""


class Comes(Enum):
    """What a fault that stays comes to."""

    UNREACHABLE = "unreachable"
    """The polls fail."""
    LOST = "lost"
    """The API does not know the id."""
    NOTHING = "nothing"
    """It is no fault to a reader who is not fussy: the prediction is processing."""


@dataclass(frozen=True)
class Fault:
    """A fault of one prediction; `reason` stands in the log's reason for the failed poll."""

    make: Make
    comes_to: Comes
    reason: str = ""


def failing(reason: str, answer: Answer | Make) -> Fault:
    return Fault(_maker(answer), Comes.UNREACHABLE, reason)


def lost(reason: str, answer: Answer) -> Fault:
    return Fault(_maker(answer), Comes.LOST, reason)


def fine(make: Make) -> Fault:
    return Fault(make, Comes.NOTHING)


def _maker(answer: Answer | Make) -> Make:
    return (lambda _: answer) if isinstance(answer, Answer) else answer


# --- on the socket -----------------------------------------------------------------------------------------------


def cut(where: Callable[[bytes], int], then: Callable[[Connection], Any]) -> Make:
    """The answer up to a place in its bytes, then something else."""

    async def play(connection: Connection, raw: bytes) -> None:
        await connection.write(raw[: where(raw)])
        await asyncio.sleep(0.02)  # or a reset would overtake what was written
        end = then(connection)
        if end is not None:
            await end

    return lambda name: plain(name, "failed").with_(play=play)


def in_headers(raw: bytes) -> int:
    return 25


def in_body(raw: bytes) -> int:
    return len(raw) - 5


def dripping(begin: Callable[[bytes], int]) -> Make:
    """At once up to a place, then a byte every half second."""

    async def play(connection: Connection, raw: bytes) -> None:
        start = begin(raw)
        await connection.write(raw[:start])
        for byte in raw[start:]:
            await connection.write(bytes([byte]))
            await asyncio.sleep(0.5)

    return lambda name: plain(name, "failed").with_(play=play)


def endless(head: bytes, piece: bytes) -> Answer:
    """One piece after the other, for as long as anybody listens."""

    async def play(connection: Connection, raw: bytes) -> None:
        await connection.write(head)
        while True:
            await connection.write(piece)

    return Answer(play=play)


def before_the_end(raw: bytes) -> Misbehaviour:
    async def play(connection: Connection, answer: bytes) -> bool:
        await connection.write(raw + answer)
        return True

    return play


def encoded(encoding: str, pack: Callable[[bytes], bytes], status: str = "failed") -> Make:
    return lambda name: Answer(body=pack(plain(name, status).content()), headers={"Content-Encoding": encoding})


def chunked(name: str) -> Answer:
    body = plain(name, "processing").content()
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:]))
    return sends(CHUNKED + parts + b"0\r\nX-Trailer: status\r\n\r\n")


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOMB = gzip.compress(b"0" * 64 * MIB)
GZIP = HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10]
BROKEN, MALFORMED, LARGE = "connection broken", "not HTTP", "too large"

WIRE = {
    "hang": failing("no answer within", hang),
    "hang-in-headers": failing("did not end within", cut(in_headers, Connection.gone)),
    "hang-in-body": failing("did not end within", cut(in_body, Connection.gone)),
    "drip-headers": failing("did not end within", dripping(in_headers)),
    "drip-body": failing("did not end within", dripping(in_body)),
    "reset": failing(BROKEN, reset),
    "reset-in-headers": failing(BROKEN, cut(in_headers, Connection.reset)),
    "reset-in-body": failing(BROKEN, cut(in_body, Connection.reset)),
    "closed": failing(BROKEN, sends(b"")),
    "truncated": failing(BROKEN, cut(in_body, lambda _: None)),
    "chunks-cut": failing(BROKEN, sends(CHUNKED + b'20\r\n{"status":')),
    "chunk-size-bad": failing(BROKEN, sends(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n")),
    "chunk-end-bad": failing(BROKEN, sends(CHUNKED + b"2\r\n{}{}{}\r\n0\r\n\r\n")),
    "chunks-endless": failing(LARGE, endless(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n")),
    "chunk-endless": failing("did not end within", endless(CHUNKED + b"2;", b"x" * 1000)),
    "trailers-endless": failing(LARGE, endless(CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: " + b"x" * 1000 + b"\r\n")),
    "garbage": failing(MALFORMED, sends(b"\x16\x03\x01\x00garbage\r\n\r\n")),
    "no-headers": failing(MALFORMED, lambda name: sends(plain(name, "failed").content())),
    "version-unknown": failing(MALFORMED, sends(b"HTTP/9.9 200 OK\r\n\r\n")),
    "header-with-nul": failing(MALFORMED, sends(HEAD + b"X-A: \0\r\nContent-Length: 2\r\n\r\n{}")),
    "length-negative": failing(MALFORMED, sends(HEAD + b"Content-Length: -2\r\n\r\n{}")),
    "lengths-two": failing(MALFORMED, sends(HEAD + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}")),
    "header-long": failing(LARGE, lambda name: plain(name, "failed").with_(headers={"X-Long": "x" * 70_000})),
    "headers-many": failing(
        LARGE, lambda name: plain(name, "failed").with_(headers={f"X-{number}": "" for number in range(300)})
    ),
    "headers-endless": failing(LARGE, endless(HEAD, b"X-A: " + b"x" * 1000 + b"\r\n")),
    "hints-endless": failing(LARGE, endless(b"", b"HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n")),
    "gzip-none": failing("bad compression", encoded("gzip", bytes)),
    "gzip-cut": failing("JSON that is broken off", encoded("gzip", lambda body: gzip.compress(body)[:-40])),
    "gzip-bomb": failing(LARGE, Answer(body=BOMB, headers={"Content-Encoding": "gzip"})),
    "gzip-of-nothing": failing(LARGE, endless(GZIP, b"\x00\x00\x00\xff\xff" * 10_000)),
    "encoding-unknown": failing("bad compression", encoded("rot13", bytes)),
    "logs-of-50-MB": failing(LARGE, lambda name: sends(HEAD + b"Content-Length: 52428800\r\n\r\n" + b"x" * 17 * MIB)),
    "body-endless": failing(LARGE, endless(HEAD + b"\r\n", b"x" * 65536)),
    "stale-connection": fine(lambda name: plain(name, "processing").with_(closes=True)),
    "chunked": fine(chunked),
    "gzip": fine(encoded("gzip", gzip.compress, "processing")),
    "deflate": fine(encoded("deflate", zlib.compress, "processing")),
    "interim": fine(lambda name: plain(name, "processing").with_(play=before_the_end(b"HTTP/1.1 103 Hints\r\n\r\n"))),
}

# --- 200 with a body that is none --------------------------------------------------------------------------------


def text(body: str, encoding: str = "utf-8") -> Make:
    """`PREDICTION` stands for a whole failed one, `ID` for its id."""
    return lambda name: Answer(
        body=body.replace("PREDICTION", json.dumps(prediction(name, "failed"))).replace("ID", name).encode(encoding)
    )


def field(status: str = "processing", **fields: Any) -> Make:
    return lambda name: plain(name, status, **fields)


def number(digits: int) -> Make:
    return lambda name: Answer(body=plain(name, "processing", metrics={"n": 7}).content().replace(b"7", b"9" * digits))


CUT_OFF, NO_PREDICTION, NOT_UTF8 = "JSON that is broken off", "JSON that is no prediction", "not UTF-8"
HIDDEN = "an error inside HTTP 200"
PORTAL = Answer(body=b"<!doctype html><title>Sign in to Hotel Wi-Fi</title><script>if (a < b) {}</script>")

BODIES = {
    "empty": failing("an empty answer", Answer(body=b"")),
    "blank": failing("an empty answer", Answer(body=b" \r\n")),
    "no-content": failing("an empty answer", Answer(204, b"")),
    "portal": failing("an HTML page (Sign in", PORTAL),
    "prose": failing("not JSON: upstream says no", Answer(body=b"upstream says no")),
    "null": failing("a JSON null", text("null")),
    "list": failing("a JSON list", text("[PREDICTION]")),
    "string": failing("a JSON string", text('"failed"')),
    "number": failing("a JSON number", text("5")),
    "truth": failing("a JSON boolean", text("true")),
    "half": failing(CUT_OFF, text('{"id": "ID", "status": "failed"')),
    "twice": failing(CUT_OFF, text("PREDICTION PREDICTION")),
    "nan": failing(CUT_OFF, text('{"id": "ID", "status": "failed", "n": NaN}')),
    "infinity": failing(CUT_OFF, text('{"id": "ID", "status": "failed", "n": -Infinity}')),
    "deep": failing(CUT_OFF, text('{"id": "ID", "status": "failed", "n": ' + "[" * 100_000 + "]" * 100_000 + "}")),
    "values-many": failing(LARGE, text('{"id": "ID", "status": "failed", "n": [' + "{}," * 3_000_000 + "{}]}")),
    "utf-8-bad": failing(NOT_UTF8, text('{"id": "ID", "status": "failed", "error": "\xff"}', "latin-1")),
    "utf-16": failing(NOT_UTF8, text("PREDICTION", "utf-16")),
    "utf-32": failing(NOT_UTF8, text("PREDICTION", "utf-32")),
    "object-empty": failing(NO_PREDICTION, text("{}")),
    "status-missing": failing(NO_PREDICTION, text('{"id": "ID", "output": "x"}')),
    "status-null": failing("status is a JSON null", text('{"id": "ID", "status": null}')),
    "status-number": failing("status is a JSON number", text('{"id": "ID", "status": 3}')),
    "status-list": failing("status is a JSON list", text('{"id": "ID", "status": ["failed"]}')),
    "status-object": failing("status is a JSON object", text('{"id": "ID", "status": {"failed": true}}')),
    "status-blank": failing("status is blank", text('{"id": "ID", "status": " \\u0000"}')),
    "status-of-100000-digits": failing("a JSON number", text('{"id": "ID", "status": ' + "9" * 100_000 + "}")),
    "other-id": failing("another prediction's answer", plain("somebodyelse", "failed")),
    "other-task": failing("another prediction's answer", wrapped("other", "FAILURE", prediction("other2", "failed"))),
    "task-without-data": failing(NO_PREDICTION, text('{"code": "success", "message": "", "data": null}')),
    "task-error": failing(HIDDEN, text('{"code": "quota", "message": "quota is used up", "data": null}')),
    "error-object": failing(HIDDEN, comet_error(200, "busy (request id: 2026)")),
    "error-text": failing(HIDDEN, text('{"error": "boom"}')),
    "error-rfc-7807": failing(HIDDEN, text('{"title": "Unauthenticated", "detail": "no", "status": 401}')),
    "error-named-failed": failing(HIDDEN, text('{"status": "failed", "msg": "boom"}')),
    "error-midjourney": failing(HIDDEN, text('{"description": "quota_not_enough", "type": "upstream", "code": 4}')),
    "byte-order-mark": fine(lambda name: Answer(body=b"\xef\xbb\xbf" + plain(name, "processing").content())),
    "digits-5000": fine(number(5000)),
    "digits-100000": fine(number(100_000)),
    "digits-5000000": fine(number(5_000_000)),
    "no-content-type": fine(lambda name: plain(name, "processing").with_(headers={"Content-Type": ""})),
    "called-html": fine(lambda name: plain(name, "processing").with_(headers={"Content-Type": "text/html"})),
    "fields-few": fine(text('{"id": "ID", "status": "processing"}')),
    "fields-odd": fine(
        field(
            error="", logs=None, metrics=[1], urls=7, version=None, created_at="today", input="x", model=[], webhook={}
        )
    ),
    "status-shouted": fine(field(" Processing\n")),
    "half-characters": fine(field(logs="\ud800", model="\udfff")),
    "logs-growing": fine(field(logs="\x1b[31m 50%\r\x00" * 50_000)),
    "url-elsewhere": fine(field(urls={"get": "http://127.0.0.1:1/predictions/x", "stream": "http://127.0.0.2:1/"})),
    "task": fine(lambda name: wrapped(name, "IN_PROGRESS")),
    "task-around-text": fine(lambda name: wrapped(name, "IN_PROGRESS", json.dumps(prediction(name, "processing")))),
    "task-disagreeing": fine(lambda name: wrapped(name, "SUCCESS", prediction(name, "processing"))),
}

# --- other codes -------------------------------------------------------------------------------------------------


def page(code: int, title: str) -> Answer:
    return Answer(code, f"<html><head><title>{title}</title></head></html>".encode(), {"Content-Type": "text/html"})


def cloudflare(code: int, title: str) -> Answer:
    return page(code, f"api.cometapi.com | {code}: {title}")


CODES = {
    "300": failing("HTTP 300", problem(300)),
    "304": failing("HTTP 304", lambda _: sends(b"HTTP/1.1 304 Not Modified\r\n\r\n")),
    "400": failing("HTTP 400 Bad Request: no", comet_error(400, "no", "invalid_request")),
    "405": failing("HTTP 405", problem(405, detail="Method not allowed")),
    "408": failing("HTTP 408", page(408, "Request Time-out")),
    "409": failing("HTTP 409", problem(409)),
    "410": failing("HTTP 410", problem(410, "Gone")),
    "422": failing("Invalid version", problem(422, "Invalid version or not permitted")),
    "451": failing("HTTP 451", Answer(451, b"")),
    "500": failing("HTTP 500 Internal Server Error: Oops", problem(500, detail="Oops")),
    "500-invalid": failing("HTTP 500", comet_error(500, "malformed", "invalid_request")),
    "500-prediction": failing("HTTP 500", lambda name: plain(name, "failed", error="no").with_(status=500)),
    "501": failing("HTTP 501", Answer(501, {"msg": "no", "code": 5})),
    "502": failing("502 Bad Gateway", page(502, "502 Bad Gateway")),
    "503": failing("no available channel", comet_error(503, "no available channel for group", "model_not_found")),
    "503-wait": failing("HTTP 503", problem(503, detail="Starting", Retry_After="1")),
    "504": failing("HTTP 504", Answer(504, b"upstream request timeout")),
    "520": failing("520", cloudflare(520, "Web server is returning an unknown error")),
    "521": failing("521", cloudflare(521, "Web server is down")),
    "522": failing("522", cloudflare(522, "Connection timed out")),
    "523": failing("523", cloudflare(523, "Origin is unreachable")),
    "524": failing("524", cloudflare(524, "A timeout occurred")),
    "526": failing("526", cloudflare(526, "Invalid SSL certificate")),
    "529": failing("HTTP 529", Answer(529, {"type": "error", "error": {"type": "overloaded", "message": "busy"}})),
    "599": failing("HTTP 599", Answer(599, b"\x00\xff")),
    "404": lost("HTTP 404", problem(404, detail="No prediction matches the given query.")),
    "404-page": lost("HTTP 404", page(404, "Nothing here")),
    "task-not-exist": lost("task_not_exist", Answer(body={"code": "task_not_exist", "message": "", "data": None})),
    "task-not-exist-400": lost("HTTP 400", comet_error(400, "no", "task_not_exist")),
}

REFUSALS = {
    "401": failing("HTTP 401", problem(401, "Unauthenticated", "You did not pass a valid authentication token")),
    "402": failing("HTTP 402", problem(402, "Insufficient credit", "Top up")),
    "403": failing("HTTP 403", comet_error(403, "no access to this model")),
}
"""Each is checked with another watch of its account."""


def redirects(elsewhere: str) -> dict[str, Fault]:
    """To another host and port, and to a path that would be answered."""

    def to(code: int, start: str) -> Make:
        return lambda name: Answer(code, b"", {"Location": start + name})

    return {
        f"redirect-{code}-{where}": failing(f"HTTP {code}", to(code, start))
        for code in (301, 302, 303, 307, 308)
        for where, start in (("away", f"{elsewhere}/predictions/"), ("back", "/replicate/v1/predictions/follow-"))
    }
