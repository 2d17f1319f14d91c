"""What can go wrong with an exchange, told apart by what it means for the one who asked."""

from __future__ import annotations

import errno
import os
import re
from enum import StrEnum

import pycurl
import requests


class Kind(StrEnum):
    """Why an exchange brought no answer."""

    TIMEOUT = "timeout"
    """Not over within its deadline, whatever it was waiting for."""
    RESOLVE = "resolve"
    """No address for the host, or for the proxy."""
    CONNECT = "connect"
    """No connection to the host, or to the proxy."""
    NO_ROUTE = "no_route"
    """No way from this machine to the host's network."""
    TLS = "tls"
    """No agreement on TLS, or a certificate that is not to be trusted."""
    BROKEN = "broken"
    """The connection ended before the answer did: reset, closed, truncated, or framed badly."""
    MALFORMED = "malformed"
    """Something answered, but not in HTTP/1.1, or not in an encoding that can be decoded."""
    TOO_LARGE = "too_large"
    """The headers or the decoded body went over their limit; the rest was not read."""
    REQUEST = "request"
    """The request itself cannot be sent. Nothing was."""
    REFUSED = "refused"
    """A download would have gone where its guard lets none go, by its URL, a redirect or DNS; or round in circles."""
    UNWANTED = "unwanted"
    """A download's sink would not have the answer, for the reason it gave."""
    SINK = "sink"
    """A download's sink could not take the body (no space, say); `__cause__` is its OSError."""
    CLOSED = "closed"
    """The transport was closed, or stopped by a mistake of ours."""


class TransportError(Exception):
    """An exchange that brought no answer: a value for whoever asked, who never sees it raised.

    `reason` is short and for people; it names hosts at most, never a header, a path or a query.
    """

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason

    def __repr__(self) -> str:
        return f"TransportError({self.kind.value}, {self.reason!r})"

    def as_requests_error(self, request: requests.PreparedRequest) -> requests.RequestException:
        """The exception that requests' own adapter would raise for this, for users of `Session.send`."""
        return _IN_REQUESTS.get(self.kind, requests.ConnectionError)(self.reason, request=request)


_IN_REQUESTS: dict[Kind, type[requests.RequestException]] = {
    Kind.TIMEOUT: requests.Timeout,
    Kind.TLS: requests.exceptions.SSLError,
    Kind.TOO_LARGE: requests.RequestException,
    Kind.REQUEST: requests.exceptions.InvalidURL,
}

_WEIRD_SERVER_REPLY = 8  # libcurl's name; pycurl has another for it, from when only FTP used it
_PROXY = 97
_TOO_LARGE = 100

_KINDS: dict[int, tuple[Kind, str]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: (Kind.RESOLVE, "DNS"),
    pycurl.E_COULDNT_RESOLVE_PROXY: (Kind.RESOLVE, "DNS"),
    pycurl.E_COULDNT_CONNECT: (Kind.CONNECT, "connection"),
    _PROXY: (Kind.CONNECT, "proxy"),
    pycurl.E_SSL_CONNECT_ERROR: (Kind.TLS, "TLS"),
    pycurl.E_PEER_FAILED_VERIFICATION: (Kind.TLS, "TLS"),
    pycurl.E_SSL_CACERT_BADFILE: (Kind.TLS, "TLS"),
    pycurl.E_SSL_CIPHER: (Kind.TLS, "TLS"),
    pycurl.E_SSL_ISSUER_ERROR: (Kind.TLS, "TLS"),
    pycurl.E_UNSUPPORTED_PROTOCOL: (Kind.MALFORMED, "not HTTP"),  # HTTP/0.9: an answer without a status line
    _WEIRD_SERVER_REPLY: (Kind.MALFORMED, "not HTTP"),
    pycurl.E_BAD_CONTENT_ENCODING: (Kind.MALFORMED, "bad compression"),
    pycurl.E_FILESIZE_EXCEEDED: (Kind.TOO_LARGE, "too large"),
    _TOO_LARGE: (Kind.TOO_LARGE, "too large"),
    pycurl.E_URL_MALFORMAT: (Kind.REQUEST, "bad URL"),
}
"""libcurl's codes (https://curl.se/libcurl/c/libcurl-errors.html). Any other means that the connection broke."""


_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN})


def from_curl(code: int, message: str, os_error: int = 0) -> TransportError:
    """The error for libcurl's code and message; `os_error` is the errno of connecting, where that failed.

    How long the attempt took is cut out: a failure that repeats reads the same each time, so that it is logged once.
    """
    kind, what = _KINDS.get(code, (Kind.BROKEN, "connection broken"))
    detail = re.sub(r" after \d+ ms", "", message)
    if code == pycurl.E_COULDNT_CONNECT and os_error:
        # libcurl itself says no more than "Could not connect to server".
        detail = f"{detail.split(': ')[0]}: {os.strerror(os_error)}"
        kind = Kind.NO_ROUTE if os_error in _NO_ROUTE else kind
    detail = "".join(character for character in detail if character.isprintable())[:200]
    return TransportError(kind, f"{what}: {detail}" if detail else what)


def cannot_be_sent(error: Exception) -> TransportError:
    """The error for a request that libcurl, or we, would not take.

    Only our own words and libcurl's are shown: an encoding error, say, quotes the text it could not encode.
    """
    if isinstance(error, TransportError):
        return error
    spoken = isinstance(error, pycurl.error) or type(error) is ValueError
    what = str(error.args[-1]) if spoken and error.args else type(error).__name__
    return TransportError(Kind.REQUEST, f"cannot be sent: {what}")
