"""What the keys come to: defaults, watches, accounts, included files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from notifier import config
from notifier.config import parse_duration, parse_rate, parse_size
from notifier.model import WATCH_EVENTS, Api, Channel, FirstSight, Key, Rules, Secret
from tests.config_files import CHANNELS, EMPTY, HEAD, TWO_APIS, load, mistakes

CUSTOM = "apis:\n  mine: {token: x, base_url: 'http://127.0.0.1:80/v1/'}\n  yours: {token: y, base_url: https://x.y}\n"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_is_not_written_has_the_defaults_of_the_model() -> None:
    loaded = load(HEAD + "watchlist: [abc]\n")
    assert loaded.apis == {"cometapi": Api("cometapi", "https://api.cometapi.com/replicate/v1", Secret("t0ken"))}
    assert loaded.channels["team"] == Channel("team", Secret("json://localhost"))
    assert loaded.operators == ("team", "oncall")
    (watch,) = loaded.watches
    assert watch.name == watch.key.id == "abc"
    assert watch.rules == Rules(30.0, ("team", "oncall"), frozenset(WATCH_EVENTS) - {"saved"})


def test_every_key_arrives_where_it_belongs() -> None:
    loaded = load("""\
apis:
  mine:
    {token: t, base_url: https://a.b/v1, timeout: 2m, concurrency: 5, rate: 600/min, max_body: 1MiB, insecure: true,
     unreachable_after: 1s, lost_after: 2s, incident_after: 3s, settle: 4s}
channels:
  team:
    {url: json://x, events: [failed], rate: 30/min, digest_over: 3, give_up_after: 1d, retry_after: [1, 2m],
     incident_after: 5s, title: T, body: B, attach: true, attach_max: 2KiB}
  other: {url: json://y}
operators: []
defaults:
  {interval: 5, channels: [other], events: [all], first_sight: quiet, stuck_after: 1h, watch_for: 1d, save: true}
watchlist:
  - id: abc
  - {id: def, name: D, api: mine, interval: 7.5, channels: [team, other, team], events: [lost, stuck],
     first_sight: tell, stuck_after: 2h, watch_for: 2d, save: false}
outputs: {directory: /srv/files}
""")
    assert loaded.apis["mine"] == Api("mine", "https://a.b/v1", Secret("t"), 120, 5, 10, 2**20, True, 1, 2, 3, 4)
    assert loaded.channels["team"] == Channel(
        "team", Secret("json://x"), frozenset({"failed"}), 0.5, 3, 86400, (1, 120), 5, "T", "B", True, 2048
    )
    assert loaded.operators == ()
    assert [(watch.key, watch.name, watch.rules) for watch in loaded.watches] == [
        (
            Key("mine", "abc"),
            "abc",
            Rules(5, ("other",), frozenset({"all"}), FirstSight.QUIET, 3600, 86400, 1, 2, 4, save=True),
        ),
        (
            Key("mine", "def"),
            "D",
            Rules(7.5, ("team", "other"), frozenset({"lost", "stuck"}), FirstSight.TELL, 7200, 172800, 1, 2, 4),
        ),
    ]


def test_watches_with_equal_settings_share_their_rules() -> None:
    loaded = load(HEAD + "watchlist: [a, {id: b, interval: 30s}, {id: c, interval: 30}, {id: d, interval: 31}]\n")
    assert len({id(watch.rules) for watch in loaded.watches}) == 2


@pytest.mark.parametrize(
    ("apis", "entry", "key"),
    [
        (TWO_APIS, "https://api.replicate.com/v1/predictions/abc", Key("replicate", "abc")),
        (TWO_APIS, "https://replicate.com/p/abc", Key("replicate", "abc")),
        (TWO_APIS, "https://www.replicate.com/p/abc/?x=y", Key("replicate", "abc")),
        (TWO_APIS, "https://API.cometapi.com/replicate/v1/predictions/abc/#x", Key("cometapi", "abc")),
        (TWO_APIS, "{id: abc, api: replicate}", Key("replicate", "abc")),
        # CometAPI's answers hold links to Replicate, so the entry's own word counts for more.
        (TWO_APIS, "{id: 'https://replicate.com/p/abc', api: cometapi}", Key("cometapi", "abc")),
        (CUSTOM, "http://127.0.0.1:80/v1/predictions/abc", Key("mine", "abc")),
        (CUSTOM, "https://x.y/predictions/abc", Key("yours", "abc")),
        ("apis:\n  cometapi: {token: x}\n", "https://replicate.com/p/abc", Key("cometapi", "abc")),
        ("apis:\n  cometapi: {token: x}\n", "'1234567'", Key("cometapi", "1234567")),
        ("apis:\n  cometapi: {token: x}\n", "1e5", Key("cometapi", "1e5")),
        ("apis:\n  cometapi: {token: x}\n", "id: " + "a-_Z9" * 25, Key("cometapi", "a-_Z9" * 25)),
    ],
)
def test_an_entry_says_which_prediction_it_means(apis: str, entry: str, key: Key) -> None:
    (watch,) = load(f"{apis}{CHANNELS}watchlist:\n- {entry}\n").watches
    assert watch.key == key
    assert watch.name == key.id


def test_a_url_that_two_accounts_share_does_not_say_which_one() -> None:
    apis = TWO_APIS + "  second: {token: x, base_url: https://api.replicate.com/v1}\n"
    found = mistakes(f"{apis}{CHANNELS}watchlist:\n- https://replicate.com/p/abc\n")
    assert found == [
        "config.yaml:9:3: watchlist[0]: needs a key `api`, as there are several: cometapi, replicate or second"
    ]


def test_the_same_id_on_two_apis_is_two_watches() -> None:
    text = f"{TWO_APIS}{CHANNELS}watchlist:\n- {{id: abc, api: cometapi}}\n- {{id: abc, api: replicate}}\n"
    assert [str(watch.key) for watch in load(text).watches] == ["cometapi/abc", "replicate/abc"]


def test_an_id_given_at_the_terminal_may_be_a_url_too() -> None:
    apis = load(f"{TWO_APIS}{CHANNELS}watchlist: []\n").apis
    assert config.parse_prediction("abc", apis) == ("abc", None)
    assert config.parse_prediction("https://replicate.com/p/abc", apis) == ("abc", "replicate")
    with pytest.raises(ValueError, match="on an API that is not configured"):
        config.parse_prediction("https://x.y/predictions/abc", apis)  # its account would be asked in another's place
    with pytest.raises(ValueError, match="must be an id of at most 128 letters"):
        config.parse_prediction("../abc", apis)


# --- included files ---


def test_included_files_add_their_entries_in_the_order_of_their_names() -> None:
    Path("watchlist.d").mkdir()
    Path("watchlist.d/b.yaml").write_text("- bbb\n")
    Path("watchlist.d/a.yaml").write_text("- aaa\n- {id: xxx, interval: 10s}\n")
    Path("watchlist.d/ignored.txt").write_text("- ccc\n")
    loaded = load(HEAD + "watchlist: [zzz]\ninclude: watchlist.d/*.yaml\n")
    assert [watch.key.id for watch in loaded.watches] == ["zzz", "aaa", "xxx", "bbb"]
    assert loaded.files == (Path("config.yaml"), Path("watchlist.d/a.yaml"), Path("watchlist.d/b.yaml"))
    assert loaded.include == ("watchlist.d/*.yaml",)


def test_included_files_are_looked_for_beside_the_main_file(tmp_path: Path) -> None:
    (tmp_path / "etc" / "more" / "deep").mkdir(parents=True)
    (tmp_path / "etc/more/deep/a.yaml").write_text("[aaa]")
    (tmp_path / "b.yaml").write_text("[bbb]")
    path = Path("etc/config.yaml")
    path.write_text(f"{HEAD}include: ['more/**/*.yaml', '{tmp_path}/b.yaml', 'more/deep/a.yaml']\n")
    loaded = config.load(path, environ={})
    assert [watch.key.id for watch in loaded.watches] == ["aaa", "bbb"]
    assert loaded.files == (path, Path("etc/more/deep/a.yaml"), tmp_path / "b.yaml")


def test_a_pattern_that_matches_nothing_or_only_the_main_file_is_fine() -> None:
    loaded = load(HEAD + "include: ['*.yaml', 'nosuch.d/*', 'a?']\n")
    assert (loaded.watches, loaded.files, loaded.warnings) == ((), (Path("config.yaml"),), ())


def test_a_named_file_that_is_not_there_is_a_warning() -> None:
    loaded = load(HEAD + 'include: [more.yaml, "a\\0b"]\n')
    assert loaded.warnings[0] == "config.yaml:6:11: include[0]: there is no such file"


def test_mistakes_in_included_files_bear_those_files_names_and_come_last() -> None:
    Path("d").mkdir()
    Path("d/a.yaml").write_text("- abc\n- {id: def, intervall: 3s}\n- 12\n- id: def\n  channels: [nobody]\n- zzz\n")
    Path("d/b.yaml").write_text("- abc\n- zzz: [\n")
    Path("d/c.yaml").write_text("watchlist: [abc]\n")
    Path("d/d.yaml").write_text("")
    Path("d/e.yaml").write_bytes(b"- \xff\n")
    Path("d/f.yaml").write_text("- zzz\n")
    found = mistakes(HEAD + "watchlist: [zzz]\ninclude: d/*.yaml\noperators: [x]\n")
    assert [line.partition(" (")[0] for line in found] == [
        "config.yaml:8:13: operators[0]: must be a channel's name: team or oncall",
        "d/a.yaml:2:13: [1].intervall: unknown key; did you mean 'interval'?",
        "d/a.yaml:3:3: [2]: must be text, but YAML reads this as a number: put it in quotes",
        "d/a.yaml:4:7: [3].id: the same id stands on cometapi twice; the first is at d/a.yaml:2",
        "d/a.yaml:5:14: [3].channels[0]: must be a channel's name: team or oncall",
        "d/a.yaml:6:3: [4]: the same id stands on cometapi twice; the first is at config.yaml:6",
        "d/b.yaml:3:1: is not YAML: did not find expected node content",
        "d/c.yaml:1:1: must be a list of entries, as below `watchlist:` in the main file",
        "d/d.yaml:1:1: is empty",
        "d/e.yaml:1:3: is not UTF-8",
        "d/f.yaml:1:3: [0]: the same id stands on cometapi twice; the first is at config.yaml:6",
    ]


def test_what_cannot_be_included_is_a_mistake_at_its_pattern() -> None:
    Path("folder.yaml").mkdir()
    os.mkfifo("pipe.yaml")
    Path("gone.yaml").symlink_to("nosuch")
    help_ = "for the files in it, write a pattern such as folder/*.yaml"
    assert mistakes(HEAD + "include:\n- 'f*.yaml'\n- pipe.yaml\n- '*'\n") == [
        f"config.yaml:7:3: include[0]: 'folder.yaml' cannot be read: it is a folder; {help_}",
        "config.yaml:8:3: include[1]: 'pipe.yaml' cannot be read: it is not a file",
        "config.yaml:9:3: include[2]: 'gone.yaml' cannot be read: No such file or directory",
    ]


def test_files_that_come_to_match_a_pattern_are_files_of_the_configuration() -> None:
    loaded = load(HEAD + "include: d/*.yaml\n")
    Path("d").mkdir()
    Path("d/new.yaml").write_text("[]")
    assert config.files_of(loaded) == [Path("config.yaml"), Path("d/new.yaml")]


# --- quantities ---


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1d2h3m4s", 93784), ("1.5h", 5400), (90, 90),
     (0.5, 0.5), ("90", 90), ("0s", 0)],
)  # fmt: skip
def test_durations(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [("16MiB", 2**24), ("1KiB", 1024), ("2GiB", 2**31), ("1KB", 1000), ("1.5MB", 1_500_000), ("1GB", 10**9),
     ("7B", 7), ("7", 7), (4096, 4096), ("16 MiB", 2**24)],
)  # fmt: skip
def test_sizes(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize(("written", "rate"), [("10/s", 10), ("600/min", 10), ("36/h", 0.01), ("0.5/s", 0.5)])
def test_rates(written: object, rate: float) -> None:
    assert parse_rate(written) == rate


@pytest.mark.parametrize("written", ["", "s", "m5", "5 m", "1h30", "30s1m", "-5s", "5M", "٣s", True, None, [], "1e3s"])
def test_what_is_no_quantity_is_refused_by_all_of_them(written: object) -> None:
    for parse in (parse_duration, parse_size, parse_rate):
        with pytest.raises(ValueError, match="must be a"):
            parse(written)


def test_a_relative_store_starts_at_the_configurations_folder(tmp_path: Path) -> None:
    assert load(EMPTY + "store: sqlite:///data/n.db\n").store == f"sqlite:///{tmp_path}/data/n.db"
    assert load(EMPTY + "store: sqlite:////var/n.db\n").store == "sqlite:////var/n.db"
