"""What single values of the file mean: durations, sizes, rates, ids, addresses. Pure functions.

Each takes what stands in the file and returns the value, or raises WrongValueError with what is allowed. What was
found is added by whoever knows the place, so that no function here can quote a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeGuard
from urllib.parse import urlsplit

from notifier.config.wording import did_you_mean, either
from notifier.model import Secret

KNOWN_BASE_URLS = {
    "cometapi": "https://api.cometapi.com/replicate/v1",
    "replicate": "https://api.replicate.com/v1",
}
"""The accounts whose base_url need not be written."""

ID_PATTERN = r"[A-Za-z0-9_-]{1,128}"
NAME_PATTERN = r"[\w.-]{1,64}"
_COUNT = r"\d{1,15}(?:\.\d{1,15})?"
DURATION_PATTERN = rf"(?=\d)(?:{_COUNT}d)?(?:{_COUNT}h)?(?:{_COUNT}m)?(?:{_COUNT}s)?|{_COUNT}"
SIZE_PATTERN = rf"({_COUNT}) ?(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?"
RATE_PATTERN = rf"({_COUNT})/(s|min|h)"

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_PER = {"s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(DURATION_PATTERN, re.ASCII)
_COUNT_AND_UNIT = re.compile(r"([\d.]+)([dhms]?)", re.ASCII)
_SIZE = re.compile(SIZE_PATTERN, re.ASCII)
_RATE = re.compile(RATE_PATTERN, re.ASCII)
_NAME = re.compile(NAME_PATTERN)
_ID = re.compile(ID_PATTERN)
_PREDICTION = re.compile(rf"(https?://[^?#\s]+)/predictions/({ID_PATTERN})/?(?:[?#].*)?", re.IGNORECASE)
_PAGE = re.compile(rf"https?://(?:www\.)?replicate\.com/p/({ID_PATTERN})/?(?:[?#].*)?", re.IGNORECASE)
_LISTEN = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):([0-9]{1,5})", re.ASCII)
_HOST_NAME = re.compile(r"(?=.{1,253}$)[\w-]{1,63}(?:\.[\w-]{1,63})*\.?", re.ASCII)
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,221}", re.ASCII)
_BUCKETS = "s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
_MAX_PREFIX = 500
"""Bytes, of the 1,024 that a key may have."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class WrongValueError(ValueError):
    """A value that cannot be; the text says what is allowed."""


class NotTextError(WrongValueError):
    """Text was wanted, and YAML made something else of it: quotes may help."""


def parse_duration(value: object) -> float:
    """Seconds from `30s`, `5m`, `1h30m`, `2d`, or a plain number of seconds."""
    if _is_number(value):
        return float(value)
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise WrongValueError("must be a duration such as 30s, 5m or 1h30m")
    return sum(float(count) * _SECONDS[unit] for count, unit in _COUNT_AND_UNIT.findall(value))


def parse_size(value: object) -> int:
    """Bytes from `16MiB`, `500KB`, or a plain number of bytes."""
    text = str(value) if _is_number(value) else value
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise WrongValueError("must be a size such as 16MiB or 500KB")
    return int(float(match[1]) * _BYTES[match[2] or ""])


def parse_rate(value: object) -> float:
    """Times per second from `10/s`, `600/min` or `100/h`."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise WrongValueError("must be a rate such as 10/s, 600/min or 100/h")
    return float(match[1]) / _PER[match[2]]


def text(value: object) -> str:
    """Any text but an empty one."""
    chosen = text_or_empty(value)
    if not chosen or chosen.isspace():
        raise WrongValueError("must not be empty")
    return chosen


def text_or_empty(value: object) -> str:
    """Any text. What is wrong with an empty one is said by whoever knows what it is for."""
    if not isinstance(value, str):
        raise NotTextError("must be text")
    return value


def truth(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise WrongValueError("must be true or false")
    return value


def whole_number(value: object) -> int:
    """A whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise WrongValueError("must be a whole number")
    return value


def line_of_text(value: object) -> str:
    """Text to be shown on one line, of at most 200 characters."""
    if len(line := text(value)) > 200 or _CONTROL.search(line):
        raise WrongValueError("must be one line of at most 200 characters")
    return line


def name(value: object) -> str:
    """The name of an account or a channel."""
    if not _NAME.fullmatch(chosen := text(value)):
        raise WrongValueError("must be a name of at most 64 letters, digits, `_`, `-` and `.`")
    return chosen


def one_of(value: object, allowed: Iterable[str], what: str = "") -> str:
    """One of some words; `what` introduces them in the message."""
    allowed = tuple(allowed)
    if isinstance(value, str) and value in allowed:
        return value
    if not isinstance(value, str):
        raise NotTextError(f"must be {what}{either(allowed)}")
    raise WrongValueError(f"must be {what}{either(allowed)}{did_you_mean(value, allowed)}")


def base_url(value: object) -> str:
    """An account's address, without the slash at its end, scheme and host in lower case."""
    url = text(value)
    if re.search(r"[^\x21-\x7e]|\\", url):
        raise WrongValueError("must be an address without blanks, backslashes or characters outside ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise WrongValueError("must be an address such as https://api.cometapi.com/replicate/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise WrongValueError("must be an address such as https://api.cometapi.com/replicate/v1")
    if "@" in parts.netloc:
        raise WrongValueError("must not hold a user name or password: the token goes into `token`")
    if "?" in url or "#" in url:
        raise WrongValueError("must not hold a query (?) or fragment (#)")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def heartbeat_url(value: str) -> Secret:
    """The address of an outside heartbeat, which is a secret as a whole: whoever knows it can send it."""
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        usable = parts.scheme in ("http", "https") and parts.port != 0
        usable = usable and (is_address(host) or bool(_HOST_NAME.fullmatch(host)))
    except ValueError:
        usable = False
    if not usable or re.search(r"[^\x21-\x7e]|\\", value):
        raise WrongValueError("must be an address such as https://hc-ping.com/..., without blanks")
    return Secret(value)


def listen(value: object) -> tuple[str, int]:
    """An address of this machine and a port there: `127.0.0.1:9464`, `[::1]:9464` or `localhost:9464`."""
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    host = (match[1] or match[2]).lower() if match else ""
    if match is None or not (host == "localhost" or is_address(host)) or not 0 < int(match[3]) < 2**16:
        raise WrongValueError("must be an address of this machine and a port, such as 127.0.0.1:9464")
    return host, int(match[3])


def host_name(value: object, example: str = "monitor.example.com") -> str:
    """The name of a host, in lower case, without a port."""
    if not _HOST_NAME.fullmatch(chosen := text(value)):
        raise WrongValueError(f"must be a host's name, such as {example}, without a port")
    return chosen.lower().removesuffix(".")


def file_host(value: object) -> str:
    """The name of a host that files come from; its subdomains are meant anyway, with `*.` before it or without."""
    chosen = text(value)
    return host_name(chosen.removeprefix("*.") or chosen, "replicate.delivery")


def is_address(host: str) -> bool:
    """Whether this is an IP address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_exposed(url: str) -> bool:
    """Whether a token sent to this base_url crosses a network in the clear: plain http to another machine."""
    parts = urlsplit(url)
    return parts.scheme != "https" and not is_loopback(parts.hostname or "")


def is_loopback(host: str) -> bool:
    """Whether this names an address that only this machine reaches."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def prediction(value: object) -> tuple[str | None, str]:
    """The base_url that an entry's id names, if it is a prediction's URL, and the bare id."""
    given = text(value)
    if _ID.fullmatch(given):
        return None, given
    if page := _PAGE.fullmatch(given):
        return KNOWN_BASE_URLS["replicate"], page[1]
    if match := _PREDICTION.fullmatch(given):
        return base_url(match[1]), match[2]
    raise WrongValueError(
        "must be an id of at most 128 letters, digits, `_` and `-`, or the prediction's URL on its API"
    )


def token(value: str) -> Secret:
    """An account's token: what can stand in an HTTP header (RFC 9110, 5.5), and has no blank in it."""
    if not value:
        raise WrongValueError("is empty")
    if re.search(r"[\r\n\x85\u2028\u2029]", value):
        raise WrongValueError("has a line break in it")
    if not value.isascii():
        raise WrongValueError("has a character outside ASCII in it")
    if re.search(r"[^\x21-\x7e]", value):
        raise WrongValueError("has a blank or control character in it; write the token alone, without `Bearer`")
    return Secret(value)


def channel_url(value: str) -> Secret:
    """A notification URL, as far as can be said without Apprise."""
    if not value.strip():
        raise WrongValueError("is empty")
    if _CONTROL.search(value):
        raise WrongValueError("has a line break or control character in it")
    return Secret(value)


def store_url(value: object, folder: Path) -> str:
    """An SQLAlchemy URL of an SQLite file, its path made absolute; a relative one starts at `folder`."""
    url = text(value)
    path = url.removeprefix("sqlite:///")
    if path == url:
        raise WrongValueError(
            "must be an SQLite file, as in sqlite:////var/lib/notifier/notifier.db; no other works yet"
        )
    if (
        _CONTROL.search(path)
        or "?" in path
        or path.endswith("/")
        or path in ("", ":memory:")
        or path.startswith("file:")
    ):
        raise WrongValueError("must name a file, without options, as in sqlite:////var/lib/notifier/notifier.db")
    return f"sqlite:///{folder.absolute() / path}"


def output_directory(value: object) -> str:
    """Where outputs are kept: an absolute path, or the URL of an object store, without the slash at its end."""
    chosen = text(value)
    if _CONTROL.search(chosen):
        raise WrongValueError("must not have a line break or control character in it")
    if "://" in chosen:
        return _bucket_url(chosen)
    if not chosen.startswith("/") or not chosen.strip("/"):
        raise WrongValueError(f"must be an absolute path, such as /var/lib/notifier/outputs, or {_BUCKETS}")
    return str(Path(chosen))


def _bucket_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.removesuffix("/").partition("/")
    if scheme not in ("s3", "gs", "az"):
        raise WrongValueError(f"must be an absolute path, or {_BUCKETS}")
    if "@" in bucket:
        raise WrongValueError("must not hold a user name or password: credentials come from the environment")
    if "?" in url or "#" in url:
        raise WrongValueError("must not hold a query (?) or fragment (#)")
    if not _BUCKET.fullmatch(bucket):
        raise WrongValueError(f"must name a bucket or container after {scheme}://, as in {_BUCKETS}")
    if prefix and not {"", ".", ".."}.isdisjoint(prefix.split("/")):
        raise WrongValueError("must not have an empty part (//), `.` or `..` in its path")
    if re.search(r"\s|\\", prefix):
        raise WrongValueError("must not have a blank or backslash in it")
    if len(prefix.encode(errors="replace")) > _MAX_PREFIX:
        raise WrongValueError(f"must have a path of at most {_MAX_PREFIX} bytes: names of files come after it")
    return f"{scheme}://{bucket}/{prefix}".removesuffix("/")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
