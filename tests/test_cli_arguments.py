"""Arguments that are wrong, or name what cannot be had: an exit code and a line, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
apis: {cometapi: {token: some-token}}
channels: {team: {url: 'json://127.0.0.1:9/'}}
watchlist: [a]
"""


def notifier(folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "STATE_DIRECTORY": str(folder / "state")}
    command = [*prefix, sys.executable, "-m", "notifier", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("resend", "9" * 30), "is not in the range"),
        (("resend",), "name the deliveries, or say --all"),
        (("test", "tema"), "did you mean team?"),
        (("poll", "a b"), "must be an id"),
        (("poll", "https://other.example/v1/predictions/a"), "an API that is not configured"),
    ],
)
def test_a_wrong_argument_ends_with_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = notifier(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_may_not_be_read_ends_with_78(tmp_path: Path) -> None:
    """A service manager must see that starting again would not mend it."""
    (tmp_path / "config.yaml").chmod(0)
    powerless = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
    for verb in ("run", "check", "status"):
        done = notifier(tmp_path, verb, "-c", "config.yaml", prefix=powerless)
        assert done.returncode == 78
        assert "config.yaml:1:1: cannot be read: Permission denied" in done.stdout + done.stderr


def test_a_folder_to_include_that_may_not_be_read_is_a_mistake_and_one_that_is_missing_none(
    tmp_path: Path,
) -> None:
    """Else what it lists is watched no more, and nobody hears of it."""
    powerless = ("setpriv", "--bounding-set=-all") if os.geteuid() == 0 else ()
    (tmp_path / "watchlist.d").mkdir(mode=0)
    (tmp_path / "config.yaml").write_text(CONFIG + "include: [none.d/*.yaml, watchlist.d/*.yaml]\n")
    done = notifier(tmp_path, "check", "-c", "config.yaml", prefix=powerless)
    assert done.returncode == 78
    (said,) = done.stdout.splitlines()
    assert ": include[1]: is in a folder that cannot be read: watchlist.d: Permission denied" in said


def test_the_reading_verbs_need_no_secret(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("some-token", "'${NOT_SET}'"))
    assert notifier(tmp_path, "status").returncode == 0
    assert notifier(tmp_path, "history").returncode == 0
    assert notifier(tmp_path, "check").returncode == 78


def test_check_can_leave_the_secrets_out_and_nothing_else(tmp_path: Path) -> None:
    """systemd gives a unit's credentials to what it starts, not to what reloads it."""
    bad = CONFIG.replace("some-token", "'${NOT_SET}'").replace("'json:", "'${credential:none}json:")
    (tmp_path / "config.yaml").write_text(bad)
    assert notifier(tmp_path, "check", "--no-secrets").returncode == 0
    (tmp_path / "config.yaml").write_text(bad.replace("[a]", "['not an id']"))
    refused = notifier(tmp_path, "check", "--no-secrets")
    assert refused.returncode == 78
    assert "config.yaml:4:13: watchlist[0]: " in refused.stdout
    assert refused.stdout.count("\n") == 1
