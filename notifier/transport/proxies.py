"""Which proxy an origin is asked through, by libcurl's rules.

libcurl would find out by itself; but a guard that is asked about an address must know whether it is a proxy's. So this
decides, and libcurl is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network

from notifier.transport.guard import Origin


def proxy_for(to: Origin, environment: Mapping[str, str]) -> str | None:
    """The proxy's URL as the environment has it, its password included; None where there is none.

    https://curl.se/libcurl/c/CURLOPT_PROXY.html and CURLOPT_NOPROXY.html. HTTP_PROXY in capitals is not read.
    """
    own = ("https_proxy", "HTTPS_PROXY") if to.scheme == "https" else ("http_proxy",)
    names = (*own, "all_proxy", "ALL_PROXY")
    proxy = next((value for name in names if (value := environment.get(name))), None)
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return None if proxy is None or _is_exception(to.host, exceptions) else proxy


def _is_exception(host: str, exceptions: str) -> bool:
    if exceptions.strip() == "*":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        names = [name.lower().strip(".") for name in exceptions.replace(",", " ").split()]
        return any(name and (host == name or host.endswith(f".{name}")) for name in names)
    for name in exceptions.replace(",", " ").split():
        try:
            if address in ip_network(name.strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False
