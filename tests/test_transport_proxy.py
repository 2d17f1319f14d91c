"""The transport through a real proxy, as the environment names it."""

from __future__ import annotations

import selectors
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import requests
import trustme

from notifier.transport import Answer, Kind, Transport, TransportError
from tests.standins.api import ApiStandIn, plain

MIB = 2**20
TOKEN = "r8_secret-token"


class _Handler(socketserver.StreamRequestHandler):
    """Tunnels what asks for CONNECT, and answers everything else itself."""

    server: Proxy

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        self.server.heads.append(head.decode())
        if not head.startswith(b"CONNECT "):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy")
        elif self.server.refuses:
            self.wfile.write(b"HTTP/1.1 503 No way out\r\nX-Proxy: 1\r\nContent-Length: 0\r\n\r\n")
        else:
            host, _, port = head.split(b" ")[1].decode().rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n")
                self.relay(there)

    def relay(self, there: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ, there)
            selector.register(there, selectors.EVENT_READ, self.connection)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(65536)  # type: ignore[union-attr]  # both are sockets
                    if not data:
                        return
                    key.data.sendall(data)


class Proxy(socketserver.ThreadingTCPServer):
    """A running proxy; a context manager. `heads` are what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heads: list[str] = []
        self.refuses = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


@pytest.fixture(params=["http", "https"])
def api(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiStandIn]:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with ApiStandIn(authority=authority if request.param == "https" else None) as standin:
        standin.script("x", [plain("x", "starting")])
        yield standin


def ask(url: str) -> Answer:
    transport = Transport()
    transport.start()
    try:
        request = requests.Request("GET", url, headers={"Authorization": f"Bearer {TOKEN}"}).prepare()
        return transport.exchange(request, timeout=20, max_body=MIB)
    finally:
        transport.close()


only_http = pytest.mark.parametrize("api", ["http"], indirect=True)
only_https = pytest.mark.parametrize("api", ["https"], indirect=True)


@only_https
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_tls_goes_through_a_tunnel_and_the_token_is_for_the_api_alone(
    api: ApiStandIn, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    answer = ask(api.url("x"))
    assert isinstance(answer, requests.Response), answer
    assert "X-Proxy" not in answer.headers
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{api.port} ")
    assert TOKEN not in proxy.heads[0]
    assert api.requests[0].headers["authorization"] == f"Bearer {TOKEN}"


@only_https
def test_a_proxys_own_password_stays_with_it(api: ApiStandIn, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:pass-word@"))
    assert isinstance(ask(api.url("x")), requests.Response)
    assert "Proxy-Authorization: Basic " in proxy.heads[0]
    assert "proxy-authorization" not in api.requests[0].headers


@only_http
def test_plain_http_goes_to_the_proxy(api: ApiStandIn, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    answer = ask(api.url("x"))
    assert isinstance(answer, requests.Response), answer
    assert answer.content == b"proxy"
    assert proxy.heads[0].startswith(f"GET {api.url('x')} ")
    assert api.requests == []


@only_http
def test_the_variable_a_web_servers_visitor_could_set_is_ignored(
    api: ApiStandIn, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert isinstance(ask(api.url("x")), requests.Response)
    assert proxy.heads == []


@pytest.mark.parametrize("exceptions", ["127.0.0.1", "example.com,127.0.0.1", "*"])
def test_hosts_that_are_to_be_reached_directly_are(
    api: ApiStandIn, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, exceptions: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert isinstance(ask(api.url("x")), requests.Response)
    assert proxy.heads == []


@only_https
def test_a_proxy_that_refuses_is_told_without_its_password(
    api: ApiStandIn, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.refuses = True
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//me:pass-word@"))
    error = ask(api.url("x"))
    assert isinstance(error, TransportError)
    assert error.kind in (Kind.CONNECT, Kind.BROKEN)
    assert "503" in error.reason
    assert "pass-word" not in str(error)
    assert api.requests == []


def test_a_proxy_that_is_not_there_is_told(api: ApiStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with Proxy() as gone:
        url = gone.url
    monkeypatch.setenv("ALL_PROXY", url.replace("//", "//me:pass-word@"))
    error = ask(api.url("x"))
    assert isinstance(error, TransportError)
    assert error.kind is Kind.CONNECT
    assert "pass-word" not in str(error)
    assert api.requests == []
