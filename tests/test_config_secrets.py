"""Secrets are found where they are, their faults reported where they are referred to, and they are never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from notifier import config
from notifier.config import UrlInspection
from notifier.errors import ConfigError
from notifier.model import Secret
from tests.config_files import CHANNELS, EMPTY, HEAD, Case, api, channel, check_case, load, mistakes, token, top, url

FORMS = "write ${NAME}, ${NAME:-default}, ${file:/path} or ${credential:name}"
NOPE = "the environment variable NOPE is not set"
WITHOUT_REFERENCE = "a secret stands in a file that everyone on this machine can read: chmod 600 it, or use a reference"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "case",
    [
        token('»"a\\nb"', "has a line break in it"),
        token("»tökén", "has a character outside ASCII in it"),
        token("»''", "is empty"),
        token("»${EMPTY}", "is empty"),
        token("»Bearer x", "has a blank or control character in it; write the token alone, without `Bearer`"),
        token("»12345", "must be text, but YAML reads this as a number: put it in quotes (got a number)"),
        token("»[s3cret]", "must be text (got a list)"),
        (
            f"apis:\n  cometapi:\n    token:»\n{CHANNELS}watchlist: []\n",
            "apis.cometapi.token: must be text (got nothing)",
        ),
        url('»"json://a\\tb"', "has a line break or control character in it"),
        url("»''", "is empty"),
        url("»12345", "must be text, but YAML reads this as a number: put it in quotes (got a number)"),
        url("json://me:»${NOPE}@host", NOPE),
        url("json://me:${SET}@»${NOPE}", NOPE),
        url("'json://it''s/»${NOPE}'", NOPE),
        url('"json://\\x41ü/»${NOPE}"', NOPE),
        url("json://日本😀/»${NOPE}", NOPE),
        url(">-\n      json://x/\n      »${NOPE}", NOPE),
        url('»"json://\\x24{NOPE}"', NOPE),
        url('»"json://\\x24{NOPE}/${SET}"', NOPE),
        url("json://${SET}/»${file:/no/such}", "'/no/such' cannot be read: No such file or directory"),
        url("»${file:.}", "'.' cannot be read: it is a folder"),
        url("»${file:pipe}", "'pipe' cannot be read: it is not a file"),
        url("»${file:blank}", "'blank' is empty"),
        url("»${file:latin}", "'latin' is not UTF-8 text"),
        url("»${file:long}", "'long' is longer than 64 KiB: that is no secret"),
        url(
            "»${credential:x}",
            "the credential x cannot be had: the environment variable CREDENTIALS_DIRECTORY is not set",
        ),
        url("»${credential:../x}", "a credential's name is a file name, without slashes"),
        url("»${credential:..}", "a credential's name is a file name, without slashes"),
        url("»${a b}", f"this is no reference: {FORMS}"),
        url("»${NOPE:?x}", f"this is no reference: {FORMS}"),
        url("»${A", f"this reference has no end: {FORMS}"),
        api("base_url: https://»${NOPE}/v1", f"base_url: {NOPE}"),
        top("store: sqlite:///»${NOPE}/x.db", f"store: {NOPE}"),
    ],
)
def test_a_secret_that_cannot_be_had_is_reported_at_its_place(case: Case) -> None:
    os.mkfifo("pipe")
    Path("blank").write_text(" \n")
    Path("latin").write_bytes(b"\xe9")
    Path("long").write_bytes(b"x" * 70_000)
    check_case(case, {"EMPTY": "", "SET": "s3cret"})


def test_every_reference_of_a_text_is_reported() -> None:
    text, _ = url("${A}/${B:-x}/${C}", "")
    assert [line.split(": ")[0] for line in mistakes(text)] == ["config.yaml:5:10", "config.yaml:5:23"]


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ("s3cret", "s3cret"),
        ("${NAME}", "from-environment"),
        ("a-${NAME}-${NAME}-z", "a-from-environment-from-environment-z"),
        ("${NAME:-default}", "from-environment"),
        ("${EMPTY:-default}", "default"),
        ("${UNSET:-a:-b}", "a:-b"),
        ("x${UNSET:-}", "x"),
        ("${file:secrets/token}", "from-file"),
        ("${file:/SECRETS/token}", "from-file"),
        ("${credential:api.token}", "from-credential"),
        ("'${NESTED}'", "${NAME}"),
        ("$NAME$", "$NAME$"),
    ],
)
def test_references_bring_their_secrets(written: str, secret: str, tmp_path: Path) -> None:
    for folder, name, content in (
        ("secrets", "token", "from-file\r\n \n"),
        ("creds", "api.token", "from-credential\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    environ = {
        "NAME": "from-environment",
        "EMPTY": "",
        "NESTED": "${NAME}",
        "CREDENTIALS_DIRECTORY": str(tmp_path / "creds"),
    }
    text, _ = token(written.replace("/SECRETS", str(tmp_path / "secrets")), "")
    assert load(text, environ).apis["cometapi"].token == Secret(secret)


def test_a_secret_file_is_looked_for_beside_the_configuration() -> None:
    Path("etc").mkdir()
    Path("etc/token").write_text("from-file")
    text, _ = token("${file:token}", "")
    path = Path("etc/config.yaml")
    path.write_text(text)
    assert config.load(path, environ={}).apis["cometapi"].token == Secret("from-file")


def test_addresses_and_the_store_may_refer_to_the_environment(tmp_path: Path) -> None:
    text, _ = api("base_url: http://127.0.0.1:${PORT}/v1", "")
    loaded = load(text + "store: sqlite:///${STATE}/n.db\n", {"PORT": "8080", "STATE": str(tmp_path)})
    assert loaded.apis["cometapi"].base_url == "http://127.0.0.1:8080/v1"
    assert loaded.store == f"sqlite:///{tmp_path}/n.db"


def test_verbs_that_only_read_the_store_need_no_secrets() -> None:
    text, _ = token("${NOPE}", "")
    Path("config.yaml").write_text(text.replace("'json://localhost'", "'${ALSO_NOPE}'", 1))
    loaded = config.load(Path("config.yaml"), environ={}, resolve_secrets=False)
    assert loaded.apis["cometapi"].token == Secret("")
    assert set(loaded.channels) == {"team", "oncall"}


def test_no_message_and_no_repr_shows_a_secret() -> None:
    text = """\
apis:
  cometapi: {token: s3cret 1, tokn: s3cret2, timeout: x://s3cret3}
  other: s3cret4
  third: {token: [s3cret5], base_url: "https://s3cret6:s3cret7@example.com?s3cret8"}
channels:
  team: slack://s3cret9
  bad: {url: {s3cret: 10}, title: "s3cret11"}
  broken: {url: "x${ENV}y\\t"}
  refused: {url: "json://s3cret13${ENV}"}
  twice: {url: s3cret, url: s3cret}
watchlist:
  - {id: slack://s3cret12/x, channels: ["slack://s3cret"]}
store: postgresql://user:s3cret@host/db
"""
    found = mistakes(text, {"ENV": "s3cret"}, inspect_url=lambda url: UrlInspection(problem="Apprise cannot read it"))
    assert len(found) >= 12
    allowed = ("channels.bad.url.s3cret",)
    assert not [line for line in found if "s3cret" in line and not any(path in line for path in allowed)]


def test_the_reasons_behind_an_error_show_no_secret_either() -> None:
    text, _ = token("s3cret 1", "")
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_url_that_apprise_cannot_read_is_a_mistake_at_its_place() -> None:
    def inspect(url: Secret) -> UrlInspection:
        return UrlInspection(problem="Apprise cannot read this URL" if url.reveal() == "nope://x" else None)

    text = HEAD.replace("'json://localhost'", "${URL}x", 1).replace("{url:", "{ url:").replace("${URL}x", '"${URL}x"')
    found = mistakes(text + "watchlist: []\n", {"URL": "nope://"}, inspect_url=inspect)
    assert found == ["config.yaml:4:16: channels.team.url: Apprise cannot read this URL"]


def test_a_warning_about_a_url_is_kept_with_its_place() -> None:
    loaded = load(EMPTY, inspect_url=lambda url: UrlInspection(warning="has many recipients"))
    assert loaded.warnings == (
        "config.yaml:4:15: channels.team.url: has many recipients",
        "config.yaml:5:17: channels.oncall.url: has many recipients",
    )


def test_files_for_a_channel_that_takes_none_are_a_warning_where_they_are_asked_for() -> None:
    text = EMPTY.replace("'json://localhost'", "'json://localhost', attach: true", 1)
    text = text.replace("'json://localhost'}", "'json://localhost', attach: false}")
    loaded = load(text, inspect_url=lambda url: UrlInspection(no_files="this service takes no files"))
    assert loaded.warnings == ("config.yaml:4:43: channels.team.attach: has no effect: this service takes no files",)
    assert load(text, inspect_url=lambda url: UrlInspection()).warnings == ()


def test_a_template_that_does_not_compile_is_a_mistake_at_its_value() -> None:
    text, _ = channel("title: '{{ name'\n    body: |\n      {% if %}", "")
    found = mistakes(text, template_problem=lambda template: f"line {template.count('{')}")
    assert found == [
        "config.yaml:6:12: channels.team.title: is no template that works: line 2",
        "config.yaml:7:11: channels.team.body: is no template that works: line 1",
    ]


def test_a_secret_in_a_world_readable_file_is_a_warning() -> None:
    text = f"apis:\n  cometapi: {{token: t0ken}}\n  replicate: {{token: '${{NAME}}'}}\n{CHANNELS}watchlist: []\n"
    Path("config.yaml").write_text(text)
    Path("config.yaml").chmod(0o644)
    assert config.load(Path("config.yaml"), environ={"NAME": "x"}).warnings == (
        f"config.yaml:2:21: apis.cometapi.token: {WITHOUT_REFERENCE}",
        f"config.yaml:5:15: channels.team.url: {WITHOUT_REFERENCE}",
        f"config.yaml:6:17: channels.oncall.url: {WITHOUT_REFERENCE}",
    )
    Path("config.yaml").chmod(0o640)
    assert config.load(Path("config.yaml"), environ={"NAME": "x"}).warnings == ()
