"""The real program while its configuration is saved by editors, by Kubernetes and by hand, and while signals come."""

from __future__ import annotations

import itertools
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.standins.api import ApiStandIn, Seen, hang, plain
from tests.standins.daemon import Daemon
from tests.standins.receiver import Receiver

INTERVAL = 1.0
IN_TROUBLE, WORKS_AGAIN = "account here: in trouble", "account here: works again"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def config(api: ApiStandIn, receiver: Receiver, ids: Sequence[str], token: str = "some-token") -> str:
    """Its last line is the watchlist."""
    return (
        f"apis: {{here: {{base_url: '{api.base_url}', token: '{token}', rate: 1000/s, timeout: 10m}}}}\n"
        f"channels: {{team: {{url: '{receiver.url}', rate: 1000/s}}}}\n"
        f"defaults: {{interval: {INTERVAL}}}\n"
        f"include: ['more*.yaml']\n"
        f"watchlist: [{', '.join(ids)}]\n"
    )


def check_untouched(polls: Sequence[Seen]) -> None:
    """No poll came twice or early, and they kept their pace (a busy machine may start some late)."""
    waits = [later.time - earlier.time for earlier, later in itertools.pairwise(polls)]
    assert len(waits) > 5
    assert min(waits) > 0.5 * INTERVAL, waits
    assert statistics.median(waits) == pytest.approx(INTERVAL, rel=0.15), waits


def titles(receiver: Receiver) -> list[str]:
    return [post.title for post in receiver.posts]


# --- how people and programs save --------------------------------------------------------------------------------


def like_vim(path: Path, text: str) -> None:
    backup = path.with_name("config.yaml~")
    path.rename(backup)
    time.sleep(0.05)
    path.write_text(text)
    backup.unlink()


def by_renaming(path: Path, text: str) -> None:
    path.with_name(".config.yaml.tmp").write_text(text)
    path.with_name(".config.yaml.tmp").replace(path)


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def in_portions(path: Path, text: str) -> None:
    with path.open("w") as file:
        for start in range(0, len(text), len(text) // 4):
            file.write(text[start : start + len(text) // 4])
            file.flush()
            time.sleep(0.6)


def by_sed(path: Path, text: str) -> None:
    line = text.splitlines()[-1]
    subprocess.run(["sed", "-i", f"/^watchlist/c\\{line}", path], check=True, timeout=20)


def by_copying(path: Path, text: str) -> None:
    path.with_name("copy").write_text(text)
    subprocess.run(["cp", path.with_name("copy"), path], check=True, timeout=20)


def by_a_shell(path: Path, text: str) -> None:
    """The shell truncates the file at once, and writes what comes when it comes."""
    path.with_name("copy").write_text(text)
    command = ["sh", "-c", '(sleep 1.2; cat copy) > "$0"', str(path)]
    subprocess.run(command, cwd=path.parent, check=True, timeout=20)


EDITORS: tuple[Callable[[Path, str], None], ...] = (
    like_vim, by_renaming, in_place, in_portions, by_sed, by_copying, by_a_shell,
)  # fmt: skip


def test_whatever_saves_the_file_is_understood_and_what_it_did_not_touch_goes_on(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    ids = ["a", "hung"]
    for name in (*ids, *(save.__name__ for save in EDITORS)):
        api.script(name, [hang if name == "hung" else plain(name, "processing")])
    with Daemon(tmp_path, config(api, receiver, ids)) as program:
        program.start()
        api.wait_for(1, "hung")
        for save in EDITORS:
            ids.append(save.__name__)
            save(program.path, config(api, receiver, ids))
            api.wait_for(1, save.__name__)
        assert len(api.wait_for(1, "hung")) == 1
        check_untouched(api.wait_for(1, "a"))
        assert program.stop() == 0
    assert not [line for line in program.log if "ERROR" in line or "Traceback" in line]
    assert receiver.posts == []


def mounted(folder: Path, number: int, **files: str) -> None:
    """As Kubernetes mounts a ConfigMap: every file is a link into `..data`, which is a link that is swapped."""
    version = folder / f"..2026_{number}"
    version.mkdir()
    for name, text in files.items():
        (version / f"{name}.yaml").write_text(text)
        if not (folder / f"{name}.yaml").is_symlink():
            (folder / f"{name}.yaml").unlink(missing_ok=True)
            (folder / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    (folder / "..data_tmp").symlink_to(version.name)
    (folder / "..data_tmp").replace(folder / "..data")
    if number > 1:
        shutil.rmtree(folder / f"..2026_{number - 1}")


def test_a_config_map_and_a_link_whose_target_is_replaced_are_edits(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    for name in ("a", "b", "c", "d"):
        api.script(name, [plain(name, "processing")])
    with Daemon(tmp_path, "") as program:
        mounted(tmp_path, 1, config=config(api, receiver, ["a"]))
        program.start()
        mounted(tmp_path, 2, config=config(api, receiver, ["a", "b"]))
        api.wait_for(1, "b")
        mounted(tmp_path, 3, config=config(api, receiver, ["a", "b"]), more="- c\n")
        api.wait_for(1, "c")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text(config(api, receiver, ["a", "b"]))
        program.path.unlink()
        program.path.symlink_to("elsewhere")
        (tmp_path / "new").write_text(config(api, receiver, ["a", "b", "d"]))
        (tmp_path / "new").replace(elsewhere)
        api.wait_for(1, "d")
        check_untouched(api.wait_for(1, "a"))
        assert program.stop() == 0
    assert not [line for line in program.log if "ERROR" in line or "Traceback" in line]


# --- signals -----------------------------------------------------------------------------------------------------


def test_a_new_secret_is_used_at_once_with_sighup_and_a_hail_of_signals_and_edits_changes_nothing_else(
    tmp_path: Path, api: ApiStandIn, receiver: Receiver
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("old-token\n")
    api.token = "old-token"
    api.script("a", [plain("a", "processing")])
    with Daemon(tmp_path, config(api, receiver, ["a"], token="${file:secret}")) as program:
        program.start()
        api.wait_for(3, "a")
        api.token = "new-token"
        receiver.wait_for(1)
        already = len(api.requests)
        secret.write_text("new-token\n")
        program.signal(signal.SIGHUP)
        receiver.wait_for(2)
        assert [title.partition(" ")[2] for title in titles(receiver)] == [IN_TROUBLE, WORKS_AGAIN]
        newer = [seen.headers["authorization"] for seen in api.wait_for(already + 1)[already:]]
        assert newer[-1] == "Bearer new-token"
        renewed = len(api.requests)
        for number in range(100):
            program.signal(signal.SIGHUP)
            if number % 10 == 0:
                by_renaming(program.path, config(api, receiver, ["a"], token="${file:secret}") + "#" * number)
        api.wait_for(renewed + 8, "a")
        check_untouched(api.requests[renewed:])
        assert program.stop() == 0
    assert len(receiver.posts) == 2
    assert any("reloaded" in line for line in program.log)
    assert not [line for line in program.log if "Traceback" in line or "-token" in line]
