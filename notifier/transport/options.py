"""What libcurl is told of a request, and of every request."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pycurl
import requests

# Options of libcurl that pycurl has no name for (values from curl/curl.h, where they never change).
_SUPPRESS_CONNECT_HEADERS = 265
_QUICK_EXIT = 322

_OWN_HEADERS = ("Accept", "Expect", "User-Agent")
"""Headers that libcurl would add by itself where requests has none."""
_LONGEST = 2_000_000.0
"""Seconds; more milliseconds do not fit into libcurl's number."""


def configure(handle: pycurl.Curl, ca_bundle: Path) -> None:
    """Set what is the same for every exchange."""
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(_QUICK_EXIT, 1)  # do not wait at the end for a DNS server that never answers (before libcurl 8.20)
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    # One exchange per connection: on a shared HTTP/2 connection one stalled or reset stream of a gateway, or one lost
    # packet, would hold up every prediction behind it.
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    handle.setopt(pycurl.HTTP09_ALLOWED, 0)
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    handle.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
    handle.setopt(pycurl.PATH_AS_IS, 1)  # requests has prepared the path: `%2E%2E` is a name, not a way up
    handle.setopt(pycurl.ACCEPT_ENCODING, "")  # all encodings that libcurl can decode
    # What is meant for the API (the token above all) is not for the proxy that is asked to connect to it.
    handle.setopt(pycurl.HEADEROPT, pycurl.HEADER_SEPARATE)
    handle.setopt(_SUPPRESS_CONNECT_HEADERS, 1)
    handle.setopt(pycurl.SSL_VERIFYPEER, 1)
    handle.setopt(pycurl.SSL_VERIFYHOST, 2)
    if ca_bundle.is_dir():
        handle.setopt(pycurl.CAPATH, str(ca_bundle))
        handle.unsetopt(pycurl.CAINFO)
        handle.setopt(pycurl.PROXY_CAPATH, str(ca_bundle))
        handle.unsetopt(pycurl.PROXY_CAINFO)
    else:
        handle.setopt(pycurl.CAINFO, str(ca_bundle))
        handle.unsetopt(pycurl.CAPATH)
        handle.setopt(pycurl.PROXY_CAINFO, str(ca_bundle))
        handle.unsetopt(pycurl.PROXY_CAPATH)


def set_method(handle: pycurl.Curl, request: requests.PreparedRequest) -> None:
    """Set another method than GET, and the body. Raises ValueError for a body that is not in memory."""
    body = request.body
    if isinstance(body, str):
        body = body.encode()
    if not isinstance(body, bytes | None):
        raise ValueError("a body that is a stream cannot be sent")  # noqa: TRY004 - a value this transport refuses
    if body:
        handle.setopt(pycurl.POSTFIELDSIZE_LARGE, len(body))
        handle.setopt(pycurl.COPYPOSTFIELDS, body)
    if request.method == "HEAD":
        handle.setopt(pycurl.NOBODY, 1)
    else:
        handle.setopt(pycurl.CUSTOMREQUEST, request.method)


def header_lines(headers: Iterable[tuple[str | bytes, str | bytes]], *, body: bool) -> list[bytes]:
    """The request's headers in libcurl's notation, and nothing of libcurl's own.

    Accept-Encoding is left to libcurl, which knows what it can decode, and the length of a body, which it counts.
    Raises ValueError for a header that requests would not have prepared.
    """
    lines = []
    left_out = {name.lower(): name for name in _OWN_HEADERS}
    for raw_name, raw_value in headers:
        name = raw_name if isinstance(raw_name, str) else raw_name.decode("latin-1")
        value = raw_value if isinstance(raw_value, str) else raw_value.decode("latin-1")
        lowered = name.lower()
        left_out.pop(lowered, None)
        if lowered == "accept-encoding" or (lowered == "content-length" and body):
            continue
        line = f"{name}: {value}" if value else f"{name};"
        if not line.isprintable():
            raise ValueError("a header with a control character in it")
        lines.append(line.encode("latin-1"))
    return lines + [f"{name}:".encode() for name in left_out.values()]


def milliseconds(seconds: float) -> int:
    """A time in libcurl's unit; at least 1, since 0 is none at all for it. Raises ValueError for what is no number."""
    return max(1, int(min(seconds, _LONGEST) * 1000))
