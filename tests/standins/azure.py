"""Azure's blob storage: Azurite, Microsoft's emulator, on loopback. It checks signatures as the real one does."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import shutil
import subprocess
import urllib.request
from email.utils import formatdate
from itertools import count
from pathlib import Path
from typing import Self

import pytest

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's own, the same everywhere."""
_LISTENS = re.compile(r"listens on (http://127\.0\.0\.1:\d+)")


class AzureStandIn:
    """Keeps what it holds below `directory`. Skips the test where Azurite is not installed."""

    def __init__(self, directory: Path) -> None:
        # The variable is what CI sets, which installs it apart.
        command = os.environ.get("AZURITE") or shutil.which("azurite-blob")
        if not command:
            pytest.skip("needs Azurite: npm install -g azurite")
        arguments = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--location", str(directory)]
        arguments += ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        # It ends with the tests, however those end.
        self._server = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", command, *arguments], stdout=subprocess.PIPE, text=True
        )
        assert self._server.stdout is not None
        said = ""
        while not (found := _LISTENS.search(said)):
            line = self._server.stdout.readline()
            assert line, f"Azurite ended: {said}"
            said += line
        self._url = found[1]
        self.environ = {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"{self._url}/{ACCOUNT}",
            "AZURE_ALLOW_HTTP": "true",
        }
        self._numbers = count()

    def container(self) -> str:
        """A new container."""
        name = f"container-{next(self._numbers)}"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        named = [f"{header}:{value}" for header, value in headers.items()]
        signed = "\n".join(["PUT", *([""] * 11), *named, f"/{ACCOUNT}/{ACCOUNT}/{name}", "restype:container"])
        digest = hmac.digest(base64.b64decode(KEY), signed.encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
        headers["Content-Length"] = "0"
        url = f"{self._url}/{ACCOUNT}/{name}?restype=container"
        urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="PUT"), timeout=60).close()
        return name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.terminate()
        self._server.communicate(timeout=30)
