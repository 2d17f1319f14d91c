"""A mail server on loopback: a real receiver (aiosmtpd) that records what it takes and refuses by script.

Plain, with STARTTLS, or TLS from the first byte; with `environment()` a client that uses OpenSSL's defaults, as
smtplib does in Apprise, trusts its certificate for `localhost` and 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import logging
import ssl
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal, Self

import certifi
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.standins.endings import end_connections
from tests.standins.slack import reset_on_close

# Its log is no part of any test, and holds whatever a client says.
logging.getLogger("mail.log").disabled = True


@dataclass(frozen=True)
class Mail:
    """One mail as it was taken: the envelope's addresses, and the message parsed and raw."""

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    raw: bytes
    tls: bool
    user: str | None
    time: float
    """On the monotonic clock."""

    @property
    def text(self) -> str:
        """The decoded body."""
        return str(self.message.get_content())


class SMTPStandIn:
    """A running server; a context manager, or call `close()`. The attributes below may be set at any time.

    A scripted answer is a whole SMTP reply (`550 5.1.1 no such user`; after a 421 the connection is closed, as servers
    do), or one of the words `hang` (say nothing), `drip` (one byte of a reply now and then, for ever), `reset` (reset
    the connection), and after data `accept, then reset` and `accept, then hang`.
    """

    def __init__(
        self,
        security: Literal["plain", "starttls", "ssl"] = "plain",
        *,
        trusted: bool = True,
        names: Iterable[str] = ("localhost", "127.0.0.1"),
    ) -> None:
        self.mails: list[Mail] = []
        self.connections = 0
        """How many were made so far."""
        self.offered: list[str] = []
        """Each recipient that was named to it, taken or not."""
        self.drips_every = 0.05
        """Seconds."""
        self.users: dict[str, str] = {}
        self.banner: str | None = None
        self.at_hello: str | None = None
        self.at_login: str | None = None
        self.at_sender: str | None = None
        self.at_recipient: dict[str, str] = {}
        self.at_data: str | None = None
        self.after_data: str | None = None
        self.at_quit: str | None = None
        self.size_limit: int | None = None
        """Bytes of a mail at most, as it says in its answer to EHLO and keeps to."""
        self.security = security
        self._script: deque[dict[str, str]] = deque()
        self._changed = threading.Condition()
        authority = trustme.CA()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.tls)
        self._folder = tempfile.TemporaryDirectory(prefix="smtp-stand-in-")
        self._bundle = Path(self._folder.name) / "ca.pem"
        known = (authority if trusted else trustme.CA()).cert_pem.bytes()
        self._bundle.write_bytes(Path(certifi.where()).read_bytes() + b"\n" + known)
        self._ready = threading.Event()
        self.loop: asyncio.AbstractEventLoop
        self.stopping: asyncio.Event
        self.port = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="smtp-stand-in")
        self._thread.start()
        assert self._ready.wait(20), "the mail server did not start"

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.stopping = asyncio.Event()
        context = self.tls if self.security == "ssl" else None
        server = await self.loop.create_server(lambda: _Session(self), "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self.stopping.wait()
        server.close()
        await end_connections()

    def script(self, *faults: dict[str, str]) -> None:
        """Have the next connections meet these, one each, and later ones no fault: what to do at which step, as in
        `{"at_data": "451 later"}`; `recipient` is any recipient.
        """
        self._script.extend(faults)

    def begin(self) -> dict[str, str]:
        """What a new connection meets. Called by the server's thread."""
        self.connections += 1
        return self._script.popleft() if self._script else {}

    def environment(self) -> dict[str, str]:
        """The variables that make a process trust this server's certificate."""
        return {"SSL_CERT_FILE": str(self._bundle), "SSL_CERT_DIR": self._folder.name}

    def wait_for(self, count: int, timeout: float = 20.0) -> list[Mail]:
        """The mails, once at least `count` were taken; AssertionError when that takes too long."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.mails) >= count, timeout)
            assert arrived, f"{len(self.mails)} mails came within {timeout} s, not {count}"
            return list(self.mails)

    def take(self, mail: Mail) -> None:
        """Record a mail. Called by the server's thread."""
        with self._changed:
            self.mails.append(mail)
            self._changed.notify_all()

    def close(self) -> None:
        """End every connection, hanging ones too, and the server's thread."""
        self.loop.call_soon_threadsafe(self.stopping.set)
        self._thread.join()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Session(SMTP):
    """One connection."""

    def __init__(self, stand_in: SMTPStandIn) -> None:
        self._stand_in = stand_in
        self._greeted = False
        self._faults: dict[str, str] = {}
        super().__init__(
            _Handler(stand_in, self),
            hostname="mail.stand-in.example",
            loop=stand_in.loop,
            data_size_limit=stand_in.size_limit or 2**26,
            tls_context=stand_in.tls if stand_in.security == "starttls" else None,
            require_starttls=stand_in.security == "starttls",
            auth_require_tls=False,
            authenticator=self._check,
            enable_SMTPUTF8=True,
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._greeted:  # else it is the same one, now encrypted
            self._faults = self._stand_in.begin()
        super().connection_made(transport)

    async def push(self, status: Any) -> None:
        if not self._greeted:
            self._greeted = True
            status = await self.scripted(self.fault("banner")) or status
        await super().push(status)
        if str(status).startswith("421"):
            assert self.transport is not None
            self.transport.close()

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """Refuse before anything is sent, or take it."""
        answer = await self.scripted(self.fault("at_data"))
        await (self.push(answer) if answer else super().smtp_DATA(arg))

    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802 - aiosmtpd's name
        """Refuse whatever the login, or look at it."""
        answer = await self.scripted(self.fault("at_login"))
        await (self.push(answer) if answer else super().smtp_AUTH(arg))

    def fault(self, where: str) -> str | None:
        """What is to go wrong there, in this connection or in each."""
        return self._faults.get(where) or getattr(self._stand_in, where, None)

    async def scripted(self, answer: str | None) -> str | None:
        """Do what the answer's word says; a reply is given back."""
        if answer == "hang":
            await self._stand_in.stopping.wait()
        if answer == "drip":
            await self._drip()
        if answer in ("hang", "drip", "reset"):
            self.reset()
            raise ConnectionResetError
        return answer

    async def _drip(self) -> None:
        writer: Any = self._writer
        with contextlib.suppress(ConnectionError):
            while not self._stand_in.stopping.is_set():
                writer.write(b"2")
                await writer.drain()
                await asyncio.sleep(self._stand_in.drips_every)

    def reset(self) -> None:
        """Reset the connection."""
        transport: Any = self.transport
        reset_on_close(transport.get_extra_info("socket"))
        transport.abort()

    def _check(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
        assert isinstance(login, LoginPassword)
        known = self._stand_in.users.get(login.login.decode())
        return AuthResult(success=known == login.password.decode(), handled=False, auth_data=login)


class _Handler:
    """What aiosmtpd asks at each step."""

    def __init__(self, stand_in: SMTPStandIn, connection: _Session) -> None:
        self._stand_in, self._connection = stand_in, connection

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        answer = await self._connection.scripted(self._connection.fault("at_hello"))
        if answer is None:
            session.host_name = hostname
        return responses if answer is None else [answer]

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = await self._connection.scripted(self._connection.fault("at_sender"))
        if answer is None:
            envelope.mail_from = address
        return answer or "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self._stand_in.offered.append(address)
        fault = self._stand_in.at_recipient.get(address) or self._connection.fault("recipient")
        answer = await self._connection.scripted(fault)
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        after = self._connection.fault("after_data")
        if after is None or after.startswith("accept, then "):
            self._take(session, envelope)
        after = after.removeprefix("accept, then ") if after else None
        return await self._connection.scripted(after) or "250 OK: queued"

    async def handle_QUIT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        return await self._connection.scripted(self._connection.fault("at_quit")) or "221 Bye"

    def _take(self, session: Session, envelope: Envelope) -> None:
        raw = envelope.original_content or b""
        message = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        login = session.auth_data
        self._stand_in.take(
            Mail(
                sender=envelope.mail_from or "",
                recipients=tuple(envelope.rcpt_tos),
                message=message,
                raw=raw,
                tls=session.ssl is not None or self._stand_in.security == "ssl",
                user=login.login.decode() if isinstance(login, LoginPassword) else None,
                time=time.monotonic(),
            )
        )
