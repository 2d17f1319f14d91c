"""Apprise, and nothing else: parse an address, build its plugin, hand a message to it.

Apprise is imported when it is first needed: with its plugins that takes half a second and 50 MB, which verbs that
send nothing need not spend. No handler ever sees its log, whose records hold webhook URLs and message bodies: they go
to whoever asked for those of their own thread, as `Record`s, to take out of them what may be said.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from email.header import Header
from typing import TYPE_CHECKING, Any, NamedTuple

from notifier.model import Attachment

if TYPE_CHECKING:
    from apprise import NotifyBase
    from apprise.attachment.base import AttachBase
    from requests import Response

Parsed = dict[str, Any]
"""What a plugin's own parser makes of an address: the arguments its constructor takes."""

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 45.0
"""Seconds for one step of an exchange. Apprise's own 4 s is less than a slow Slack takes for a message it did post
(a repeat then doubles it); for mail, where its 15 s count for every step, RFC 5321 4.5.3.2 asks for minutes."""

OURS = ("retry", "wait", "optional", "redirect", "emojis", "format")
"""Parameters of an Apprise URL about things that are the daemon's to decide; they are left out. A `format` other than
the service's own would not make the plain text prettier: Slack would get "<" unescaped, others links full of escapes.
"""

DESKTOP = frozenset({"blink1", "dbus", "gio", "glib", "gnome", "kde", "macosx", "qt", "windows"})
"""Schemes that need the session of somebody at a screen, or a device at this machine."""

HEADERS = "HEADERS"
"""The level of a record that is no line of the log, but a header of the answer."""

RETRY_AFTER = "Retry-After"

LONGEST_RECORD = 20_000
"""Characters; what a service answered may be a web page of any length."""

LONGEST_SUBJECT = 900
"""Octets of an encoded subject: Apprise folds none, and a line of a mail has at most 998 (RFC 5322 2.1.1)."""

UNKNOWN_TYPE = "application/octet-stream"

_CONTENT_TYPE = re.compile(r"(?!multipart/|message/)[\w.+-]{1,100}/[\w.+-]{1,100}", re.ASCII)
"""What a file's type may be: a part of a mail of the other two kinds is no file, but is taken apart by who reads it."""
_SCHEME = re.compile(r"\s*([a-z0-9]{1,32})://", re.IGNORECASE)
_Listener = Callable[["Record"], None]
_listening = threading.local()
_loading = threading.Lock()
_loaded = False


class Record(NamedTuple):
    """One line of Apprise's log of one call, its beginning. Holds secrets: parse it, never pass it on.

    Of the level `HEADERS`, a header of the service's answer, `Retry-After: 30`.
    """

    level: str
    message: str


class _Tap(logging.Filter):
    """Hands each record to its thread's listener, if there is one, and to nobody else."""

    def filter(self, record: logging.LogRecord) -> bool:
        with suppress(Exception):  # a record that cannot be shown must not end the call: logging lets it pass, too
            _tell(record.levelname, record.getMessage())
        return False


def _tell(level: str, message: str) -> None:
    listener: _Listener | None = getattr(_listening, "listener", None)
    if listener:
        listener(Record(level, message[:LONGEST_RECORD]))


def _listen_to_headers() -> None:
    """Make a record of what an answer's headers say about when to come back: Slack says it nowhere else.

    Plugins call `requests.post` and keep the answer to themselves, so the place where requests makes it is the only one
    where it can be seen. Nothing is changed in it.
    """
    from requests.adapters import HTTPAdapter

    genuine = HTTPAdapter.build_response

    def build_response(self: HTTPAdapter, *request_and_answer: Any) -> Response:
        response = genuine(self, *request_and_answer)
        if RETRY_AFTER in response.headers:
            _tell(HEADERS, f"{RETRY_AFTER}: {response.headers[RETRY_AFTER]}")
        return response

    HTTPAdapter.build_response = build_response  # type: ignore[assignment,method-assign]


class Connections:
    """The connections that one call of Apprise makes, so that another thread can end them: that ends the call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[socket.socket] = []
        self._ended = False

    def add(self, connection: socket.socket) -> None:
        """Hold a second handle of it: TLS takes the first one over."""
        with self._lock:
            self._held.append(connection.dup())
            if self._ended:
                self._shut_down()

    def end(self) -> None:
        """Shut down all there are and all that follow."""
        with self._lock:
            self._ended = True
            self._shut_down()

    def close(self) -> None:
        """Let go of the handles, once the call is over."""
        with self._lock:
            while self._held:
                self._held.pop().close()

    def _shut_down(self) -> None:
        for connection in self._held:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def records(listener: _Listener, connections: Connections | None = None) -> Iterator[None]:
    """Call `listener` with each record of what Apprise does in this thread meanwhile, as it comes; and add to
    `connections` what it connects to.
    """
    _listening.listener, _listening.connections = listener, connections
    try:
        yield
    finally:
        _listening.listener = _listening.connections = None
        if connections is not None:
            connections.close()


def _listen_to_connections() -> None:
    """Note each connection where urllib3 and smtplib make it; again, nothing is changed in it."""
    import smtplib

    from urllib3.connection import HTTPConnection

    def listening(genuine: Callable[..., socket.socket]) -> Callable[..., socket.socket]:
        def connect(*arguments: Any) -> socket.socket:
            connection = genuine(*arguments)
            connections: Connections | None = getattr(_listening, "connections", None)
            if connections is not None:
                connections.add(connection)
            return connection

        return connect

    # Not public, but there since Python 2.6 and urllib3 1.8; the tests of the deadline fail where one is not.
    HTTPConnection._new_conn = listening(HTTPConnection._new_conn)  # type: ignore[method-assign]
    smtplib.SMTP._get_socket = listening(smtplib.SMTP._get_socket)  # type: ignore[attr-defined]


def load() -> None:
    """Import Apprise and all its plugins, once; any thread may call it."""
    global _loaded  # noqa: PLW0603 - an import is global to the process
    with _loading:
        if _loaded:
            return
        logger = logging.getLogger("apprise")
        logger.addFilter(_Tap())
        logger.setLevel(logging.DEBUG)
        for name in ("urllib3.connectionpool", "urllib3.util.retry"):
            # Their debug lines name the path of a URL, which is a webhook's secret.
            logging.getLogger(name).addFilter(lambda record: record.levelno >= logging.WARNING)
        with warnings.catch_warnings():
            # Apprise 2.2 imports imghdr where there is one, which Python 3.11 and 3.12 call deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            from apprise.plugins import N_MGR

            N_MGR.schemas()  # type: ignore[no-untyped-call]
        _listen_to_headers()
        _listen_to_connections()
        _loaded = True


def scheme(url: str) -> str | None:
    """The part before `://`, in lower case."""
    found = _SCHEME.match(url)
    return found[1].lower() if found else None


def schemes() -> frozenset[str]:
    """Every scheme Apprise knows."""
    load()
    from apprise.plugins import N_MGR

    return frozenset(N_MGR.schemas())  # type: ignore[no-untyped-call]


def plugin_class(name: str) -> type[NotifyBase] | None:
    """The plugin of a scheme."""
    load()
    from apprise.plugins import N_MGR

    found: type[NotifyBase] | None = N_MGR[name] if name in schemes() else None
    return found


def addresses(url: str) -> list[str]:
    """The addresses in a text, which Apprise lets be separated by blanks and commas."""
    load()
    from apprise.utils.parse import parse_urls

    return [str(found) for found in parse_urls(url)]  # type: ignore[no-untyped-call]


def mailboxes(text: str) -> list[str]:
    """What Apprise takes for mailboxes in a list of recipients, as written."""
    load()
    from apprise.utils.parse import parse_emails

    return [str(found) for found in parse_emails(text)]  # type: ignore[no-untyped-call]


def parse(url: str) -> Parsed | None:
    """What the plugin makes of the address, a web address such as https://hooks.slack.com/... included; or None."""
    load()
    from apprise.plugins import url_to_dict

    parsed: Parsed | None = url_to_dict(url.strip())  # type: ignore[no-untyped-call]
    return parsed


def build(parsed: Mapping[str, Any]) -> NotifyBase | None:
    """The plugin for what `parse` returned, with what is the daemon's to decide taken out of its hands; or None.

    It repeats nothing, sleeps for no rate of its own, follows no redirect, and what it logs as a failure is one.
    """
    load()
    from apprise import Apprise

    arguments = {name: value for name, value in parsed.items() if name not in OURS}
    mail = arguments.get("schema") in ("mailto", "mailtos")
    if mail:  # no out-of-office note is to answer it (RFC 3834)
        arguments["headers"] = {"Auto-Submitted": "auto-generated", **arguments.get("headers", {})}
    plugin = Apprise.instantiate(arguments, asset=_asset())
    if plugin is None:
        return None
    kind = type(plugin)
    if "cto" not in parsed:
        plugin.socket_connect_timeout = READ_TIMEOUT if mail else max(CONNECT_TIMEOUT, kind.socket_connect_timeout)
    if "rto" not in parsed:
        plugin.socket_read_timeout = max(READ_TIMEOUT, kind.socket_read_timeout)
    plugin.request_rate_per_sec = 0
    # Discord's sleeps until the time that an answer names, be it an hour, and then sends what was given up long ago.
    plugin.throttle = _no_sleep  # type: ignore[method-assign]
    return plugin


def _no_sleep(*_: object, **__: object) -> None:
    """Instead of waiting: the daemon has a rate and waits of its own."""


def _asset() -> Any:
    from apprise import AppriseAsset

    return AppriseAsset(
        app_id="notifier",
        app_desc="notifier",
        image_url_mask="",
        image_url_logo="",
        service_timeout=0,  # with async_mode: send in the calling thread, which has a deadline of its own
        async_mode=False,
        http_redirects=False,
    )


def takes_files(plugin: NotifyBase) -> bool:
    """Whether messages through the plugin can carry files."""
    return bool(plugin.attachment_support) and not is_slack_webhook(plugin)


def is_slack_webhook(plugin: NotifyBase) -> bool:
    """Whether it is one that Slack gives for a channel, which can do less than a bot."""
    return plugin.schema == "slack" and getattr(plugin, "mode", "") != "bot"


def post(plugin: NotifyBase, title: str, body: str, attachments: Sequence[Attachment] = ()) -> bool:
    """Send plain text through the plugin, with files if it takes any, in this thread; whether the channel took it."""
    from apprise import Apprise

    mail = plugin.schema in ("mailto", "mailtos")
    if mail:
        title = _subject(title)
    sender = Apprise(asset=plugin.asset)
    sender.add(plugin)
    with ExitStack() as stack:
        files = [stack.enter_context(_file(each, mail=mail)) for each in attachments if takes_files(plugin)]
        return bool(sender.notify(body=body, title=title, body_format="text", attach=files or None))


@contextmanager
def _file(attachment: Attachment, *, mail: bool) -> Iterator[AttachBase]:
    """The attachment for Apprise, as a file in memory: its own AttachMemory has no path, which some plugins open."""
    from apprise.attachment.file import AttachFile

    name = re.sub(r'[\x00-\x1f\x7f"\\/]', "_", attachment.name)
    if mail and not name.isascii():
        # Apprise writes it into a header as it is, which makes the header unreadable as a whole.
        name = Header(name, "utf-8").encode(maxlinelen=0)
    content_type = (attachment.content_type or "").partition(";")[0].strip().lower()
    with open(os.memfd_create("attachment"), "w+b") as memory:
        memory.write(attachment.content)
        memory.flush()
        file = AttachFile(f"/proc/self/fd/{memory.fileno()}", name=name)  # type: ignore[no-untyped-call]
        # Given to the constructor, a type is refused that the machine's own list of them lacks: as a rule image/webp.
        file._mimetype = content_type if _CONTENT_TYPE.fullmatch(content_type) else UNKNOWN_TYPE
        yield file


def _subject(title: str) -> str:
    """As much of the title as fits into one line of a mail, whose encoding may take twelve octets for a character."""
    shown = title
    while len(Header(shown, "utf-8").encode(maxlinelen=0)) > LONGEST_SUBJECT:
        shown = f"{shown.removesuffix('…')[:-1]}…"
    return shown
