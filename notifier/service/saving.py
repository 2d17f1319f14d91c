"""Joins the saver to the other stages: what it fetches with, and who hears what came of it."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from notifier.decide import files_owed
from notifier.deliver import Lanes
from notifier.model import (
    Address,
    Clock,
    Config,
    Delivery,
    File,
    FileState,
    Incident,
    IncidentKind,
    Key,
    Observation,
    Outputs,
    Secret,
)
from notifier.outputs import Manifests, Means, Owed, Place, Saver, attempt, entry_of, folder_of, place_of
from notifier.service.keeper import Keeper
from notifier.store import Store, database_path
from notifier.transport import Transport, origin


def place_for(outputs: Outputs, config: Config, environ: Mapping[str, str] = os.environ) -> Place:
    """Where files are kept by this configuration. What goes to an object store is unfinished beside the store."""
    spool = database_path(config.store).parent / "outputs-unfinished"
    return place_of(outputs.directory, spool=spool, environ=environ)


def means_of(outputs: Outputs, config: Config, before: Means | None = None) -> Means:
    """What files are fetched and kept with by this configuration; the place is that of `before` if it is the same."""
    if before is not None and before.outputs.directory == outputs.directory:
        place, manifests = before.place, before.manifests
    else:
        place = place_for(outputs, config)
        manifests = Manifests(place)
    return Means(outputs, place, manifests, partial(_token_for, config))


def _token_for(config: Config, key: Key, url: str) -> Secret | None:
    """The account's token, for a URL of its own API's very origin and for no other."""
    api = config.apis.get(key.api)
    try:
        return api.token if api is not None and origin(url) == origin(api.base_url) else None
    except ValueError:  # a URL that the transport will not ask for
        return None


def save_by_hand(config: Config, outputs: Outputs, key: Key, seen: Observation, downloads: Transport) -> list[File]:
    """Keep the files of an output, each with one attempt, also those that were lost, removed or deleted by hand.

    Returns all of them by number; what could not be kept is LOST, with its `last_error`, and only said so here: a
    daemon that is at it goes on. What is kept is recorded, if there is a store. Raises StoreError, PlaceError.
    """
    means = means_of(outputs, config)
    means.place.prepare()
    wall = time.time()
    with Store.open(config.store, create=False) as store:
        known = [_as_it_is(file, means) for file in store.files([key]).get(key, ())]
        found = {file.number: file for file in known if file.state is FileState.SAVED}
        for owed in files_owed(key, known, seen, now=wall, wall=wall, again=True):
            file, failure = attempt(owed, means, downloads)
            if failure is None:
                wall = time.time()
                file = replace(file, ended_at=wall)
                means.manifests.update(key, [entry_of(file, wall)], wall)
                store.end_file(file, lambda _: (), wall)
            else:
                file = replace(file, state=FileState.LOST, last_error=failure.reason)
            found[file.number] = file
    return [found[number] for number in sorted(found)]


def _as_it_is(file: File, means: Means) -> File:
    """The same, but lost if it was kept in this place and is not there."""
    if file.state is not FileState.SAVED or file.name is None:
        return file
    folder = folder_of(file.key)
    is_here = file.place == means.place.address(folder, file.name)
    return replace(file, state=FileState.LOST) if is_here and means.place.size_of(folder, file.name) is None else file


class KeptFiles:
    """Reads what was kept, for messages that carry it: see `deliver.Files`."""

    means: Means | None = None

    def read(self, file: File, *, max_size: int) -> bytes | None:
        """The file as it was saved; None if it is not there so (any more). Raises PlaceError."""
        means = self.means
        if means is None or file.name is None:
            return None
        folder = folder_of(file.key)
        if file.place != means.place.address(folder, file.name):
            return None
        content = means.place.read(folder, file.name, max_size=max_size)
        return content if content is not None and hashlib.sha256(content).hexdigest() == file.sha256 else None


class Saving:
    """The saver, and what it reports to: see `outputs.Reports`."""

    def __init__(
        self,
        *,
        store: Store,
        keeper: Keeper,
        lanes: Lanes,
        kept: KeptFiles,
        downloads: Transport,
        clock: Clock,
        chance: Callable[[], float] = random.random,
        count: Callable[[File], None] = lambda _: None,
    ) -> None:
        """`count` gets each file that is over."""
        self._store, self._keeper, self._lanes, self._kept = store, keeper, lanes, kept
        self._count = count
        self.saver = Saver(shelf=store, downloads=downloads, reports=self, clock=clock, chance=chance)

    def configure(self, config: Config, incidents: Sequence[Incident] = ()) -> None:
        """Go by this configuration from now on. `incidents` are those that were open before the start."""
        outputs = config.outputs
        means = None if outputs is None else means_of(outputs, config, self._kept.means)
        self._kept.means = means
        in_trouble = any(
            incident.kind is IncidentKind.OUTPUTS and outputs is not None and incident.subject == outputs.directory
            for incident in incidents
        )
        self.saver.configure(means, in_trouble=in_trouble)

    def begun(self, file: File) -> None:
        """Noted in the keeper's thread: the transport's must not wait for the disk."""
        self._keeper.post(partial(self._store.note_file_begun, file))

    def owed(self, files: Sequence[File]) -> Sequence[Owed]:
        """What is told, and whom, now that one of a prediction's files is over."""
        return self._keeper.owed_for_files(files)

    def over(self, file: File, deliveries: Sequence[Delivery], released: Sequence[Address]) -> None:
        """Count it, and let the lanes know."""
        self._count(file)
        self._lanes.wake({*(delivery.address for delivery in deliveries), *released})

    def place_fails(self, since: float, reason: str) -> None:
        """The operators hear of it."""
        if self._kept.means is not None:
            detail = reason.removeprefix("outputs cannot be kept: ")  # which the incident itself says
            incident = Incident(IncidentKind.OUTPUTS, self._kept.means.outputs.directory, since, detail)
            self._keeper.post(partial(self._keeper.begin_incident, incident))

    def place_works(self) -> None:
        """And of its end."""
        if self._kept.means is not None:
            directory = self._kept.means.outputs.directory
            self._keeper.post(partial(self._keeper.end_incident, IncidentKind.OUTPUTS, directory))
