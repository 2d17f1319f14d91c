"""Where a download may go: its URL is a stranger's, and this machine sees networks that strangers do not."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

_AUTHORITY = re.compile(r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_PORTS = {"http": 80, "https": 443}
_INSIDE = ("localhost", "local", "internal", "home.arpa", "lan")
"""Names below these mean something inside one network alone (RFC 6761, 6762, 8375; `metadata.google.internal`)."""

_IPV4 = {
    "0.0.0.0/8": "unspecified",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "private",  # between a provider and its customers; Alibaba's metadata too
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "for metadata",  # Azure's, the only one with a public address
    "169.254.0.0/16": "link-local",  # metadata nearly everywhere
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved",  # Oracle's metadata
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "reserved",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "for benchmarking",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
_IPV6 = {
    "::/128": "unspecified",
    "::1/128": "loopback",
    "fc00::/7": "private",  # Amazon's metadata (fd00:ec2::254) and Google's
    "fe80::/10": "link-local",
    "ff00::/8": "multicast",
    "2001::/23": "reserved",  # Teredo, which leads to any IPv4 address, benchmarking and so on
    "2001:db8::/32": "for documentation",
    "2002::/16": "reserved",  # 6to4, likewise
    "3fff::/20": "for documentation",
}
_SPECIAL = {
    4: [(ip_network(network), name) for network, name in _IPV4.items()],
    6: [(ip_network(network), name) for network, name in _IPV6.items()],
}
"""IANA's registries of special-purpose addresses (RFC 6890), and what clouds have made of some public ones."""
_UNICAST = ip_network("2000::/3")
"""All that was ever given to anybody of IPv6; what lies outside and has no name above is `reserved`: ::ffff:127.0.0.1,
for one."""
_NAT64 = ip_network("64:ff9b::/96")
"""Where a network without IPv4 finds all of it (RFC 6052), unless it has a prefix of its own: nobody can tell that."""


class Origin(NamedTuple):
    """What a token may be for: RFC 6454's triple, in lower case, without a trailing dot."""

    scheme: str
    host: str
    port: int


def origin(url: str) -> Origin:
    """The origin of an absolute http or https URL, in which nobody could see another host.

    Raises ValueError, without the URL in it, for a user name or password, for a host that is not in ASCII, and for
    anything else that two programs might not read alike.
    """
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL that is not well-formed")
    try:
        parts = urlsplit(url)
    except ValueError:  # quotes what it could not read
        raise ValueError("a URL that is not well-formed") from None
    if parts.scheme not in _PORTS:
        raise ValueError("neither http nor https")
    if "@" in parts.netloc:
        raise ValueError("a URL with a user name or password in it")
    found = _AUTHORITY.fullmatch(parts.netloc.lower())
    if found is None or not found[1].strip("."):
        raise ValueError("a URL whose host is not plain to see")
    port = int(found[2] or _PORTS[parts.scheme])
    return Origin(parts.scheme, found[1].strip("[]").rstrip("."), port)


@dataclass(frozen=True, slots=True)
class Guard:
    """Where downloads may go: `hosts` and their subdomains (none given: any), at public addresses, over https.

    With `allow_private`, at any address, and over http as well. Has no state; for any thread.
    """

    hosts: tuple[str, ...] = ()
    allow_private: bool = False

    def refuses(self, to: Origin) -> str | None:
        """Why nothing may be asked of this origin, for people; None if it may."""
        if to.scheme != "https" and not self.allow_private:
            return f"{to.host} would be asked without TLS"
        if self.hosts and not any(_is_below(to.host, host.lower().strip(".")) for host in self.hosts):
            return f"{to.host} is none of the hosts that are allowed"
        return None

    def refuses_address(self, host: str, address: str) -> str | None:
        """Why no connection to this address, which the host was found to have, may be opened; None if it may."""
        if self.allow_private:
            return None
        kind = special(ip_address(address.partition("%")[0]))
        return f"{host} leads to {address}, which is {kind}" if kind else None

    def refuses_unresolved(self, host: str) -> str | None:
        """Why a proxy may not be asked for this host, as far as its name tells; None if it may."""
        if self.allow_private:
            return None
        address = _literal(host)
        if address is not None:
            return self.refuses_address(host, str(address))
        if "." not in host or any(_is_below(host, name) for name in _INSIDE):
            return f"{host} is a name of some inner network"
        return None


def special(address: IPv4Address | IPv6Address) -> str | None:
    """What an address is (`private`, `loopback` and so on) that is not one of the Internet's own; else None."""
    for network, name in _SPECIAL[address.version]:
        if address in network:
            return name
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return special(IPv4Address(int(address) & 0xFFFFFFFF))
        return None if address in _UNICAST else "reserved"
    return None


def _is_below(host: str, name: str) -> bool:
    return host == name or host.endswith(f".{name}")


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is in itself, in any notation that libcurl reads (`127.1`, `0x7f000001`), or None."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
