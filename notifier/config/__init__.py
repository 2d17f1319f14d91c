"""The configuration stage: the YAML file to frozen values, or one error that lists every mistake with its place.

    document   YAML text to a tree of nodes that know their places (PyYAML)
    schema     the keys, their defaults and what they do (pydantic)
    values     what single values mean
    secrets    ${...} references
    reading    the way from the files to a Config; `watchlist` is its part for the entries
    findings   mistakes, put into words by `wording` and into order
    files      files found and read within limits; `locations` says where they are when nobody does

The file's meaning is in config.example.yaml, which has every key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from notifier.config.files import matching
from notifier.config.locations import NoConfigError, find
from notifier.config.reading import Reader, UrlInspection, World
from notifier.config.schema import json_schema
from notifier.config.values import KNOWN_BASE_URLS, parse_duration, parse_rate, parse_size, prediction
from notifier.model import Api, Config, Secret

__all__ = [
    "NoConfigError",
    "UrlInspection",
    "files_of",
    "find",
    "json_schema",
    "load",
    "matching",
    "parse_duration",
    "parse_prediction",
    "parse_rate",
    "parse_size",
]


def load(
    path: Path,
    *,
    environ: Mapping[str, str],
    inspect_url: Callable[[Secret], UrlInspection] | None = None,
    template_problem: Callable[[str], str | None] | None = None,
    resolve_secrets: bool = True,
) -> Config:
    """Read the configuration and everything it includes.

    `inspect_url` and `template_problem` say what is wrong with a channel's URL and with a template (None: nothing);
    without them that is not checked. With `resolve_secrets=False` references in tokens and channel URLs are not
    followed, and those secrets are empty: for verbs that only read the store, and run where the daemon's secrets are
    not to be had.

    Raises ConfigError with all mistakes in the order of their places. No message quotes a token or a channel's URL, nor
    anything that came from the environment or a secret file.
    """
    world = World(
        environ=environ,
        inspect_url=inspect_url or (lambda url: UrlInspection()),  # noqa: ARG005 - nothing is asked
        template_problem=template_problem or (lambda template: None),  # noqa: ARG005
        resolve_secrets=resolve_secrets,
    )
    return Reader(path, world).read()


def files_of(config: Config) -> list[Path]:
    """Every file the configuration would be read from now, those of secrets and new ones that `include` matches too."""
    included = (path for pattern in config.include for path in matching(config.path.parent, pattern))
    return list(dict.fromkeys((config.path, *config.files, *config.seen, *included)))


def parse_prediction(given: str, apis: Mapping[str, Api]) -> tuple[str, str | None]:
    """A bare id, or a prediction's URL, as the id and the name of the account that the URL belongs to, if to one only.

    Raises ValueError with what is allowed.
    """
    base_url, prediction_id = prediction(given)
    named = [name for name, api in apis.items() if api.base_url == base_url]
    if base_url is not None and not named and base_url not in KNOWN_BASE_URLS.values():
        raise ValueError("is a prediction's URL on an API that is not configured")
    return prediction_id, named[0] if len(named) == 1 else None
