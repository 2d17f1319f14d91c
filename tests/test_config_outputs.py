"""The keys for keeping files of outputs: `outputs`, and `save` in `defaults` and entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier.model import Outputs
from tests.config_files import EMPTY, HEAD, Case, check_case, entry, load, mistakes, top

DIRECTORY = "outputs.directory: must "
BUCKETS = "s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
HOST = "must be a host's name, such as replicate.delivery, without a port"
NO_PLACE = "save: needs a place for the files; write, say, `outputs: {directory: /var/lib/notifier/outputs}`"
SIZE = "must be a size such as 16MiB or 500KB"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def outputs(rest: str, words: str) -> Case:
    """A mistake in a key of `outputs`."""
    return top(f"outputs: {{directory: /srv/files, {rest}}}", f"outputs.{words}")


def test_without_the_key_nothing_is_kept() -> None:
    loaded = load(HEAD + "watchlist: [abc]\n")
    assert loaded.outputs is None
    assert not loaded.watches[0].rules.save


def test_a_directory_is_enough_and_the_rest_has_the_defaults_of_the_model() -> None:
    loaded = load(HEAD + "watchlist: [abc]\noutputs: {directory: /srv/files}\n")
    assert loaded.outputs == Outputs("/srv/files")
    assert not loaded.watches[0].rules.save
    assert loaded.warnings == (), "`notifier save ID` has its place, though nothing is kept by itself"


def test_every_key_arrives_where_it_belongs() -> None:
    loaded = load(
        EMPTY
        + """\
outputs:
  directory: /srv/files/
  max_size: 500MB
  keep: 90d
  hosts: [replicate.delivery, "*.Example.com.", 192.0.2.1]
  allow_private: true
  min_free: 0
"""
    )
    hosts = ("replicate.delivery", "example.com", "192.0.2.1")
    assert loaded.outputs == Outputs("/srv/files", 500 * 10**6, 90 * 86400.0, hosts, allow_private=True, min_free=0)


@pytest.mark.parametrize("url", ["s3://bucket", "s3://my-bucket.x/pre/fix", "gs://bucket/p", "az://container/p"])
def test_a_place_may_be_an_object_store(url: str) -> None:
    loaded = load(f"{EMPTY}outputs: {{directory: '{url}', max_size: 1TiB, min_free: 2.5 TB}}\n")
    assert loaded.outputs == Outputs(url, max_size=2**40, min_free=2_500_000_000_000)


def test_the_directory_may_be_a_reference() -> None:
    text = EMPTY + "outputs: {directory: '${STATE_DIRECTORY}/outputs'}\n"
    assert load(text, {"STATE_DIRECTORY": "/var/lib/notifier"}).outputs == Outputs("/var/lib/notifier/outputs")
    (mistake,) = mistakes(text)
    assert mistake.startswith("config.yaml:7:23: outputs.directory: the environment variable STATE_DIRE")


def test_an_entry_keeps_its_files_where_it_or_else_the_defaults_say_so() -> None:
    watchlist = "watchlist: [a, {id: b, save: true}, {id: c, save: false}]\noutputs: {directory: /srv/files}\n"
    saved = [watch.rules.save for watch in load(HEAD + watchlist).watches]
    assert saved == [False, True, False]
    saved = [watch.rules.save for watch in load(HEAD + "defaults: {save: true}\n" + watchlist).watches]
    assert saved == [True, True, False]


def test_an_entry_of_an_included_file_needs_a_place_as_well() -> None:
    Path("more.yaml").write_text("- {id: abc, save: true}\n")
    (mistake,) = mistakes(EMPTY + "include: more.yaml\n")
    assert mistake.startswith(f"more.yaml:1:19: [0].{NO_PLACE}")
    assert load(EMPTY + "include: more.yaml\noutputs: {directory: /x}\n").watches[0].rules.save


def test_where_the_place_itself_is_wrong_that_is_the_mistake() -> None:
    for wrong in ("outputs: {}", "outputs:", "outputs: {directory: files}"):
        (mistake,) = mistakes(f"{EMPTY}defaults: {{save: true}}\n{wrong}\n")
        assert mistake.startswith("config.yaml:8:"), mistake


@pytest.mark.parametrize(
    "case",
    [
        entry("save: »true", f"{NO_PLACE} (got true)"),
        entry("save: »1", "save: must be true or false (got 1)"),
        entry("»sav: true", "sav: unknown key; did you mean 'save'?"),
        top("defaults: {save: »on}", f"defaults.{NO_PLACE}"),
        top("»outputs: {}", "outputs.directory: is missing"),
        top("outputs: »/srv/files", "outputs: must be a mapping (got text)"),
        top("»output: {directory: /x}", "output: unknown key; did you mean 'outputs'?"),
        top(
            "outputs: {directory: »files}",
            f"{DIRECTORY}be an absolute path, such as /var/lib/notifier/outputs, or {BUCKETS} (got 'files')",
        ),
        top("outputs: {directory: »~/files}", f"{DIRECTORY}be an absolute path"),
        top("outputs: {directory: »'http://x.y/z'}", f"{DIRECTORY}be an absolute path, or {BUCKETS}"),
        top("outputs: {directory: »'s3://'}", f"{DIRECTORY}name a bucket or container after s3://"),
        top("outputs: {directory: »'s3:///prefix'}", f"{DIRECTORY}name a bucket or container after s3://"),
        top("outputs: {directory: »'s3://key:secret@bucket/prefix'}", f"{DIRECTORY}not hold a user name or password: "),
        top(
            "outputs: {directory: »'az://container/p?sig=abc'}",
            f"{DIRECTORY}not hold a query (?) or fragment (#) (got 'az://…')",
        ),
        top('outputs: {directory: »"/srv/a\\nb"}', f"{DIRECTORY}not have a line break or control character"),
        top("outputs: {directory: »7}", "outputs.directory: must be text, but YAML reads this as a number"),
        outputs(
            "»maxsize: 1GiB", "maxsize: unknown key; did you mean 'max_size'? (allowed here: directory, max_size, "
        ),
        outputs("»token: t0ken", "token: unknown key"),
        outputs("max_size: »2 GiBi", f"max_size: {SIZE}, from 1KiB to 1TiB (got '2 GiBi')"),
        outputs("max_size: »1023", "max_size: must be from 1KiB to 1TiB (got 1023)"),
        outputs("max_size: »2TiB", "max_size: must be from 1KiB to 1TiB (got '2TiB')"),
        outputs("keep: »59m", "keep: must be from 1h to 3650d (got '59m')"),
        outputs("keep: »for ever", "keep: must be a duration such as 30s, 5m or 1h30m, from 1h to 3650d"),
        outputs("hosts: »replicate.delivery", "hosts: must be a list (got text)"),
        outputs("hosts: [»'https://x.y']", f"hosts[0]: {HOST}"),
        outputs("hosts: [x.y, »'x.y:443']", f"hosts[1]: {HOST} (got 'x.y:443')"),
        outputs("hosts: [»'*']", f"hosts[0]: {HOST} (got '*')"),
        outputs("hosts: [»'*.']", f"hosts[0]: {HOST} (got '*.')"),
        outputs("hosts: [»'*.*.x']", f"hosts[0]: {HOST}"),
        outputs("hosts: [»'']", "hosts[0]: must not be empty"),
        outputs("allow_private: »maybe", "allow_private: must be true or false (got 'maybe')"),
        outputs("min_free: »-1", f"min_free: {SIZE}, from 0B to 100TiB (got -1)"),
        outputs("min_free: »101TiB", "min_free: must be from 0B to 100TiB"),
    ],
    ids=lambda case: case[0].splitlines()[-1],
)
def test_a_mistake_is_reported_at_its_place(case: Case) -> None:
    check_case(case)
