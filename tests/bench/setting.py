"""What all measurements of one run share: folder, certificate, how thorough to be, and what was measured already."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme

from tests.standins.daemon import INHERITED


@dataclass(slots=True)
class Setting:
    """Of one run of the benchmarks."""

    folder: Path
    quick: bool
    picture: Path | None = None
    """Where the picture goes, if not beside the code."""
    certificate: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    """With it, whoever is started trusts the API's certificate."""
    _done: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        authority = trustme.CA()
        bundle = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(str(bundle))
        self.certificate = str(self.folder / "server.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.certificate)
        self.environment = {"REQUESTS_CA_BUNDLE": str(bundle)}

    @property
    def pairs(self) -> int:
        """How often a measurement and its yardstick take turns."""
        return 3 if self.quick else 5

    @property
    def clean(self) -> dict[str, str]:
        """The environment of a process that is not the daemon."""
        return {name: os.environ[name] for name in INHERITED if name in os.environ}

    def remember(self, watches: int, runs: Any) -> None:
        """Keep what came of so many watches, for the measurements that need the same."""
        self._done[watches] = runs

    def recall(self, watches: int) -> Any:
        """What was kept, or None."""
        return self._done.get(watches)
