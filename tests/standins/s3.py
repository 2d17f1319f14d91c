"""An object store that speaks S3: moto's server, on loopback, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from itertools import count
from typing import Self

SERVER = """
import logging, sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()  # it ends with the tests, however those end
"""

KEY = "AKIAMADEUPFORTESTS00"
SECRET = "make/believe+secret0FOR0tests0000000000x"


class S3StandIn:
    """Accepts any credentials: these are looked at by `tests.standins.storage` and by Azure's emulator."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "65536"},
        )
        assert self._server.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._server.stdout.readline())}"
        self.environ = {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
        }
        self._numbers = count()

    def bucket(self) -> str:
        """A new bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.ask("PUT", f"/{name}")
        return name

    def ask(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """The answer to a request of somebody else who may do everything."""
        scope = f"{KEY}/20261124/us-east-1/s3/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=00",
            "Content-Type": "application/octet-stream",
        }
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bytes(answer.read())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=30)
