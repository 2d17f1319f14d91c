"""Configuration files that vanish, turn into something else, are swapped or come late, under a daemon in this process.

Its beats are twenty a second: two looks are a tenth of a second apart.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import notifier.service
from notifier.errors import StoreWriteError
from notifier.model import IncidentKind, Key
from notifier.service import watching
from notifier.store import Store
from tests.standins.api import ApiStandIn, hang, plain, problem
from tests.standins.asker import until
from tests.standins.running import Running, running
from tests.test_service_reload import config

pytestmark = pytest.mark.usefixtures("quick_beats", "posts")
TROUBLE, OVER = "🚨 configuration config.yaml: in trouble", "🟢 configuration config.yaml: works again"


def watched(daemon: Running) -> list[str]:
    return [watch.key.id for watch in daemon.service._config.watches]


def saved(path: Path, text: str) -> None:
    """Save at once: written in place, it would be empty for a moment, which is an edit of its own at this pace."""
    path.with_name("saved").write_text(text)
    path.with_name("saved").chmod(0o600)
    path.with_name("saved").replace(path)


def looks(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Gets what each look of the daemon at its files says, from now on."""
    said: list[bool] = []
    genuine = daemon.service._reloading._watch.is_ready

    def is_ready() -> bool:
        said.append(genuine())
        return said[-1]

    monkeypatch.setattr(daemon.service._reloading._watch, "is_ready", is_ready)
    return said


# --- the main file -----------------------------------------------------------------------------------------------


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_link_into_nowhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def to_link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def to_nothing(path: Path) -> None:
    path.write_text("")


def to_binary(path: Path) -> None:
    path.write_bytes(bytes(range(32)))


@pytest.mark.parametrize(
    ("away", "why"),
    [
        (Path.unlink, "No such file or directory"),
        (to_folder, "it is a folder"),
        (to_pipe, "it is not a file"),
        (to_link_into_nowhere, "No such file or directory"),
        (to_link_to_itself, "Too many levels of symbolic links"),
        (to_nothing, "is empty"),
        (to_binary, "has a character that YAML does not allow"),
    ],
)
def test_a_main_file_that_goes_away_is_an_incident_until_it_is_back_and_nothing_is_lost(
    away: Callable[[Path], object],
    why: str,
    tmp_path: Path,
    api: ApiStandIn,
    posts: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("a", "b"):
        api.script(name, [plain(name, "processing")])
    text = config(api, "a, b", interval="1s")
    with running(tmp_path, text) as daemon:
        api.wait_for(1, "a")
        away(daemon.path)
        until(lambda: posts == [TROUBLE])
        assert f"{daemon.path}:1:1: " in caplog.text
        assert why in caplog.text
        asked = len(api.wait_for(1, "b"))
        api.wait_for(asked + 2, "b")
        assert watched(daemon) == ["a", "b"]
        shutil.rmtree(daemon.path) if daemon.path.is_dir() else daemon.path.unlink(missing_ok=True)
        saved(daemon.path, text)
        until(lambda: posts == [TROUBLE, OVER])
        with Store.open(daemon.service._config.store, create=False) as store:
            assert {state.status for state in store.load_states(0.0).values()} == {"processing"}
    assert caplog.text.count("configuration not reloaded") == 1
    assert "mistake in the program" not in caplog.text


def test_an_edit_between_the_first_reading_and_the_first_look_is_seen(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: Path, environ: Any) -> Any:
        found = genuine(path, environ)
        saved(path, config(api, "b"))
        return found

    genuine = notifier.service.load_config
    monkeypatch.setattr("tests.standins.running.load_config", load)
    with running(tmp_path, config(api, "a")) as daemon:
        api.wait_for(1, "b")
        assert watched(daemon) == ["b"]


def test_an_edit_that_comes_while_the_files_are_being_read_is_neither_refused_nor_lost(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, posts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An editor truncates the file just as it is read, and finishes in time for the next look."""
    caplog.set_level("INFO", "notifier")
    genuine = notifier.service.load_config
    half: list[None] = []

    def load(path: Path, environ: Any) -> Any:
        if half:
            return genuine(path, environ)
        half.append(None)
        path.write_text("apis:\n")
        try:
            return genuine(path, environ)
        finally:
            saved(path, config(api, "c"))

    with running(tmp_path, config(api, "a")) as daemon:
        monkeypatch.setattr("notifier.service.reloading.load_config", load)
        saved(daemon.path, config(api, "b"))
        until(lambda: watched(daemon) == ["c"])
        assert half
    assert (posts, caplog.text.count("reloaded watches")) == ([], 1)


def test_a_bad_edit_that_is_undone_before_it_is_looked_at_twice_is_nothing_and_one_undone_later_ends_its_incident(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, posts: list[str]
) -> None:
    text = config(api, "a")
    with running(tmp_path, text) as daemon:
        genuine = daemon.service._reloading._watch.is_ready
        monkeypatch.setattr(daemon.service._reloading._watch, "is_ready", lambda: False)
        saved(daemon.path, "half: [")
        assert not genuine()
        saved(daemon.path, text)
        daemon.path.touch()
        monkeypatch.setattr(daemon.service._reloading._watch, "is_ready", genuine)
        said = looks(daemon, monkeypatch)
        until(lambda: len(said) > 3)
        assert not any(said)
        assert posts == []
        saved(daemon.path, "half: [")
        until(lambda: posts == [TROUBLE])
        saved(daemon.path, text)
        until(lambda: posts == [TROUBLE, OVER])


def test_the_incident_of_a_bad_edit_outlasts_an_older_good_one_that_a_full_disk_had_kept_from_being_applied(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, posts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "notifier")
    genuine, full = Store.relist, threading.Event()
    full.set()

    def relist(store: Store, *arguments: Any) -> Any:
        if full.is_set():
            raise StoreWriteError("the disk is full")
        return genuine(store, *arguments)

    monkeypatch.setattr(Store, "relist", relist)
    with running(tmp_path, config(api, "")) as daemon:
        saved(daemon.path, config(api, "b"))
        until(lambda: daemon.service._reloading._unapplied is not None)
        saved(daemon.path, "half: [")
        until(lambda: posts == [TROUBLE])
        full.clear()
        until(lambda: "reloaded watches=1" in caplog.text)
        assert (IncidentKind.CONFIG, "config.yaml") in daemon.service._keeper._known.incidents
        saved(daemon.path, config(api, "b"))
        until(lambda: posts == [TROUBLE, OVER])


def test_a_file_that_changes_all_the_time_is_told_of_in_the_log_and_sighup_has_it_read(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, config(api, "a")) as daemon:
        genuine = daemon.service._reloading._watch.is_ready

        def is_ready() -> bool:
            saved(daemon.path, config(api, "a, b") + f"# {time.monotonic()}\n")
            return genuine()

        monkeypatch.setattr(daemon.service._reloading._watch, "is_ready", is_ready)
        until(lambda: "changes all the time" in caplog.text)
        assert watched(daemon) == ["a"]
        daemon.service.reload()
        until(lambda: watched(daemon) == ["a", "b"])
    assert caplog.text.count("changes all the time") == 1


def test_warnings_that_an_edit_brings_are_logged_once(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with running(tmp_path, config(api, "a")) as daemon:
        saved(daemon.path, config(api, "a") + "include: nowhere.yaml\n")
        until(lambda: "there is no such file" in caplog.text)
        saved(daemon.path, config(api, "a, b") + "include: nowhere.yaml\n")
        until(lambda: watched(daemon) == ["a", "b"])
    assert caplog.text.count("there is no such file") == 1


# --- included files ----------------------------------------------------------------------------------------------


def test_included_files_that_come_go_and_are_edited_are_taken_over(
    tmp_path: Path, api: ApiStandIn, posts: list[str]
) -> None:
    folder = tmp_path / "watchlist.d"
    with running(tmp_path, config(api, "a") + "include: watchlist.d/*.yaml\n") as daemon:
        (tmp_path / "made").mkdir()
        (tmp_path / "made" / "one.yaml").write_text("- b\n")
        (tmp_path / "made").rename(folder)
        until(lambda: watched(daemon) == ["a", "b"])
        saved(folder / "two.yaml", "- c\n")
        until(lambda: watched(daemon) == ["a", "b", "c"])
        saved(folder / "one.yaml", "- b\n- d\n")
        until(lambda: watched(daemon) == ["a", "b", "d", "c"])
        folder.rename(tmp_path / "away")
        until(lambda: watched(daemon) == ["a"])
        (tmp_path / "away").rename(folder)
        until(lambda: watched(daemon) == ["a", "b", "d", "c"])
        (folder / "one.yaml").unlink()
        until(lambda: watched(daemon) == ["a", "c"])
    assert posts == []


@pytest.mark.parametrize("spoil", [to_folder, to_pipe, to_link_into_nowhere, to_nothing, to_binary])
def test_an_included_file_that_cannot_be_read_is_a_mistake_and_takes_no_watch_with_it(
    spoil: Callable[[Path], None], tmp_path: Path, api: ApiStandIn, posts: list[str]
) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("- b\n")
    with running(tmp_path, config(api, "a") + "include: more.yaml\n") as daemon:
        spoil(more)
        until(lambda: posts == [TROUBLE])
        assert watched(daemon) == ["a", "b"]
        shutil.rmtree(more) if more.is_dir() else more.unlink()
        saved(more, "- b\n- c\n")
        until(lambda: posts == [TROUBLE, OVER])
        assert watched(daemon) == ["a", "b", "c"]


def test_what_only_a_refused_edit_includes_is_looked_at_until_it_is_mended(
    tmp_path: Path, api: ApiStandIn, posts: list[str]
) -> None:
    """The mistake stands in the main file, which nobody touches again."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "b.yaml").symlink_to("nowhere")
    with running(tmp_path, config(api, "a")) as daemon:
        saved(daemon.path, config(api, "a") + "include: new/*.yaml\n")
        until(lambda: posts == [TROUBLE])
        (tmp_path / "new" / "nowhere").write_text("- b\n")
        until(lambda: posts == [TROUBLE, OVER])
        assert watched(daemon) == ["a", "b"]


def test_included_files_that_shrink_to_less_than_half_of_all_watches_are_held_back(
    tmp_path: Path, api: ApiStandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "SHRINK_WAIT", 1.0)
    more = tmp_path / "more.yaml"
    whole = "".join(f"- w{number}\n" for number in range(12))
    more.write_text(whole)
    with running(tmp_path, config(api, "a") + "include: more.yaml\n") as daemon:
        saved(more, whole[:15])
        until(lambda: "edit held back" in caplog.text)
        assert len(watched(daemon)) == 13
        more.unlink()
        until(lambda: caplog.text.count("edit held back") == 2)
        assert len(watched(daemon)) == 13
        saved(more, whole)
        until(lambda: not daemon.service._reloading._watch.is_holding)
        saved(more, whole[:15])
        until(lambda: watched(daemon) == ["a", "w0", "w1", "w2"])


# --- secrets -----------------------------------------------------------------------------------------------------


def test_a_secret_file_that_changes_is_read_anew_and_ends_the_incident_of_its_account(
    tmp_path: Path, api: ApiStandIn, posts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("first-token\n")
    api.token = "second-token"
    api.script("a", [plain("a", "processing")])
    with running(tmp_path, config(api, "a", token='"${file:secret}"')) as daemon:
        until(lambda: posts == ["🚨 account here: in trouble"])
        already = len(api.requests)
        saved(secret, "second-token\n")
        until(lambda: len(posts) == 2)
        assert posts[1] == "🟢 account here: works again"
        seen = api.wait_for(already + 1)
        assert {each.headers["authorization"] for each in seen[already:]} == {"Bearer second-token"}
        secret.unlink()
        until(lambda: posts[2:] == [TROUBLE])
        saved(secret, "second-token\n")
        until(lambda: posts[2:] == [TROUBLE, OVER])
        assert daemon.service._config.apis["here"].token.reveal() == "second-token"
    assert "-token" not in caplog.text


def test_a_new_token_for_an_account_in_no_trouble_keeps_the_phase_of_its_watches(
    tmp_path: Path, api: ApiStandIn, posts: list[str]
) -> None:
    for name in ("a", "b"):
        api.script(name, [plain(name, "processing")])
    api.script("hung", [hang])
    api.script("refused", [problem(500), plain("refused", "processing")])
    with running(tmp_path, config(api, "a, b, hung, refused")) as daemon:
        table = daemon.service._table
        api.wait_for(4)
        until(lambda: table.seconds_to(Key("here", "b")) != 0.0 and table.seconds_to(Key("here", "a")) != 0.0)
        before = {name: table.seconds_to(Key("here", name)) for name in ("a", "b")}
        daemon.reload(config(api, "a, b, hung, refused", token="second-token"))
        after = {name: table.seconds_to(Key("here", name)) for name in ("a", "b")}
        assert after == {name: pytest.approx(seconds, abs=10) for name, seconds in before.items()}
        assert len([seen for seen in api.requests if seen.id in ("a", "b", "hung")]) == 3


# --- many reloads ------------------------------------------------------------------------------------------------


def test_untouched_watches_keep_their_phase_and_their_poll_in_flight_over_many_reloads(
    tmp_path: Path, api: ApiStandIn, posts: list[str]
) -> None:
    """Edits of everything around them, as fast as they can be applied."""
    names = [f"w{number}" for number in range(20)]
    for name in (*names, "hung"):
        api.script(name, [hang if name == "hung" else plain(name, "processing")])

    def edited(number: int) -> str:
        entries = [f"{{id: {name}, api: here}}" for name in (names if number % 2 else names[::-1])]
        entries.insert(0, f"{{id: hung, api: here, name: Number {number}, events: [failed]}}")
        other = f"  other{number}: {{base_url: '{api.base_url}', token: t0ken}}\n"
        return config(api, ", ".join([f"{{id: n{number}, api: other{number}}}", *entries]), more=other)

    with running(tmp_path, edited(0)) as daemon:
        account = daemon.service._table._accounts["here"]
        api.wait_for(1, "hung")
        before = {key: (row, row.due) for key, row in account.rows.items() if row.due > row.started and not row.flying}
        for number in range(1, 30):
            daemon.reload(edited(number))
        waiting = {key: row for key, (row, due) in before.items() if row.started + row.interval == due}
        assert len(waiting) > 5
        assert all(account.rows[key] is row and row.due == before[key][1] for key, row in waiting.items())
        assert len(api.wait_for(1, "hung")) == 1
    assert posts == []
