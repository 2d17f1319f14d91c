"""Configuration files for the tests, and their mistakes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from notifier import config
from notifier.config import UrlInspection
from notifier.errors import ConfigError
from notifier.model import Config, Secret

APIS = "apis:\n  cometapi: {token: t0ken}\n"
TWO_APIS = "apis:\n  cometapi: {token: t0ken}\n  replicate: {token: t0ken}\n"
CHANNELS = "channels:\n  team: {url: 'json://localhost'}\n  oncall: {url: 'json://localhost'}\n"
HEAD = APIS + CHANNELS
EMPTY = HEAD + "watchlist: []\n"
"""The smallest configuration that is right: six lines, and a seventh for what a test adds."""

HERE = "»"
"""Stands in a text where a mistake is expected to be."""

Case = tuple[str, str]
"""A text with its mark, and how the mistake there begins: its path and words."""


def load(
    text: str | bytes,
    environ: Mapping[str, str] | None = None,
    *,
    inspect_url: Callable[[Secret], UrlInspection] | None = None,
    template_problem: Callable[[str], str | None] | None = None,
) -> Config:
    """The configuration that a text makes as `config.yaml` of the current folder."""
    path = Path("config.yaml")
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return config.load(path, environ=environ or {}, inspect_url=inspect_url, template_problem=template_problem)


def mistakes(
    text: str | bytes,
    environ: Mapping[str, str] | None = None,
    *,
    inspect_url: Callable[[Secret], UrlInspection] | None = None,
    template_problem: Callable[[str], str | None] | None = None,
) -> list[str]:
    """Every line of the error that a text makes."""
    with pytest.raises(ConfigError) as caught:
        load(text, environ, inspect_url=inspect_url, template_problem=template_problem)
    assert caught.value.exit_code == 78
    return str(caught.value).split("\n")


def check_case(case: Case, environ: Mapping[str, str] | None = None) -> None:
    """There is one mistake, it is where the mark is (without one: at the very beginning), and it reads so."""
    marked, words = case
    before, mark, after = marked.partition(HERE)
    line, column = (before.count("\n") + 1, len(before) - before.rfind("\n")) if mark else (1, 1)
    (found,) = mistakes(before + after if mark else marked, environ)
    assert found.startswith(f"config.yaml:{line}:{column}: {words}"), found[:300]


def api(rest: str, words: str) -> Case:
    """A mistake in a key of `apis.cometapi`."""
    return f"apis:\n  cometapi:\n    token: t0ken\n    {rest}\n{CHANNELS}watchlist: []\n", f"apis.cometapi.{words}"


def token(value: str, words: str) -> Case:
    """A mistake in `apis.cometapi.token`."""
    return f"apis:\n  cometapi:\n    token: {value}\n{CHANNELS}watchlist: []\n", f"apis.cometapi.token: {words}"


def channel(rest: str, words: str) -> Case:
    """A mistake in a key of `channels.team`."""
    text = f"{APIS}channels:\n  team:\n    url: json://localhost\n    {rest}\nwatchlist: []\n"
    return text, f"channels.team.{words}"


def url(value: str, words: str) -> Case:
    """A mistake in `channels.team.url`."""
    return f"{APIS}channels:\n  team:\n    url: {value}\nwatchlist: []\n", f"channels.team.url: {words}"


def entry(rest: str, words: str) -> Case:
    """A mistake in a key of `watchlist[0]`."""
    return f"{HEAD}watchlist:\n  - id: abc\n    {rest}\n", f"watchlist[0].{words}"


def item(text: str, words: str) -> Case:
    """A mistake in `watchlist[0]` itself."""
    return f"{HEAD}watchlist:\n  - {text}\n", f"watchlist[0]{words}"


def top(text: str, words: str) -> Case:
    """A mistake in what follows a configuration that is right."""
    return EMPTY + text + "\n", words
