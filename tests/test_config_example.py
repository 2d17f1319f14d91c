"""config.example.yaml and the JSON Schema are part of the program: they have every key, and agree with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from notifier import config
from notifier.config.document import Document, Mapping, Node, Sequence
from notifier.model import Api, Channel, Outputs

EXAMPLE = Path(__file__).parent.parent / "config.example.yaml"
ENVIRON = {"COMETAPI_KEY": "k", "REPLICATE_API_TOKEN": "k", "SLACK_URL": "json://x", "SMTP_PASSWORD": "p",
           "HEARTBEAT_URL": "https://hc.example/x"}  # fmt: skip
NAMED = ("apis", "channels")
"""Keys below which there are names of people's choice."""


def schema_keys(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """`apis.*.token` and so on: every key of the JSON Schema."""
    definitions = config.json_schema()["$defs"]
    if "$ref" in schema:
        yield from schema_keys(definitions[schema["$ref"].rpartition("/")[2]], path)
    for key, below in schema.get("properties", {}).items():
        yield f"{path}{key}"
        yield from schema_keys(below, f"{path}{key}.")
    for part in ("items", "additionalProperties"):
        if isinstance(below := schema.get(part), dict):
            yield from schema_keys(below, f"{path}*.")
    for below in (*schema.get("anyOf", ()), *schema.get("allOf", ())):
        yield from schema_keys(below, path)


def file_keys(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """The same of a file, with the values; a key may come several times."""
    if isinstance(node, Mapping):
        for key, value in node.values.items():
            if path.rstrip(".") in NAMED:
                yield from file_keys(value, f"{path}*.")
            else:
                yield f"{path}{key}", value
                yield from file_keys(value, f"{path}{key}.")
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from file_keys(item, f"{path}*.")


def whole() -> str:
    """The example with what it says for those who want it: a block of comment that is YAML behind its `# `."""
    block = re.search(r"^# outputs:\n(?:# .*\n)+", text := EXAMPLE.read_text(), re.MULTILINE)
    assert block
    return text.replace(block[0], re.sub(r"^# ", "", block[0], flags=re.MULTILINE))


def example() -> tuple[Document, list[tuple[str, Node]]]:
    document = Document(EXAMPLE.name, whole().encode())
    assert document.root is not None
    return document, list(file_keys(document.root))


def test_the_example_loads() -> None:
    loaded = config.load(EXAMPLE, environ=ENVIRON)
    assert list(loaded.apis) == ["cometapi", "replicate"]
    assert list(loaded.channels) == ["team", "oncall"]
    assert len(loaded.watches) == 2
    assert not loaded.warnings


def test_the_example_shows_the_defaults() -> None:
    loaded = config.load(EXAMPLE, environ=ENVIRON)
    comet, oncall = loaded.apis["cometapi"], loaded.channels["oncall"]
    assert loaded.outputs is None
    assert comet == Api("cometapi", comet.base_url, comet.token)
    assert oncall == Channel("oncall", oncall.url, oncall.events, title=oncall.title, body=oncall.body)
    written = yaml.safe_load(EXAMPLE.read_text())["defaults"]
    defaults = config.json_schema()["$defs"]["DefaultKeys"]["properties"]
    assert {
        key: schema["default"] for key, schema in defaults.items() if "default" in schema
    }.items() <= written.items()


def test_what_the_example_leaves_to_those_who_want_it_loads_too(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(whole())
    path.chmod(0o600)
    loaded = config.load(path, environ=ENVIRON)
    assert loaded.outputs == Outputs("/var/lib/notifier/outputs", keep=90 * 86400.0)
    path.write_text(whole().replace("save: false", "save: true"))
    assert all(watch.rules.save for watch in config.load(path, environ=ENVIRON).watches)


def test_every_key_of_the_schema_is_in_the_example_below_a_comment() -> None:
    document, keys = example()
    lines = document.text.splitlines()
    explained = set()
    for path, node in keys:
        line, _ = document.place(node.key)
        comment = lines[line - 2].strip()
        if comment.startswith("# ") and len(comment.split()) > 3:
            explained.add(path)
    assert set(schema_keys(config.json_schema())) - explained == set()


def test_the_example_has_no_key_that_the_schema_lacks() -> None:
    _, keys = example()
    assert {path for path, _ in keys} <= set(schema_keys(config.json_schema()))


def test_every_key_of_the_schema_has_a_description() -> None:
    schema = config.json_schema()
    levels = [schema, *schema["$defs"].values()]
    assert sum(len(level["properties"]) for level in levels) > 40
    for level in levels:
        for key, described in level["properties"].items():
            assert described.get("description"), key


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = config.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_accepts_the_example(validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(yaml.safe_load(EXAMPLE.read_text()))
    validator.validate(yaml.safe_load(whole()))


MINIMAL: dict[str, Any] = {"apis": {"cometapi": {"token": "t"}}, "channels": {"team": {"url": "json://x"}}}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"watchlist": []},
        {"watchlist": ["abc", {"id": "def", "interval": 10}, {"id": "ghi", "interval": "1h30m"}]},
        {"include": "a.yaml"},
        {"include": ["a.yaml", "b.yaml"]},
        {"operators": []},
        {"defaults": {"interval": 2.5, "stuck_after": "1d"}},
        {
            "outputs": {
                "directory": "s3://b/p",
                "max_size": "1TiB",
                "keep": "90d",
                "hosts": ["*.x.example"],
                "min_free": 0,
            }
        },
    ],
)
def test_the_schema_accepts_what_the_program_accepts(
    validator: jsonschema.Draft202012Validator, more: dict[str, Any]
) -> None:
    validator.validate(MINIMAL | more)


@pytest.mark.parametrize(
    "more",
    [
        {"watchlst": []},
        {"watchlist": None},
        {"watchlist": [12]},
        {"watchlist": ["a b"]},
        {"watchlist": [{"name": "x"}]},
        {"watchlist": [{"id": "abc", "intervall": 3}]},
        {"defaults": {"interval": "soon"}},
        {"defaults": {"interval": None}},
        {"defaults": {"events": ["faild"]}},
        {"defaults": {"channels": []}},
        {"defaults": {"first_sight": "maybe"}},
        {"defaults": {"save": "yes"}},
        {"outputs": {"keep": "90d"}},
        {"outputs": {"directory": "/x", "max_size": "2 GiBi"}},
        {"apis": {}},
        {"apis": {"cometapi": {"token": "t", "rate": 10}}},
        {"channels": {"team": {"url": "json://x", "digest_over": "10"}}},
    ],
)
def test_the_schema_refuses_what_the_program_refuses(
    validator: jsonschema.Draft202012Validator, more: dict[str, Any]
) -> None:
    assert not validator.is_valid(MINIMAL | more)
