"""Where the configuration is looked for, and where the store is put, when nobody says."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier.config import NoConfigError, find
from notifier.config.locations import default_store
from tests.config_files import EMPTY, load


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_the_search_takes_the_first_of_its_places(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path / "home")}
    in_home = made(tmp_path / "home/.config/notifier/config.yaml")
    assert find(None, environ) == in_home
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    in_xdg = made(tmp_path / "xdg/notifier/config.yaml")
    assert find(None, environ) == in_xdg
    made(Path("config.yaml"))
    assert find(None, environ) == Path("config.yaml")
    environ["NOTIFIER_CONFIG"] = str(made(tmp_path / "named.yaml"))
    assert find(None, environ) == tmp_path / "named.yaml"
    assert find(made(Path("option.yaml")), environ) == Path("option.yaml")


def test_a_named_file_is_not_replaced_by_another() -> None:
    made(Path("config.yaml"))
    with pytest.raises(NoConfigError, match=r"nosuch\.yaml, named by --config, is not there"):
        find(Path("nosuch.yaml"), {})
    with pytest.raises(NoConfigError, match=r"nosuch\.yaml, named by \$NOTIFIER_CONFIG, is not there"):
        find(None, {"NOTIFIER_CONFIG": "nosuch.yaml"})


def test_where_it_was_looked_is_said_when_there_is_none(tmp_path: Path) -> None:
    if Path("/etc/notifier/config.yaml").exists():
        pytest.skip("this machine has a configuration")
    with pytest.raises(NoConfigError) as caught:
        find(None, {"XDG_CONFIG_HOME": str(tmp_path)})
    for place in (
        "--config",
        "$NOTIFIER_CONFIG",
        " config.yaml",
        f"{tmp_path}/notifier/config.yaml",
        " /etc/notifier/",
    ):
        assert place in str(caught.value)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("environ", "store"),
    [
        ({"STATE_DIRECTORY": "/var/lib/notifier"}, "sqlite:////var/lib/notifier/notifier.db"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x"}, "sqlite:////var/lib/a/notifier.db"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "sqlite:////x/notifier/notifier.db"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "sqlite:////h/.local/state/notifier/notifier.db"),
        ({"HOME": "/h"}, "sqlite:////h/.local/state/notifier/notifier.db"),
    ],
)
def test_the_store_has_a_place_when_none_is_written(environ: dict[str, str], store: str) -> None:
    assert default_store(environ) == store
    assert load(EMPTY, environ).store == store
