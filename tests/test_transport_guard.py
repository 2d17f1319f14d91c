"""Where downloads go, and where they do not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from hypothesis import example, given
from hypothesis import strategies as st

from notifier.transport import Guard, Kind, Limits, Transport, TransportError, origin
from notifier.transport.download import redirected
from notifier.transport.guard import special
from notifier.transport.proxies import proxy_for
from tests.sinks import ANYWHERE, MemorySink, failed, fetch, get, limits, whole
from tests.standins import files as play
from tests.standins.files import FileStandIn
from tests.test_transport_proxy import Proxy

CONTENT = b"\x89PNG" + bytes(1000)
NAME = "out-0.png"
STRICT = Guard()


@pytest.fixture
def files() -> Iterator[FileStandIn]:
    with FileStandIn() as files:
        files.put(NAME, CONTENT)
        yield files


@pytest.fixture
def url(files: FileStandIn) -> str:
    return files.url(NAME)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


# --- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.0.1", "168.63.129.16",
        "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1",
        "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "255.255.255.255",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1",
        "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "64:ff9b:1::808:808", "2001::1", "2001:2::1", "2001:db8::1",
        "2002:7f00:1::1", "2002:a9fe:a9fe::1", "3fff::1", "100::1", "5f00::1", "4000::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_the_internets_is_refused(address: str) -> None:
    reason = STRICT.refuses_address("files.example", address)
    assert reason is not None
    assert reason.startswith(f"files.example leads to {address}, which is ")
    assert ANYWHERE.refuses_address("files.example", address) is None


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "100.63.255.255", "100.128.0.0", "172.32.0.1", "192.0.1.1", "223.255.255.255", "2a00:1450::1",
     "2606:4700::1111", "2001:4860:4860::8888", "64:ff9b::808:808"],
)  # fmt: skip
def test_an_address_of_the_internet_is_allowed(address: str) -> None:
    assert STRICT.refuses_address("files.example", address) is None


@given(st.ip_addresses())
@example(ipaddress.ip_address("192.88.99.1"))
def test_whatever_python_does_not_call_global_is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast:
        assert special(address) is not None or address in ipaddress.ip_network("64:ff9b::/96")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_no_connection_is_opened_to_an_address_that_is_refused(
    transport: Transport, files: FileStandIn, host: str
) -> None:
    url = files.url(NAME, host).replace("http:", "https:")
    error = failed(fetch(transport, url, MemorySink(), STRICT))
    assert error.kind is Kind.REFUSED
    assert error.reason.endswith(", which is loopback")
    assert files.connections == 0


# --- URLs --------------------------------------------------------------------------------------------------------


def test_without_tls_nothing_is_asked(transport: Transport, files: FileStandIn, url: str) -> None:
    error = failed(fetch(transport, url, MemorySink(), STRICT))
    assert (error.kind, error.reason) == (Kind.REFUSED, "refused: 127.0.0.1 would be asked without TLS")
    assert files.connections == 0


@pytest.mark.parametrize("scheme", ["file:///etc/hostname", "ftp://127.0.0.1/x", "unix:///run/x", "//x/y", "data:,x"])
def test_no_other_protocol_is_spoken(transport: Transport, scheme: str) -> None:
    request = get("http://127.0.0.1/")
    request.url = scheme
    error = failed(transport.fetch(request, sink=MemorySink(), guard=ANYWHERE, limits=limits()))
    assert (error.kind, error.reason) == (Kind.REQUEST, "cannot be sent: neither http nor https")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/x?y#z", ("https", "a.example", 443)),
        ("HTTPS://A.Example.:8443", ("https", "a.example", 8443)),
        ("http://[::1]:80/", ("http", "::1", 80)),
        ("http://my_bucket.a.example?x", ("http", "my_bucket.a.example", 80)),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, expected: tuple[str, str, int]) -> None:
    assert tuple(origin(url)) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://me:secret@a.example/", "https://secret@a.example/", "https://a.example\\@secret/", "https:///x",
        "https://a.example%2fsecret/", "https://secret%00/", "https://\u2025/", "https://a.example:secret/",
        "https://[::1%25secret]/", "https://[secret/", "https://a.example :80/", "https://a\tb/", "https:a.example",
        "https://../", "https://\uff0f@secret/", "",
    ],
)  # fmt: skip
def test_a_url_that_two_programs_could_read_in_two_ways_has_none(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - whatever it says
        origin(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["replicate.delivery", "pbxt.replicate.delivery", "A.B.Replicate.Delivery."])
def test_hosts_that_are_listed_and_their_subdomains_are_asked(host: str) -> None:
    assert Guard(hosts=("other.example", "Replicate.delivery")).refuses(origin(f"https://{host}/")) is None


@pytest.mark.parametrize("host", ["xreplicate.delivery", "delivery", "replicate.delivery.evil.example", "10.0.0.1"])
def test_other_hosts_are_not(host: str) -> None:
    reason = Guard(hosts=("replicate.delivery",)).refuses(origin(f"https://{host}/"))
    assert reason == f"{host} is none of the hosts that are allowed"


# --- redirects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_to_another_path(transport: Transport, files: FileStandIn, code: int) -> None:
    files.script("old", [play.redirect(f"/{NAME}?signature=1", code)])
    sink = MemorySink()
    answer = whole(fetch(transport, files.url("old"), sink, Authorization="Bearer t", Range="bytes=0-"))
    assert (sink.data, answer.url) == (CONTENT, f"{files.url(NAME)}?signature=1")
    assert [seen.headers["authorization"] for seen in files.requests] == ["Bearer t"] * 2, "the origin is the same"
    assert [seen.headers["range"] for seen in files.requests] == ["bytes=0-"] * 2


def test_a_token_does_not_go_to_another_origin_nor_come_back(transport: Transport, files: FileStandIn) -> None:
    with FileStandIn() as other:
        files.script("old", [play.redirect(other.url("mid"))])
        other.script("mid", [play.redirect(files.url(NAME))])
        secrets: dict[str, Any] = {"Authorization": "Bearer t", "Cookie": "a=b", "X_Api_Key": "k"}
        whole(fetch(transport, files.url("old"), MemorySink(), **secrets, Range="bytes=0-", User_Agent="me"))
        for seen in (*other.requests, files.requests[1]):
            assert {"authorization", "cookie", "x-api-key"}.isdisjoint(seen.headers)
            assert (seen.headers["range"], seen.headers["user-agent"]) == ("bytes=0-", "me")
        assert files.requests[0].headers["authorization"] == "Bearer t"


@pytest.mark.parametrize(
    ("there", "same"),
    [
        ("https://a.example:443/y", True), ("HTTPS://A.EXAMPLE./y", True), ("y", True), ("?z", True),
        ("https://a.example:8443/y", False), ("http://a.example/y", False), ("https://b.example/y", False),
        ("//b.example/y", False), ("https://x.a.example/y", False),
    ],
)  # fmt: skip
def test_an_origin_is_the_same_in_scheme_host_and_port(there: str, same: bool) -> None:
    request = redirected(get("https://a.example/x", Authorization="Bearer t"), there)
    assert ("Authorization" in request.headers) is same


def test_redirects_come_to_an_end(transport: Transport, files: FileStandIn) -> None:
    files.script("loop", [], then=play.redirect("loop"))
    error = failed(fetch(transport, files.url("loop"), MemorySink()))
    assert (error.kind, error.reason) == (Kind.REFUSED, "refused: over 5 redirects")
    assert len(files.requests) == 6
    for number in range(5):
        files.script(str(number), [play.redirect(NAME if number == 4 else str(number + 1))])
    whole(fetch(transport, files.url("0"), MemorySink()))


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Transport, FileStandIn]]:
    """A server on loopback that the guard takes for one of the Internet, as the only one."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    transport = Transport(environment={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    transport.start()
    with FileStandIn(authority=authority) as files:
        files.put(NAME, CONTENT)
        look = Guard.refuses_address

        def refuses_address(guard: Guard, host: str, address: str) -> str | None:
            return None if host == "localhost" else look(guard, host, address)

        monkeypatch.setattr(Guard, "refuses_address", refuses_address)
        yield transport, files
    transport.close()


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ("https://127.0.0.1:{port}/secret", "127.0.0.1 leads to 127.0.0.1, which is loopback"),
        ("https://169.254.169.254/latest/meta-data", "169.254.169.254 leads to 169.254.169.254, which is link-local"),
        ("https://[fd00:ec2::254]/", "fd00:ec2::254 leads to fd00:ec2::254, which is private"),
        ("https://0xa9fea9fe/", "0xa9fea9fe leads to 169.254.169.254, which is link-local"),
        ("http://localhost:{port}/out-0.png", "localhost would be asked without TLS"),
        ("file:///etc/passwd", "redirected to neither http nor https"),
        ("gopher://localhost:{port}/", "redirected to neither http nor https"),
        ("https://me:secret@localhost:{port}/x", "redirected to a URL with a user name or password in it"),
        ("https://[::1/", "redirected to what is no URL"),
        ("http://\u2025/", "redirected to what is no URL"),
    ],
)
def test_a_redirect_is_looked_at_like_the_first_url(
    public: tuple[Transport, FileStandIn], there: str, reason: str
) -> None:
    transport, files = public
    url = files.url(NAME, "localhost")
    whole(fetch(transport, url, MemorySink(), STRICT))
    files.script(NAME, [play.redirect(there.format(port=files.port).encode().decode("latin-1"))])
    sink = MemorySink()
    error = failed(fetch(transport, url, sink, STRICT))
    assert (error.kind, error.reason) == (Kind.REFUSED, f"refused: {reason}")
    assert (len(files.requests), sink.heads) == (2, [])


def test_a_redirect_away_from_the_hosts_that_are_listed_is_refused(public: tuple[Transport, FileStandIn]) -> None:
    transport, files = public
    files.script(NAME, [play.redirect("https://other.example/")])
    error = failed(fetch(transport, files.url(NAME, "localhost"), MemorySink(), Guard(hosts=("localhost",))))
    assert error.reason == "refused: other.example is none of the hosts that are allowed"


@given(st.one_of(st.text(), st.from_regex(r"(https?|file):/{0,3}[^/]*(/.*)?"), st.from_regex(r"/?[?#%\\@:\[\]]+")))
def test_any_location_is_a_request_or_refused(location: str) -> None:
    """Headers come in Latin-1, whatever was meant."""
    refused: TransportError | None = None
    try:
        request = redirected(get("https://a.example/x"), location.encode("utf-8", "replace").decode("latin-1"))
    except TransportError as error:
        refused = error
    else:
        assert origin(request.url or "")
    assert refused is None or (refused.kind is Kind.REFUSED and refused.reason.isprintable())


def test_a_body_that_ends_with_the_connection_cannot_be_cut_short_under_tls(
    public: tuple[Transport, FileStandIn],
) -> None:
    """Whoever sits in between can end a connection, but cannot say goodbye in the server's name."""
    transport, files = public

    async def cut(turn: play.Turn) -> None:
        await turn.head(200, {"Content-Length": None})
        await turn.send(CONTENT[:100])
        turn.connection.sever()

    files.script(NAME, [play.until_closed, cut])
    url = files.url(NAME, "localhost")
    whole(fetch(transport, url, MemorySink(), STRICT))
    assert failed(fetch(transport, url, MemorySink(), STRICT)).kind is Kind.BROKEN


# --- proxies -----------------------------------------------------------------------------------------------------


def by_proxy(proxy: Proxy, url: str, guard: Guard = STRICT, **environment: str) -> requests.Response | TransportError:
    transport = Transport(environment={"https_proxy": proxy.url, "http_proxy": proxy.url, **environment})
    transport.start()
    try:
        return fetch(transport, url, MemorySink(), guard, Limits(max_size=1000, timeout=20))
    finally:
        transport.close()


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.localhost", "127.0.0.1", "127.0.0.1.", "127.1", "0x7f000001", "10.0.0.1", "[::1]", "router",
     "metadata.google.internal", "nas.local", "169.254.169.254", "2852039166", "[::ffff:169.254.169.254]"],
)  # fmt: skip
def test_a_proxy_is_not_asked_for_what_is_private_by_its_name(proxy: Proxy, host: str) -> None:
    assert failed(by_proxy(proxy, f"https://{host}/")).kind is Kind.REFUSED
    assert proxy.heads == []


def test_a_proxy_is_asked_for_anything_else_though_its_own_address_is_private(proxy: Proxy) -> None:
    proxy.refuses = True  # to connect to there: what matters is that it was asked
    assert failed(by_proxy(proxy, "https://files.example/x")).kind is not Kind.REFUSED
    assert proxy.heads[0].startswith("CONNECT files.example:443 ")


def test_an_exception_from_the_proxy_is_looked_at_by_its_address(proxy: Proxy, files: FileStandIn) -> None:
    url = files.url(NAME).replace("http:", "https:")
    assert "which is loopback" in failed(by_proxy(proxy, url, no_proxy="127.0.0.1")).reason
    assert (proxy.heads, files.connections) == ([], 0)


def test_private_hosts_are_asked_of_a_proxy_where_they_are_allowed(proxy: Proxy, files: FileStandIn) -> None:
    assert isinstance(by_proxy(proxy, files.url(NAME), ANYWHERE), requests.Response)
    assert proxy.heads[0].startswith(f"GET {files.url(NAME)} ")


def test_a_proxy_of_the_process_is_not_used_where_the_environment_has_none(
    proxy: Proxy, files: FileStandIn, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    transport = Transport(environment={})
    transport.start()
    whole(fetch(transport, url, MemorySink()))
    transport.close()
    assert proxy.heads == []


def test_an_exception_of_the_process_is_none_where_the_environment_has_none(
    proxy: Proxy, files: FileStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the proxy, there would be nobody to look at the address."""
    monkeypatch.setenv("NO_PROXY", "*")
    assert isinstance(by_proxy(proxy, files.url(NAME), ANYWHERE), requests.Response)
    assert (len(proxy.heads), files.connections) == (1, 0)


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        ("https://a.example/", {}, None),
        ("https://a.example/", {"https_proxy": "p", "HTTPS_PROXY": "q", "ALL_PROXY": "r"}, "p"),
        ("https://a.example/", {"https_proxy": "", "HTTPS_PROXY": "q"}, "q"),
        ("https://a.example/", {"all_proxy": "p", "ALL_PROXY": "q", "http_proxy": "r"}, "p"),
        ("http://a.example/", {"HTTP_PROXY": "p"}, None),
        ("http://a.example/", {"http_proxy": "p"}, "p"),
        ("http://a.example/", {"http_proxy": "p", "no_proxy": "*"}, None),
        ("http://a.example/", {"http_proxy": "p", "no_proxy": "", "NO_PROXY": "b.example, .EXAMPLE"}, None),
        ("http://a.example/", {"http_proxy": "p", "no_proxy": "xa.example,ample,example.com"}, "p"),
        ("http://10.1.2.3/", {"http_proxy": "p", "no_proxy": "10.1.2.3"}, None),
        ("http://10.1.2.3/", {"http_proxy": "p", "no_proxy": "x 10.0.0.0/8"}, None),
        ("http://10.1.2.3/", {"http_proxy": "p", "no_proxy": "10.1.2.4,3"}, "p"),
        ("http://[fd00::1]/", {"http_proxy": "p", "no_proxy": "[fd00::1]"}, None),
        ("http://[fd00::1]/", {"http_proxy": "p", "no_proxy": "fd00::/8"}, None),
    ],
)
def test_the_environment_names_the_proxy(url: str, environment: dict[str, str], expected: str | None) -> None:
    assert proxy_for(origin(url), environment) == expected
