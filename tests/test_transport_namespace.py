"""Addresses that downloads must not reach, really there, in a network from which nothing can leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.standins.namespace import METADATA, METADATA6, PUBLIC

UNSHARE = ["unshare", "--net", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    try:
        subprocess.run([*UNSHARE, "ip", "link"], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here (as root it can): {error}")
    folder = tmp_path_factory.mktemp("namespace")
    command = [*UNSHARE, sys.executable, "-W", "error", "-m", "tests.standins.namespace", str(folder)]
    played = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert played.returncode == 0, played.stderr
    result: dict[str, Any] = json.loads(played.stdout)
    return result


def refused(host: str, address: str, kind: str) -> str:
    return f"refused: {host} leads to {address}, which is {kind}"


def test_a_public_address_is_reached(outcomes: dict[str, Any]) -> None:
    assert outcomes["public"] == PUBLIC


def test_the_metadata_address_is_not_reached_by_any_name(outcomes: dict[str, Any]) -> None:
    assert outcomes["metadata"] == refused("metadata.example", METADATA, "link-local")
    assert outcomes["metadata by IPv6"] == refused("metadata6.example", METADATA6, "private")
    assert outcomes["metadata by its address"] == refused(METADATA6, METADATA6, "private")
    assert outcomes["connections"] == 0
    assert outcomes["metadata where it is allowed"] == METADATA, "it could have been"


def test_a_redirect_there_is_not_followed(outcomes: dict[str, Any]) -> None:
    assert outcomes["redirected"] == refused("metadata.example", METADATA, "link-local")


def test_of_two_addresses_the_public_one_is_taken(outcomes: dict[str, Any]) -> None:
    assert outcomes["both"] == PUBLIC


def test_a_name_that_leads_elsewhere_the_next_time_is_looked_at_the_next_time(outcomes: dict[str, Any]) -> None:
    assert outcomes["rebound"] == [PUBLIC, refused("rebound.example", METADATA, "link-local")]
