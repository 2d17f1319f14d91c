"""YAML as people write it, break it and half save it: read with its places, or refused quickly, never anything else."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from notifier import config
from notifier.config import document as document_module
from notifier.config.document import MAX_ALIASED, MAX_DEPTH, Document, Mapping, Scalar, Sequence
from notifier.config.files import MAX_BYTES
from notifier.errors import ConfigError
from tests.config_files import CHANNELS, EMPTY, HEAD, Case, check_case, load, mistakes, top

EXAMPLE = (Path(__file__).parent.parent / "config.example.yaml").read_bytes()
ENVIRON = {"COMETAPI_KEY": "k", "REPLICATE_API_TOKEN": "k", "SLACK_URL": "json://x", "SMTP_PASSWORD": "p"}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=["the default parser", "pure Python"])
def _each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python":
        monkeypatch.setattr(document_module, "_Parser", yaml.SafeLoader)


@pytest.mark.usefixtures("_each_parser")
@pytest.mark.parametrize(
    "case",
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("---\n»", "must be a mapping with the keys apis, channels and watchlist (got nothing)"),
        ("»- abc\n", "must be a mapping with the keys apis, channels and watchlist (got a list)"),
        ("»abc", "must be a mapping with the keys apis, channels and watchlist (got text)"),
        top("»---\na: b", "a second document begins here: put everything into one"),
        top("»\tdefaults: x", "is not YAML: found character"),
        top("store: a»: b", "is not YAML: mapping values are not allowed "),
        top("defaults: {interval: 3s\nstore»: x", "is not YAML: "),
        top("store: a»\0b", "has a character that YAML does not allow (U+0000)"),
        top("store: ü日😀»\x1b[0m", "has a character that YAML does not allow (U+001B)"),
        top("store: »*x", "this alias has no anchor before it; text that begins with * needs quotes"),
        top("defaults: &x {channels: [»*x]}", "this alias stands inside what it stands for"),
        top(
            "store: »!!binary sqlite:///x.db", "store: tags (!...) have no meaning here; text that begins with ! needs"
        ),
        top("defaults: »!!python/object:os.system {}", "defaults: tags (!...) have no meaning here"),
        (HEAD + "watchlist:\n- abc\n- »!x def\n", "watchlist[1]: tags (!...) have no meaning here"),
        (HEAD + "watchlist:\n- abc\n- {id: def, name: »!x y}\n", "watchlist[1].name: tags (!...) have no meaning here"),
        top("defaults:\n  <<: »3", "defaults.<<: must be a mapping, or a list of mappings"),
        top("defaults: " + "[" * (MAX_DEPTH - 1) + "»[" + "]" * MAX_DEPTH, "is nested more than 100 levels deep"),
        top("defaults: " + "[" * (MAX_DEPTH - 1) + "»[" + "[" * 800, "is nested more than 100 levels deep"),
        top("? »[a]\n: b", "a key must be text; a value that begins with { or [ needs quotes"),
    ],
    ids=lambda case: case[1][:60],
)
def test_what_is_wrong_as_yaml_is_reported_at_its_place(case: Case) -> None:
    check_case(case)


def test_a_tab_is_named_as_such() -> None:
    text, _ = top("\tdefaults: x", "")
    assert mistakes(text)[0].endswith("; this is a tab: indent with spaces")


def test_what_was_open_where_the_text_breaks_is_named_with_its_place() -> None:
    (mistake,) = mistakes(EMPTY + "defaults: {interval: 3s")
    assert mistake.startswith("config.yaml:7:24: is not YAML: did not find expected ',' or '}'")
    assert mistake.endswith(" (while parsing a flow mapping that begins at 7:11)")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\xff\xfea\x00", "config.yaml:1:1: is not UTF-8 (byte 0xff): save it as UTF-8"),
        ("# é\nname: é".encode() + b"\xe9\n", "config.yaml:2:8: is not UTF-8 (byte 0xe9): save it as UTF-8"),
        ("\ufeffa: é".encode() + b"\xc3", "config.yaml:1:5: is not UTF-8 (byte 0xc3): save it as UTF-8"),
    ],
)
def test_a_file_that_is_not_utf_8_is_refused_at_the_first_wrong_byte(data: bytes, found: str) -> None:
    assert mistakes(data) == [found]


def test_a_byte_order_mark_and_windows_line_ends_move_no_place() -> None:
    text = "\ufeff" + (EMPTY + "nosuch: 1\n").replace("\n", "\r\n")
    assert mistakes(text)[0].startswith("config.yaml:7:1: nosuch: unknown key")
    assert load("\ufeff" + EMPTY.replace("\n", "\r\n")).watches == ()


def test_a_file_over_the_limit_is_refused() -> None:
    with Path("config.yaml").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigError, match=r"^config.yaml:1:1: is larger than 32 MiB$"):
        config.load(Path("config.yaml"), environ={})
    Path("config.yaml").write_text(EMPTY)
    Path("big.yaml").write_bytes(b"# " + b"x" * MAX_BYTES)
    assert mistakes(EMPTY + "include: big.yaml\n") == ["big.yaml:1:1: is larger than 32 MiB"]


@pytest.mark.parametrize("missing", ["nosuch.yaml", "."])
def test_a_file_that_cannot_be_read_is_a_mistake(missing: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{missing}:1:1: cannot be read: "):
        config.load(Path(missing), environ={})


def test_an_alias_bomb_is_refused_before_anything_expands_it() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    (mistake,) = mistakes("\n".join(lines))
    assert mistake.endswith(f"the aliases up to here stand for more than {MAX_ALIASED:,} values")


def test_aliases_stand_for_the_same_content_at_their_own_place() -> None:
    text = HEAD + "watchlist:\n- {id: abc, channels: &both [team, oncall]}\n- {id: def, channels: *both}\n"
    first, second = load(text).watches
    assert first.rules.channels == second.rules.channels == ("team", "oncall")
    text = HEAD + "watchlist:\n- {id: abc, interval: &wrong 2h}\n- {id: def, interval: *wrong}\n"
    assert mistakes(text)[1].startswith("config.yaml:8:23: watchlist[1].interval: must be from")


def test_merged_keys_stand_back_behind_those_written_out() -> None:
    text = HEAD + "watchlist:\n- &a {id: abc, interval: 10s, name: A}\n- {<<: *a, id: def, name: D}\n"
    text += "- id: ghi\n  <<: [{interval: 20s}, *a]\n"
    a, d, g = load(text).watches
    assert (a.rules.interval, d.rules.interval, g.rules.interval) == (10, 10, 20)
    assert (a.name, d.name, g.name) == ("A", "D", "A")


@pytest.mark.usefixtures("_each_parser")
def test_every_node_knows_its_place_in_characters() -> None:
    document = Document("x.yaml", "é: {ü: 1, 日本: [😀, 'x']}\r\nk: |\r\n  text\r\n".encode())
    assert isinstance(document.root, Mapping)
    mapping = document.root.values["é"]
    assert isinstance(mapping, Mapping)
    sequence = mapping.values["日本"]
    assert isinstance(sequence, Sequence)
    nodes = [mapping.values["ü"], sequence, *sequence.items, document.root.values["k"]]
    assert [document.place(node.start) for node in nodes] == [(1, 8), (1, 15), (1, 16), (1, 19), (2, 4)]
    assert [document.place(node.key) for node in (mapping, sequence)] == [(1, 1), (1, 11)]


@pytest.mark.parametrize(
    ("written", "data"),
    [
        ("abc", "abc"), ("'12'", "12"), ("!!str 12", "12"), ("1e5", "1e5"), ("0o17", "0o17"), ("<<", "<<"), ("=", "="),
        ("12", 12), ("-1", -1), ("1.5", 1.5), ("0", 0), ("yes", True), ("Off", False), ("true", True),
    ],
)  # fmt: skip
def test_scalars_are_text_plain_numbers_and_truth_values(written: str, data: object) -> None:
    root = Document("x.yaml", f"- {written}\n".encode()).root
    assert isinstance(root, Sequence)
    assert root.data() == [data]
    assert type(root.data()[0]) is type(data)


@pytest.mark.parametrize(
    "written", ["0123", "12:34:56", "1_000", "0x1f", "0b1", "+1", "1.", ".inf", "2024-01-01", "null", "~", "", "9" * 40]
)
def test_scalars_that_yaml_makes_something_surprising_of_stay_what_they_are(written: str) -> None:
    root = Document("x.yaml", f"- {written}\n".encode()).root
    assert isinstance(root, Sequence)
    (scalar,) = root.data()
    assert isinstance(scalar, Scalar)
    assert scalar.text == written


def test_the_work_grows_with_the_entries_and_not_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0
    take = document_module._Composer._take

    def counting(self: document_module._Composer, event: yaml.Event) -> None:
        nonlocal taken
        taken += 1
        take(self, event)

    monkeypatch.setattr(document_module._Composer, "_take", counting)
    counts = []
    for entries in (100, 200):
        taken = 0
        load(HEAD + "watchlist:\n" + "".join(f"- {{id: p{n}, name: N {n}, interval: 10s}}\n" for n in range(entries)))
        counts.append(taken)
    assert counts[1] - counts[0] == 100 * 8


ANYTHING = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _load_or_refuse(data: bytes) -> None:
    Path("config.yaml").write_bytes(data)
    try:
        config.load(Path("config.yaml"), environ=ENVIRON)
    except ConfigError as error:
        for mistake in error.mistakes:
            assert mistake.line >= 1
            assert mistake.column >= 1
            assert str(mistake).isprintable()


@ANYTHING
@given(st.integers(0, len(EXAMPLE)))
def test_half_a_file_is_read_or_refused(length: int) -> None:
    _load_or_refuse(EXAMPLE[:length])


@ANYTHING
@given(st.integers(0, 2**32), st.integers(1, 8))
@example(1955122, 1)  # a channel named with a tab, which the mistake elsewhere offers
def test_a_damaged_file_is_read_or_refused(seed: int, faults: int) -> None:
    chance = random.Random(seed)
    data = bytearray(EXAMPLE)
    for _ in range(faults):
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(3)] = bytes(
            chance.choice(b"\n\t :-[]{}&*!|>'\"%@`#?,\x00\xff\xc3ab0") for _ in range(2)
        )
    _load_or_refuse(bytes(data))


@ANYTHING
@given(st.text(st.sampled_from("ab0: -\n[]{},&*!|>'\"#?%${}<é\t"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    _load_or_refuse((CHANNELS + text).encode())


@pytest.mark.usefixtures("_each_parser")
def test_nesting_without_end_is_refused_somewhere_in_it_whatever_the_parser_reads_ahead() -> None:
    (found,) = mistakes(top("defaults: " + "[" * 100_000, "")[0])
    assert found.startswith("config.yaml:7:")
    assert found.endswith("is nested more than 100 levels deep")


def test_a_pipe_in_the_files_place_is_a_mistake_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="cannot be read: it is not a file"):
        config.load(tmp_path / "config.yaml", environ={})
