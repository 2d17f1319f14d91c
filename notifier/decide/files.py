"""The files of an output: which are to be kept, and what is told once it is known what became of them."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from notifier.decide.links import LINK_LIFE, is_short_lived
from notifier.decide.notices import notice_id
from notifier.model import Event, File, FileState, Key, Notice, Observation

SOON = 60.0
"""Seconds for which one that is tried or given up in them is waited for, so that all are told together."""
OTHER_LIFE = 86400.0
"""Seconds for which a file is tried whose host is not known to delete it: nobody says how long it will be there."""


def files_owed(
    key: Key, known: Iterable[File], seen: Observation, *, now: float, wall: float, again: bool = False
) -> tuple[File, ...]:
    """The files of an output that are to be fetched, in its order; of those that are on their way, with today's URL.

    `known` are all files that the prediction had before. A file is known by its source: a link that was signed anew
    leads to the same one. Where several have one source (`/file?id=1`, `/file?id=2`), their order tells them apart. Of
    files that left the output nothing is said here: they stay as they are. With `again`, those that were lost or
    removed are to be fetched once more. `now` is steady, `wall` is wall time.
    """
    before: dict[str, list[File]] = defaultdict(list)
    taken = set()
    for file in sorted(known, key=lambda file: file.number):
        before[file.source].append(file)
        taken.add(file.number)
    completed = wall if seen.completed_at is None else min(seen.completed_at, wall)
    owed = []
    for place, asset in enumerate(seen.assets):
        source = source_of(asset.url)
        life = LINK_LIFE if is_short_lived(asset.url) else OTHER_LIFE
        expires_at = None if asset.is_inline else now - (wall - completed) + life
        if before[source]:
            same = before[source].pop(0)
            if same.state is FileState.WAITING:
                owed.append(replace(same, url=asset.url, expires_at=expires_at))
            elif again and same.state is not FileState.SAVED:
                owed.append(
                    File(key, same.number, source, asset.url, created_at=now, due_at=now, expires_at=expires_at)
                )
            continue
        number = max(taken) + 1 if place in taken else place
        taken.add(number)
        owed.append(File(key, number, source, asset.url, created_at=now, due_at=now, expires_at=expires_at))
    return tuple(owed)


def files_notice(name: str, files: Sequence[File], *, now: float, wall: float) -> Notice | None:
    """What is told of a prediction's files (at least one, by their numbers) now that one of them is over.

    What is lost is told when each of the others was tried and has failed some times, so that there is time to do
    something about it. That all are kept is told when none is on its way any more. None is told twice. Lost ones are
    named with where they can still be had, as long as that is so.
    """
    waiting = [file for file in files if file.state is FileState.WAITING]
    if any(file.attempts == 0 or min(file.due_at, file.expires_at or file.due_at) <= now + SOON for file in waiting):
        return None
    lost = [file for file in files if file.state is FileState.LOST]
    if all(file.told for file in lost) and waiting:
        return None
    event = Event.SAVED if all(file.told for file in lost) else Event.SAVE_FAILED
    key = files[0].key
    left = [file for file in lost if file.url is not None and file.expires_at is not None and file.expires_at > now]
    ends = min((file.expires_at for file in left if file.expires_at is not None), default=None)
    kept = sum(file.state is FileState.SAVED for file in files)
    what_became = ",".join(f"{file.number}{file.state.value}" for file in files)
    return Notice(
        notice=notice_id("files", *key, what_became, files[0].created_at),
        event=event,
        time=wall,
        key=key,
        name=name,
        names=frozenset({event.value}),
        output=tuple(file.url for file in left if file.url is not None),
        has_output=True,
        expires=None if ends is None or not any(is_short_lived(file.url or "") for file in left) else wall + ends - now,
        count=len(files),
        why=f"{kept} of {len(files)} files are kept" + (f", {len(lost)} are lost" if lost else ""),
    )


def source_of(url: str) -> str:
    """Where a file is from, as it may be kept and shown: without credentials, query and fragment; of a `data:` URI its
    type and a digest. The same for a link that was signed anew.
    """
    if url[:5].lower() == "data:":
        kind = url[5:500].partition(",")[0].partition(";")[0].strip().lower() or "text/plain"
        return f"data:{kind[:80]} {hashlib.sha256(url.encode('utf-8', 'replace')).hexdigest()[:12]}"
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
