"""The Store: one file, its writer and its readers, and each of its methods one transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine

from notifier.errors import StoreError, StoreWriteError
from notifier.model import (
    Address,
    Delivery,
    Event,
    File,
    FileState,
    Incident,
    IncidentKind,
    Key,
    Notice,
    State,
)
from notifier.store import files, kept, opening, outbox, rows, sqlite, tables, upkeep, watches


class Store:
    """What is known of every watch, and what is owed to whom; survives the process, the power and a full disk.

    A method that writes is one transaction: on any error nothing of it has happened, and the store can still be used.
    Methods may be called from any thread; one writes at a time, reading waits for nobody.

    Times are Unix seconds: `now` is the daemon's steady clock, `wall` what the wall clock says. Every method may raise
    StoreWriteError when the disk is full, read-only or locked for too long (trying later may help), and StoreError
    when the file turns out to be damaged.
    """

    def __init__(self, path: Path, engine: Engine, lock: files.Lock | None) -> None:
        """Use `Store.open`."""
        self.path = path
        self._engine = engine
        self._lock = lock
        self._writing = threading.Lock()
        self._writer = sqlite.writing(engine)
        self._version = sqlite.data_version(self._writer)
        self._identity: files.Identity | None = None
        self._damage: StoreError | None = None
        self._patience = sqlite.BUSY_TIMEOUT

    @classmethod
    def open(cls, url: str, *, daemon: bool = False, create: bool = True, now: float | None = None) -> Self:
        """Open the store that an SQLAlchemy URL names, creating it or bringing it up to date where needed.

        A `daemon` holds it locked until `close` and has the whole file checked; stored times that lie in the future are
        pulled back to `now`, its steady time (without it, the wall clock's, where steady time starts). Without `create`
        (for the verbs that run beside a daemon) a store that does not exist yet reads as empty, and no file is made.

        Raises AlreadyRunningError when another daemon has it; StoreError with what was found and what to do for a lost,
        foreign, damaged or newer store and for an unusable folder. None of these is ever overwritten.
        """
        path = opening.database_path(url)
        with ExitStack() as undo, sqlite.explained(path):
            lock = None
            if daemon:
                lock = files.Lock(path)
                undo.callback(lock.release)
            exists = opening.prepare(path, daemon=daemon, create=create)
            engine = sqlite.open_engine(path) if exists else sqlite.open_nothing()
            undo.callback(engine.dispose)
            if not exists:
                tables.metadata.create_all(engine)
            store = cls(path, engine, lock)
            undo.callback(store.close)
            if daemon:
                store._take_over(time.time() if now is None else now)
            undo.pop_all()
        return store

    @staticmethod
    def check(url: str) -> bool:
        """Raise StoreError where a daemon could not use the store that the URL names, or not create it.

        The whole file is checked, and whether what a daemon writes to may be written. Creates and changes nothing.
        Returns whether there is a store that can be read as it is: not where it is still to be brought up to date.
        """
        return opening.examine(opening.database_path(url))

    def _take_over(self, now: float) -> None:
        with self._write() as connection:
            upkeep.pull_back(connection, now)
        # By now all of them are there: the transaction has opened the write-ahead log.
        self._identity = files.Identity(self.path)

    def close(self) -> None:
        """Close the files and let the lock go. Does nothing the second time."""
        self._writer.close()
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_identity(self) -> None:
        """Raise StoreError when a file was replaced, renamed or removed under the daemon that holds it, or when any
        thread has found the store to be damaged.

        What is written then would be lost: stop, and start again.
        """
        if self._damage is not None:
            raise self._damage
        if self._identity is not None:
            self._identity.check()

    def changed_elsewhere(self) -> bool:
        """Whether another process has written something since the last time this was asked (`resend`, that is)."""
        with self._explained(), self._writing:
            version = sqlite.data_version(self._writer)
        changed = version != self._version
        self._version = version
        return changed

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with sqlite.explained(self.path):
                yield
        except StoreWriteError:
            self._patience = sqlite.SHORT_TIMEOUT
            raise
        except StoreError as error:
            self._damage = error
            raise

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._explained(), self._writing:
            sqlite.set_patience(self._writer, self._patience)
            with self._writer.begin():
                yield self._writer
            self._patience = sqlite.BUSY_TIMEOUT

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._explained(), self._engine.connect() as connection:
            yield connection

    # --- watches -----------------------------------------------------------------------------------------------------

    def load_states(self, now: float, keys: Collection[Key] | None = None) -> dict[Key, State]:
        """What is known of `keys`, or of every watch that stands in the list. Times in the future become `now`.

        A row that is damaged is left out and logged: that watch starts anew.
        """
        with self._read() as connection:
            return watches.load(connection, now, keys)

    def record(self, changes: Sequence[rows.Change], now: float) -> list[Delivery]:
        """Write what is known of these watches now, together with the notices owed for it and the files to be fetched.

        Returns the deliveries, due now unless they are held, in the order of the changes and of the notices and
        addresses in each.
        """
        with self._write() as connection:
            watches.save(connection, ((change.key, change.state) for change in changes))
            kept.note(connection, (file for change in changes for file in change.files))
            owed = [(owed, change.held) for change in changes for owed in change.notices]
            return outbox.add(connection, (each for each, _ in owed), now, (held for _, held in owed))

    def touch(self, polled: Iterable[rows.Polled], accounts: Iterable[rows.AccountRow] = ()) -> None:
        """Write when these watches were polled and how their polls fail, and nothing else of their states: what
        `record` could not write must not become known without its notices. Unrecorded watches are passed over.
        """
        with self._write() as connection:
            watches.touch(connection, polled)
            upkeep.note_accounts(connection, accounts)

    def keep_listed(self, keys: Collection[Key], now: float) -> list[Key]:
        """Note that the list is `keys`, all of it: other watches are noted as removed, these as listed.

        Returns those that had been removed and are back.
        """
        with self._write() as connection:
            return watches.keep_listed(connection, keys, now)

    def relist(self, added: Collection[Key], removed: Collection[Key], now: float) -> dict[Key, State]:
        """Note a change of the list. Returns what is known of those added; the new ones are not in it."""
        with self._write() as connection:
            watches.remove(connection, removed, now)
            watches.bring_back(connection, added)
            return watches.load(connection, now, added)

    # --- deliveries --------------------------------------------------------------------------------------------------

    def record_notice(self, notice: Notice, addresses: tuple[Address, ...], now: float) -> list[Delivery]:
        """Write a notice that belongs to no watch. Returns its deliveries, due now."""
        with self._write() as connection:
            return outbox.add(connection, [(notice, addresses)], now)

    def waiting(self, address: Address, *, limit: int, now: float) -> list[Delivery]:
        """The oldest deliveries that wait for an address, due or not, oldest first.

        One whose notice can no longer be read is given up, with that reason, and the next takes its place.
        """
        while True:
            with self._read() as connection:
                readable, broken = outbox.waiting(connection, address, limit)
            if not broken:
                return self._with_files(readable)
            with self._write() as connection:
                for delivery, reason in broken.items():
                    outbox.mark_given_up(connection, [delivery], now, reason, attempted=False)

    def _with_files(self, deliveries: list[Delivery]) -> list[Delivery]:
        """The same, each with what has become of its output's files by now."""
        keys = {delivery.notice.key for delivery in deliveries if delivery.notice.has_output} - {None}
        found = self.files([key for key in keys if key is not None]) if keys else {}
        return [
            replace(delivery, notice=replace(delivery.notice, files=found[delivery.notice.key]))
            if delivery.notice.has_output and delivery.notice.key in found
            else delivery
            for delivery in deliveries
        ]

    def waiting_addresses(self) -> dict[Address, int]:
        """Who has deliveries waiting, and how many."""
        with self._read() as connection:
            return outbox.waiting_addresses(connection)

    def addresses_told(self, key: Key, events: Collection[Event], since: float) -> list[Address]:
        """Who was owed a notice of one of these events of a prediction, recorded at `since` or later."""
        with self._read() as connection:
            return outbox.addresses_told(connection, key, events, since)

    def mark_sent(self, ids: Sequence[int], wall: float) -> None:
        """The channel took one message that tells these deliveries (all of one address).

        The address is noted as working, and `wall` as when it last took a message.
        """
        if ids:
            with self._write() as connection:
                outbox.mark_sent(connection, ids, wall)

    def mark_failed(self, ids: Sequence[int], *, due_at: float, reason: str) -> None:
        """An attempt at these deliveries failed; the next is due at `due_at` (steady)."""
        if ids:
            with self._write() as connection:
                outbox.mark_failed(connection, ids, due_at, reason)

    def mark_given_up(self, ids: Sequence[int], *, wall: float, reason: str, attempted: bool = True) -> None:
        """These deliveries are not tried any more; `attempted` counts one more attempt, the last."""
        if ids:
            with self._write() as connection:
                outbox.mark_given_up(connection, ids, wall, reason, attempted=attempted)

    def readdress(self, old: Address, addresses: Sequence[Address], *, wall: float, now: float) -> tuple[int, int]:
        """What waits for a recipient that its channel has no more waits for the channel's `addresses` from now on, as
        if it were new, as far as they are not owed the same notice; else it is given up.

        Returns how many deliveries were passed on, and how many given up.
        """
        with self._write() as connection:
            return outbox.readdress(connection, old, addresses, wall, now)

    def make_due(self, address: Address, now: float) -> None:
        """Everything that waits for this address is due now."""
        with self._write() as connection:
            outbox.make_due(connection, address, now)

    def resend(self, ids: Collection[int] | None, now: float) -> rows.Resent:
        """Let given-up deliveries (all of them without `ids`) wait again as if they were new: no attempts, age 0.

        The result tells apart those put back, those there are none of, and those that were not given up.
        """
        with self._write() as connection:
            return outbox.put_back(connection, ids, now)

    # --- files of outputs --------------------------------------------------------------------------------------------

    def files(self, keys: Collection[Key] | None = None) -> dict[Key, tuple[File, ...]]:
        """All files of these predictions, or of all, by their numbers; those that have none are left out. A `data:` URI
        is not read.
        """
        with self._read() as connection:
            return kept.of(connection, keys)

    def files_of(self, prediction_id: str) -> dict[Key, tuple[File, ...]]:
        """The same of one prediction, on any account."""
        with self._read() as connection:
            return kept.of_prediction(connection, prediction_id)

    def files_overview(self) -> dict[FileState, int]:
        """How many files there are in each state, of all predictions."""
        with self._read() as connection:
            return kept.counts(connection)

    def due_files(self, now: float, limit: int, besides: Collection[str] = ()) -> list[File]:
        """Those that are to be fetched now, the one that has waited longest first, without their URLs; none of these
        hosts (in lower case; `data:` is those that are here already).
        """
        with self._read() as connection:
            return kept.due(connection, now, limit, besides)

    def next_file_at(self, now: float) -> float | None:
        """When the next file will be due that is not yet (steady); None if there is none."""
        with self._read() as connection:
            return kept.next_due_at(connection, now)

    def waiting_file(self, file: File) -> File | None:
        """All that is known of a file that is still to be fetched; None if it is not any more."""
        with self._read() as connection:
            return kept.waiting_file(connection, file)

    def note_file_begun(self, file: File) -> None:
        """The file is on its way, with what its rest can be asked for with, and its content type."""
        with self._write() as connection:
            kept.note_begun(connection, file)

    def mark_file_failed(self, file: File, *, due_at: float, reason: str, counts: bool = True) -> None:
        """The file could not be fetched; it is tried again at `due_at` (steady), with the validator that it has now.

        `counts` is whether that was an attempt at it.
        """
        with self._write() as connection:
            kept.mark_failed(connection, file, due_at=due_at, reason=reason, counts=counts)

    def end_file(
        self, file: File, tell: Callable[[Sequence[File]], Sequence[rows.Owed]], now: float
    ) -> tuple[list[Delivery], list[Address]]:
        """Note that a file is saved, lost or removed, together with the notices owed for it: `tell` gets all files of
        the prediction, this one as it is now, and is to be quick; what it answers tells of all that are lost. When none
        is on its way any more, what was held back for them is due now.

        Returns the new deliveries, and those for whom something is due that was held back.
        """
        with self._write() as connection:
            kept.keep(connection, file)
            files = kept.of(connection, [file.key])[file.key]
            over = all(each.state is not FileState.WAITING for each in files)
            released = kept.release(connection, file.key, now) if over else []
            owed = tell(files)
            if owed:
                kept.mark_told(connection, file.key)
            return outbox.add(connection, owed, now), released

    def old_files(self, before: float, limit: int, offset: int = 0) -> list[File]:
        """Some of the files that were saved before that time (steady), oldest first, after the first `offset`."""
        with self._read() as connection:
            return kept.past(connection, before, limit, offset)

    # --- incidents and channels --------------------------------------------------------------------------------------

    def open_incident(self, incident: Incident, owed: Sequence[rows.Owed], now: float) -> list[Delivery]:
        """Note an incident (or news of an open one) together with the notices owed for it. Returns the deliveries."""
        with self._write() as connection:
            upkeep.open_incident(connection, incident)
            return outbox.add(connection, owed, now)

    def close_incident(self, kind: IncidentKind, subject: str, owed: Sequence[rows.Owed], now: float) -> list[Delivery]:
        """Note the end of an incident together with the notices owed for it. Returns the deliveries."""
        with self._write() as connection:
            upkeep.close_incident(connection, kind, subject)
            return outbox.add(connection, owed, now)

    def open_incidents(self) -> list[Incident]:
        """The incidents that are open, oldest first."""
        with self._read() as connection:
            return upkeep.open_incidents(connection)

    def note_failing(self, address: Address, since: float | None) -> None:
        """Since when (steady) an address takes nothing; None when it is known to work. `mark_sent` says so too."""
        with self._write() as connection:
            outbox.note_failing(connection, address, since)

    def channel_health(self) -> dict[Address, rows.Health]:
        """How each address fares that ever took or refused a message."""
        with self._read() as connection:
            return outbox.health(connection)

    # --- for people --------------------------------------------------------------------------------------------------

    def watches_overview(self) -> list[rows.WatchRow]:
        """Every known watch, those removed from the list too, by account and id."""
        with self._read() as connection:
            return watches.overview(connection)

    def channels_overview(self) -> list[rows.ChannelRow]:
        """Every channel that has deliveries waiting or given up, or ever took or refused a message, by name."""
        with self._read() as connection:
            return outbox.channels_overview(connection)

    def accounts_overview(self) -> list[rows.AccountRow]:
        """How busy each account was when a daemon last noted it, by name."""
        with self._read() as connection:
            return upkeep.accounts_overview(connection)

    def history(self, prediction_id: str | None, limit: int | None) -> list[rows.HistoryRow]:
        """The newest `limit` notices (without one, every notice), of one prediction (on any account) or of all, with
        what became of them.

        Oldest first, so that the newest stands last, where a person at a terminal looks.
        """
        with self._read() as connection:
            return outbox.history(connection, prediction_id, limit)

    def prune(self, now: float) -> rows.Pruned:
        """Delete deliveries 90 days after their end, notices with them, and after 90 days removed watches, and what is
        known of files that are not kept (any more).

        Several short transactions, so that nobody waits long; what one has deleted stays deleted.
        """
        return rows.Pruned(
            deliveries=self._prune(upkeep.prune_deliveries, now),
            notices=self._prune(upkeep.prune_notices, now),
            watches=self._prune(upkeep.prune_watches, now),
            files=self._prune(upkeep.prune_files, now),
        )

    def _prune(self, step: Callable[[Connection, float], int], now: float) -> int:
        total = 0
        while True:
            with self._write() as connection:
                deleted = step(connection, now)
            total += deleted
            if not deleted:
                return total
