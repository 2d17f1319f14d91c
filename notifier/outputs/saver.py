"""The saver: lanes of its own that fetch the files of outputs, so that a large one delays no poll and no notice."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

from notifier.errors import PlaceError, PlaceFullError, StoreError
from notifier.logs import event, mistake
from notifier.model import Clock, File, FileState
from notifier.outputs.attempt import Means, attempt, discard
from notifier.outputs.manifest import Manifest, entry_of
from notifier.outputs.names import MANIFEST, folder_of
from notifier.outputs.needs import Downloads, Reports, Shelf
from notifier.outputs.retries import PLACE_WAIT, Failure, next_attempt_at

logger = logging.getLogger(__name__)

LANES = 8
LANES_PER_HOST = 6
"""A host that lets its downloads hang leaves some lanes to the others."""
INLINE = "data:"
"""What stands for a host with files that are here already. One at a time: they are in memory as a whole."""
LOOKED_AT = 100
"""Files that are due of which the next one is chosen: some of them may be under way already."""
STORE_RETRY = 1.0
"""Seconds between attempts to reach a store that cannot be used."""
UNRECORDED_WAIT = 10.0
"""Seconds until a file is looked at again of which the store could not take what became of it."""
TIDIED_EVERY = 3600.0
REMOVED_AT_ONCE = 100

_Work = Callable[[], object]
_FileId = tuple[str, str, int]


class Saver:
    """Fetches what is due until it is saved or lost, and removes what was kept for long enough.

    The store says what there is to do, so nothing is forgotten by a restart, and nothing that is done is done again.
    `configure`, `wake` and `stop` may be called from any thread.
    """

    def __init__(
        self,
        *,
        shelf: Shelf,
        downloads: Downloads,
        reports: Reports,
        clock: Clock,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._shelf, self._downloads, self._reports = shelf, downloads, reports
        self._clock, self._chance = clock, chance
        self._news = threading.Condition()
        """Held to choose what to do next, and for all below; never while anything is waited for."""
        self._turn = 0
        """Counts what may change the choice."""
        self._means: Means | None = None
        self._busy: dict[_FileId, str] = {}
        """What the lanes are at, and from which host it comes."""
        self._put_off: dict[_FileId, float] = {}
        """Until when those are left alone of which the store could not take what became of them."""
        self._examine_at: float | None = None
        """When (steady) it is to be seen whether the place can be used; None while it can."""
        self._tidy_at = 0.0
        self._trouble: dict[_FileId | None, float] = {}
        """Files that the place did not take, since when; None stands for the place itself."""
        self._stopping = False
        self._threads: list[threading.Thread] = []

    # --- for any thread ----------------------------------------------------------------------------------------------

    def configure(self, means: Means | None, *, in_trouble: bool = False) -> None:
        """Go by this from now on; what is being fetched is fetched as it was begun. Without means, nothing is fetched.

        The lanes are started when there is something to do for the first time. `in_trouble` is whether it was reported
        before this start that the place fails.
        """
        with self._news:
            before, self._means = self._means, means
            if before is None or means is None or means.outputs.directory != before.outputs.directory:
                self._trouble.clear()
            if in_trouble:
                self._trouble[None] = self._clock.steady()
            if means is not None and (before is None or means.outputs != before.outputs):
                self._examine_at = self._tidy_at = self._clock.steady()
            if means is not None and not self._threads:
                self._threads = [
                    threading.Thread(target=self._run, name=f"saver {number}", daemon=True) for number in range(LANES)
                ]
                for thread in self._threads:
                    thread.start()
            self._tell_all()

    def wake(self) -> None:
        """There are new files to fetch."""
        with self._news:
            self._tell_all()

    def _tell_all(self) -> None:
        self._turn += 1
        self._news.notify_all()

    def stop(self, patience: float) -> bool:
        """Abandon what is being fetched, to be gone on with another time; whether all lanes have ended within so many
        seconds.
        """
        deadline = time.monotonic() + patience
        with self._news:
            self._stopping = True
            self._tell_all()
        self._downloads.close()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def alive(self) -> bool:
        """Whether all lanes that were started are there."""
        return all(thread.is_alive() for thread in self._threads)

    # --- the lanes ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        complaint = ""
        while not self._stopping:
            try:
                work = self._next()
                if work is not None:
                    work()
                complaint = ""
            except StoreError as error:
                level = logging.DEBUG if str(error) == complaint else logging.WARNING
                complaint = str(error)
                event(logger, level, "store out of reach", reason=error)
                self._pause(STORE_RETRY)
            except Exception:  # noqa: BLE001 - a mistake of ours with one file must not end the lane
                mistake(logger, "a file is passed over")
                self._pause(STORE_RETRY)

    def _pause(self, seconds: float) -> None:
        with self._news:
            if not self._stopping:
                self._news.wait(seconds)

    def _next(self) -> _Work | None:
        """What to do next; waits until there is something. None at the end."""
        while not self._stopping:
            with self._news:
                turn, now, busy = self._turn, self._clock.steady(), Counter(self._busy.values())
            # First what comes from a host that no lane is at: behind hundreds of files of a slow one nobody shall wait.
            full = [host for host in busy if busy[host] >= _most(host)]
            due = [file for besides in (list(busy), full) for file in self._shelf.due_files(now, LOOKED_AT, besides)]
            next_at = self._shelf.next_file_at(now)
            with self._news:
                work = self._choose(due, next_at, now)
                if callable(work):
                    return work
                if self._turn == turn:
                    self._news.wait(work)
        return None

    def _choose(self, due: Sequence[File], next_at: float | None, now: float) -> _Work | float | None:
        """What to do now, or how many seconds to wait; None for as long as it takes."""
        means = self._means
        if means is None:
            return None
        if self._examine_at is not None and self._examine_at <= now:
            self._examine_at = now + PLACE_WAIT  # by nobody else meanwhile
            return lambda: self._examine(means)
        for file in due:
            host = _host(file)
            if _id(file) in self._busy or Counter(self._busy.values())[host] >= _most(host):
                continue
            if self._put_off.get(_id(file), now) > now:
                continue
            # A place that cannot be used lets nothing in, but what expires meanwhile is to be told of.
            if self._examine_at is None or (file.expires_at is not None and file.expires_at <= now):
                self._put_off.pop(_id(file), None)
                self._busy[_id(file)] = host
                self._turn += 1  # others may have looked for what this lane has taken
                return lambda: self._save(file, means)
        if self._tidy_at <= now and self._examine_at is None:
            self._tidy_at = now + TIDIED_EVERY
            return partial(self._tidy, means)
        moments = [next_at, self._examine_at, self._tidy_at, *self._put_off.values()]
        return min((moment - now for moment in moments if moment is not None and moment > now), default=None)

    # --- one file ----------------------------------------------------------------------------------------------------

    def _save(self, brief: File, means: Means) -> None:
        due_at = None
        try:
            file = self._shelf.waiting_file(brief)
            if file is None:
                self._report(_id(brief), None, means)
                return
            if file.due_at > self._clock.steady():
                return  # another lane has tried it since this one looked
            file, failure = self._attempt(file, means)
            if self._stopping and failure is not None:
                return  # it was abandoned
            now = self._clock.steady()
            if failure is None:
                self._note_place(file, None, means)
                self._end(replace(file, ended_at=now), means)
                event(logger, logging.INFO, "file saved", api=file.key.api, id=file.key.id, file=file.name,
                      size=file.size, source=file.source)  # fmt: skip
                return
            self._note_place(file, failure, means)
            due_at = next_attempt_at(file, failure, now, self._chance)
            if due_at is None:
                self._lose(file, failure, means)
                return
            level = logging.DEBUG if failure.reason == file.last_error else logging.WARNING
            event(logger, level, "file not saved", api=file.key.api, id=file.key.id, number=file.number,
                  source=file.source, attempts=file.attempts + 1, reason=failure.reason)  # fmt: skip
            self._shelf.mark_file_failed(file, due_at=due_at, reason=failure.reason, counts=not failure.of_place)
        except StoreError:
            with self._news:
                self._put_off[_id(brief)] = due_at or self._clock.steady() + UNRECORDED_WAIT
            raise
        finally:
            with self._news:
                del self._busy[_id(brief)]
                self._tell_all()  # a lane may wait for this host

    def _attempt(self, file: File, means: Means) -> tuple[File, Failure | None]:
        try:
            return attempt(file, means, self._downloads, self._reports.begun)
        except Exception as error:  # noqa: BLE001 - a mistake of ours with one file must not keep the lane at it
            mistake(logger, "a file is tried again", api=file.key.api, id=file.key.id, number=file.number)
            return file, Failure(f"mistake in the program: {type(error).__name__}")

    def _lose(self, file: File, failure: Failure, means: Means) -> None:
        event(logger, logging.ERROR, "file lost", api=file.key.api, id=file.key.id, number=file.number,
              source=file.source, attempts=file.attempts + 1, reason=failure.reason)  # fmt: skip
        try:
            discard(file, means.place)
        except PlaceError as error:
            event(logger, logging.WARNING, "a part was left behind", reason=error)
        url = None if file.url is None or file.url[:5].lower() == "data:" else file.url
        self._note_place(file, None, means)
        self._end(
            replace(
                file,
                state=FileState.LOST,
                url=url,
                attempts=file.attempts + (not failure.of_place),
                last_error=failure.reason,
                ended_at=self._clock.steady(),
            ),
            means,
        )

    def _end(self, file: File, means: Means) -> None:
        """Record that it is over, first beside it, then in the store."""
        self._write_down(file, means)
        deliveries, released = self._shelf.end_file(file, self._reports.owed, self._clock.steady())
        self._reports.over(file, deliveries, released)

    # --- the place ---------------------------------------------------------------------------------------------------

    def _examine(self, means: Means) -> None:
        """See whether the place can be used. Where there is no room, what was kept for long enough makes some."""
        reason, is_full = _trouble_with(means)
        if is_full and self._tidy(means):
            reason, _ = _trouble_with(means)
        with self._news:
            if reason is None and self._means is not None and means.outputs == self._means.outputs:
                self._examine_at = None
                self._tell_all()
        self._report(None, reason, means)

    def _note_place(self, file: File, failure: Failure | None, means: Means) -> None:
        of_place = failure is not None and failure.of_place
        if of_place:
            with self._news:  # perhaps it takes none
                self._examine_at = self._clock.steady()
        self._report(_id(file), failure.reason if failure is not None and of_place else None, means)

    def _report(self, which: _FileId | None, reason: str | None, means: Means) -> None:
        """Tell of the place's trouble when it begins, and when nothing is left of it."""
        with self._news:
            if self._means is None or means.outputs.directory != self._means.outputs.directory:
                return  # of a place that is not used any more
            before = dict(self._trouble)
            if reason is None:
                self._trouble.pop(which, None)
            else:
                self._trouble.setdefault(which, self._clock.steady())
            since = min(self._trouble.values(), default=None)
        if reason is not None and not before and since is not None:
            self._reports.place_fails(since, reason)
        if before and since is None:
            self._reports.place_works()

    def _tidy(self, means: Means) -> int:
        """Remove what was kept for long enough; how many files those were."""
        keep, removed, left = means.outputs.keep, 0, 0
        while keep is not None and not self._stopping:
            old = self._shelf.old_files(self._clock.steady() - keep, REMOVED_AT_ONCE, left)
            if not old:
                break
            gone = sum(self._remove(file, means) for file in old)
            removed, left = removed + gone, left + len(old) - gone
        return removed

    def _remove(self, file: File, means: Means) -> bool:
        """Whether it was; not if it is elsewhere: whoever changed the directory has what was kept before."""
        folder = folder_of(file.key)
        if file.name is None or file.place != means.place.address(folder, file.name):
            return False
        removed = replace(file, state=FileState.REMOVED, ended_at=self._clock.steady())
        try:
            means.place.delete(folder, file.name)
            manifest = self._write_down(removed, means)
            if manifest is not None and all(entry.state is not FileState.SAVED for entry in manifest.files):
                means.place.delete(folder, MANIFEST)
        except PlaceError as error:
            event(logger, logging.WARNING, "file not removed", file=file.place, reason=error)
            return False
        self._shelf.end_file(removed, lambda _: (), self._clock.steady())
        event(logger, logging.INFO, "file removed", api=file.key.api, id=file.key.id, file=file.name)
        return True

    def _write_down(self, file: File, means: Means) -> Manifest | None:
        """Note in the manifest what a file is now. That it could not be is logged: the store is what counts."""
        wall = self._clock.wall()
        try:
            return means.manifests.update(file.key, [entry_of(file, wall)], wall)
        except PlaceError as error:
            event(logger, logging.WARNING, "manifest not written", api=file.key.api, id=file.key.id, reason=error)
            return None


def _id(file: File) -> _FileId:
    return (*file.key, file.number)


def _trouble_with(means: Means) -> tuple[str | None, bool]:
    """Why the place cannot be used, if it cannot, and whether it is for want of room."""
    try:
        means.place.prepare()
        reason = means.lack_of_room()
    except PlaceError as error:
        return str(error), isinstance(error, PlaceFullError)
    return reason, reason is not None


def _most(host: str) -> int:
    """How many lanes may be at a host."""
    return 1 if host == INLINE else LANES_PER_HOST


def _host(file: File) -> str:
    return INLINE if file.source.startswith(INLINE) else urlsplit(file.source).hostname or ""
