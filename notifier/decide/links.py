"""For how long links to outputs work, as far as that is known of their hosts."""

from __future__ import annotations

from urllib.parse import urlsplit

LINK_LIFE = 3600.0
"""Seconds that output files of an API prediction live after completion (replicate.com, topics/data-retention)."""
_SHORT_LIVED = "replicate.delivery"


def is_short_lived(link: str) -> bool:
    """Whether the host is one known to delete what it has."""
    host = _host(link)
    return host == _SHORT_LIVED or host.endswith(f".{_SHORT_LIVED}")


def _host(link: str) -> str:
    try:
        return urlsplit(link).hostname or ""
    except ValueError:  # a link may be any text that begins with http://, such as http://[
        return ""
