"""The command: arguments in, exit code out. A known error is one line on standard error, never a traceback."""

from __future__ import annotations

import difflib
import io
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from notifier import __version__, logs, signals
from notifier.errors import ConfigError, NotifierError

if TYPE_CHECKING:  # what only some verbs need is imported by those
    from notifier.model import Config, FailedPoll, Key, Observation
    from notifier.transport import Transport

Command = TypeVar("Command", bound=Callable[..., Any])
SHOWN = 200
"""Notices that `history` shows to a person who says no limit."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _config_option(command: Command) -> Command:
    """`-c/--config`, before or after the verb; kept in the context's object for `_config_path`."""

    def keep(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
        if value is not None:
            context.find_root().obj = value

    return click.option(
        "-c",
        "--config",
        type=click.Path(
            path_type=Path, readable=False
        ),  # whether it can be read is said by `config`, with its exit code
        expose_value=False,
        callback=keep,
        is_eager=True,
        help="The configuration. Default: $NOTIFIER_CONFIG, ./config.yaml, $XDG_CONFIG_HOME/notifier/config.yaml, "
        "/etc/notifier/config.yaml.",
    )(command)


def _json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def _config_path() -> Path:
    from notifier import config

    return config.find(click.get_current_context().find_root().obj, os.environ)


@click.group(context_settings=CONTEXT)
@_config_option
@click.version_option(__version__, prog_name="notifier")
def cli() -> None:
    """Tells Slack, e-mail or anything else when an AI prediction at CometAPI or Replicate ends or breaks."""


def main() -> None:
    """Run the command; ends the process with its exit code."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would be in its place, and be written into for it
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character gets a question mark
    code = _run()
    if threading.active_count() == 1:
        sys.exit(code)
    # A thread that hangs in a channel's connection may wake while the interpreter is taken down, which can abort it.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    os._exit(code)


def _run() -> int:
    """The exit code, after whatever is to be said."""
    try:
        return cli(prog_name="notifier", standalone_mode=False) or 0
    except SystemExit as end:
        return int(end.code or 0)
    except ConfigError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    except NotifierError as error:
        click.echo(f"notifier: {error}", err=True)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except OSError as error:
        if error.filename is not None:  # a file's trouble, which should have been told by whoever opened it
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left would fail again at the exit
        click.echo(f"notifier: the output cannot be written: {error.strerror}", err=True)
        return 1


@cli.command()
@_config_option
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json: an object on each line, with time, level, logger, event and its facts.",
)
def run(log_level: str, log_format: str) -> None:
    """The daemon, in the foreground. Ends on SIGTERM or SIGINT, reads the configuration again on SIGHUP."""
    signals.hold()  # loading takes most of a second, in which a signal to end must be no accident
    logs.setup(getattr(logging, log_level.upper()), as_json=log_format == "json")
    from notifier.service import Service, load_config

    logger = logging.getLogger(__name__)
    try:
        configuration = load_config(_config_path())
        for warning in configuration.warnings:
            logs.event(logger, logging.WARNING, "configuration", warning=warning)
        Service(configuration).run()
    except NotifierError as error:
        if log_format == "text" and not logs.is_journal():
            raise  # said to whoever sits at the terminal, as by any other verb
        mistakes = error.mistakes if isinstance(error, ConfigError) else ()
        for mistake in mistakes:
            logs.event(logger, logging.ERROR, "mistake in the configuration", mistake=mistake)
        reason = "the configuration has mistakes" if mistakes else error
        logs.event(logger, logging.CRITICAL, "ended by an error", reason=reason, exit_code=error.exit_code)
        sys.exit(error.exit_code)


@cli.command()
@_config_option
@click.option("--no-secrets", is_flag=True, help="Check all but the secrets, where they are not to be had.")
def check(*, no_secrets: bool) -> None:
    """Check the configuration, the store and the place for outputs; print every mistake, or a summary."""
    from notifier import data
    from notifier.cli import draw
    from notifier.service import load_config, place_for
    from notifier.store import Store

    try:
        configuration = load_config(_config_path(), resolve_secrets=not no_secrets)
    except ConfigError as error:
        click.echo(str(error))
        sys.exit(error.exit_code)
    known = Store.check(configuration.store)
    if configuration.outputs is not None:
        place_for(configuration.outputs, configuration).examine()
    draw.summary(configuration, data.latencies(configuration) if known else {})


@cli.command()
@_config_option
@click.argument("names", metavar="[CHANNEL]...", nargs=-1)
def test(names: tuple[str, ...]) -> None:
    """Send a marked test message to each CHANNEL (default: all), and say what each answered."""
    from notifier import channels, message
    from notifier.decide import notice_id
    from notifier.errors import DeliveryError
    from notifier.model import Event, Notice
    from notifier.service import load_config

    configuration = load_config(_config_path())
    for name in names:
        _known(name, configuration.channels, "channel")
    failed = False
    for name in dict.fromkeys(names) or configuration.channels:
        channel = configuration.channels[name]
        for target in channels.targets(channel):
            wall = time.time()
            notice = Notice(notice_id("test", name, target.address.recipient, wall), Event.TEST, wall, name=name)
            words = message.write([notice], limit=target.body_limit, now=wall)
            place = f"{name} ({target.masked})" if target.masked else name
            try:
                channels.send(target, words)
            except DeliveryError as error:
                failed = True
                click.echo(f"{place}: failed: {error.reason}")
            else:
                click.echo(f"{place}: sent, notice {notice.notice}")
    sys.exit(1 if failed else 0)


def _known(name: str, names: Any, what: str) -> None:
    if name not in names:
        near = difflib.get_close_matches(name, list(names), n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there is {', '.join(names)}"
        raise click.UsageError(f"no {what} is called {name}{hint}")


def _api_option(command: Command) -> Command:
    return click.option(
        "--api",
        "api_name",
        metavar="NAME",
        help="The account. Needed where there are several and the list does not say.",
    )(command)


@cli.command()
@_config_option
@_json_option
@_api_option
@click.argument("prediction_id", metavar="ID")
def poll(prediction_id: str, api_name: str | None, *, as_json: bool) -> None:
    """Ask about prediction ID once, and print it. Nothing is recorded and nobody is told."""
    from notifier import data
    from notifier.cli import draw
    from notifier.model import FailedPoll
    from notifier.service import load_config

    configuration = load_config(_config_path())
    key = _key(configuration, prediction_id, api_name)
    with _transport() as transport:
        seen = _ask(configuration, key, transport)
    if as_json:
        click.echo(json.dumps(data.poll(*key, seen), indent=2))
    else:
        draw.poll(*key, seen)
    sys.exit(1 if isinstance(seen, FailedPoll) else 0)


@cli.command()
@_config_option
@_json_option
@_api_option
@click.argument("prediction_id", metavar="ID")
def save(prediction_id: str, api_name: str | None, *, as_json: bool) -> None:
    """Keep the files of prediction ID's output, whether it is on the list or not. Works beside the daemon."""
    from notifier import data
    from notifier.cli import draw
    from notifier.errors import Mistake
    from notifier.model import FailedPoll, FileState
    from notifier.service import load_config, save_by_hand

    configuration = load_config(_config_path())
    if configuration.outputs is None:
        missing = "must be there: its `directory` is where files are kept"
        raise ConfigError([Mistake(str(configuration.path), 1, 1, "outputs", missing)])
    key = _key(configuration, prediction_id, api_name)
    with _transport() as transport:
        seen = _ask(configuration, key, transport)
        if isinstance(seen, FailedPoll):
            raise NotifierError(f"{key.id}: {seen.reason}")
        files = save_by_hand(configuration, configuration.outputs, key, seen, transport)
    found = list(map(data.file, files))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found:
        draw.files(found)
    else:
        click.echo(f"{key.id} is {seen.status}, and there is no file in its output", err=True)
    sys.exit(1 if any(file.state is not FileState.SAVED for file in files) else 0)


def _key(configuration: Config, prediction_id: str, api_name: str | None) -> Key:
    """Which prediction is meant. Raises UsageError."""
    from notifier import config
    from notifier.model import Key

    if api_name is not None:
        _known(api_name, configuration.apis, "account")
    try:
        prediction_id, named = config.parse_prediction(prediction_id, configuration.apis)
    except ValueError as error:
        raise click.UsageError(f"ID {error}") from None
    listed = [watch.key.api for watch in configuration.watches if watch.key.id == prediction_id]
    accounts = [api_name] if api_name else [named] if named else listed or list(configuration.apis)
    if len(accounts) > 1:
        raise click.UsageError(f"which account? Say --api with one of {', '.join(accounts)}")
    return Key(accounts[0], prediction_id)


@contextmanager
def _transport() -> Iterator[Transport]:
    from notifier.transport import Transport

    transport = Transport()
    transport.start()
    try:
        yield transport
    finally:
        transport.close()


def _ask(configuration: Config, key: Key, transport: Transport) -> Observation | FailedPoll:
    from notifier.poll import Poller

    poller = Poller(configuration.apis[key.api], transport)
    return poller.read(poller.ask_once(key.id), key.id, time.time())


@cli.command()
@_config_option
@_json_option
def status(*, as_json: bool) -> None:
    """Every watch, every channel, every incident. Works beside the daemon and without it."""
    from notifier import data

    found = data.status(_reading_config())
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        from notifier.cli import draw

        draw.status(found)


@cli.command()
@_config_option
@_json_option
@click.option(
    "--limit", type=click.IntRange(min=1), help=f"So many notices, the newest. Default: all with --json, else {SHOWN}."
)
@click.argument("prediction_id", metavar="[ID]", required=False)
def history(prediction_id: str | None, limit: int | None, *, as_json: bool) -> None:
    """What happened (to prediction ID, or to all), and what became of each delivery."""
    from notifier import data

    configuration = _reading_config()
    if as_json:
        click.echo(json.dumps(data.history(configuration, prediction_id, limit), indent=2))
        return
    from notifier.cli import draw

    # One more than is shown tells whether there are more.
    found = data.history(configuration, prediction_id, limit or SHOWN + 1)
    shown = found if limit else found[-SHOWN:]
    draw.history(shown)
    kept = data.files(configuration, prediction_id) if prediction_id else []
    if kept:
        draw.files(kept)
    if not found and not kept:
        listed = prediction_id is None or any(watch.key.id == prediction_id for watch in configuration.watches)
        click.echo("nothing was told yet" if listed else f"nothing is known of {prediction_id}", err=True)
    elif len(shown) < len(found):
        click.echo(f"the newest {SHOWN}; --limit shows more", err=True)


@cli.command()
@_config_option
@click.option("--all", "everything", is_flag=True, help="Every delivery that was given up.")
@click.argument("deliveries", metavar="[DELIVERY]...", nargs=-1, type=click.IntRange(1, 2**63 - 1))
def resend(deliveries: tuple[int, ...], *, everything: bool) -> None:
    """Put given-up deliveries back, by the numbers that `history` shows. A running daemon takes them up at once."""
    from notifier.store import Store

    if bool(deliveries) == everything:
        raise click.UsageError("name the deliveries, or say --all")
    with Store.open(_reading_config().store, create=False) as store:
        found = store.resend(None if everything else deliveries, time.time())
    for number in found.unknown:
        click.echo(f"delivery {number}: there is none", err=True)
    for number in found.not_given_up:
        click.echo(f"delivery {number}: was not given up", err=True)
    click.echo(f"{len(found.put_back)} put back")
    sys.exit(2 if found.unknown or found.not_given_up else 0)  # as for any wrong argument


def _reading_config() -> Any:
    """The configuration for a verb that only reads the store: the daemon's secrets need not be at hand."""
    from notifier import config

    return config.load(_config_path(), environ=os.environ, resolve_secrets=False)


@cli.command()
def schema() -> None:
    """The configuration's JSON Schema, for editors."""
    from notifier import config

    click.echo(json.dumps(config.json_schema(), indent=2))


@cli.command()
def demo() -> None:
    """Watch the real daemon at work for half a minute, on predictions that are played on this machine."""
    try:
        from notifier.demo import play
    except KeyboardInterrupt:  # from here on, signals are its own
        sys.exit(130)
    sys.exit(0 if play() else 130)
