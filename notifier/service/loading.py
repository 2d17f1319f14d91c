"""The configuration, checked with all that the stages know of it, and what follows from it before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from notifier import channels, config, logs, message
from notifier.deliver import Route
from notifier.model import Address, Config, Message, Secret


def load_config(path: Path, environ: Mapping[str, str] = os.environ, *, resolve_secrets: bool = True) -> Config:
    """The whole configuration, checked as far as can be without sending anything; without the secrets if they are not
    to be resolved. Raises ConfigError.
    """

    def inspect_url(url: Secret) -> config.UrlInspection:
        problem, warning = channels.inspect(url)
        return config.UrlInspection(problem=problem, warning=warning, no_files=channels.no_files(url))

    return config.load(
        path,
        environ=environ,
        inspect_url=inspect_url,
        template_problem=message.template_problem,
        resolve_secrets=resolve_secrets,
    )


def routes(configuration: Config) -> dict[Address, Route]:
    """How each address of the configured channels is reached."""
    found: dict[Address, Route] = {}
    for channel in configuration.channels.values():
        for target in channels.targets(channel):
            found[target.address] = Route(channel, _sender(target), target.body_limit)
    return found


def _sender(target: channels.Target) -> Callable[[Message], None]:
    return lambda words: channels.send(target, words)


def hide_secrets(*configurations: Config) -> None:
    """Let no line of the log show a secret of these from now on."""
    logs.hide(
        [
            secret
            for each in configurations
            for secret in (
                *(api.token.reveal() for api in each.apis.values()),
                *(part for channel in each.channels.values() for part in channels.secret_parts(channel.url)),
                *(channels.secret_parts(each.heartbeat.url) if each.heartbeat else ()),
            )
        ]
    )
