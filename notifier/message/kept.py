"""The words for files of outputs: what is kept where, what could not be, and what is still on its way."""

from __future__ import annotations

import re
from collections.abc import Sequence

from notifier.message import text
from notifier.message.values import file_size
from notifier.model import File, FileState, Notice

MOST_LOST = 5
"""Files that could not be kept of which it is said why; often it is the same for all."""
REASON_LENGTH = 160
"""Characters that are quoted of why a file could not be kept."""


def saved(files: Sequence[File]) -> list[File]:
    """Those that are kept."""
    return [file for file in files if file.state is FileState.SAVED]


def lost(files: Sequence[File]) -> list[File]:
    """Those that could not be kept."""
    return [file for file in files if file.state is FileState.LOST]


def were_kept(notice: Notice) -> str:
    """`3 files kept`, also where some of them were removed meanwhile, or all are forgotten."""
    count = sum(file.state in (FileState.SAVED, FileState.REMOVED) for file in notice.files) or notice.count
    return f"{_files(count)} kept" if count else "files kept"


def total_size(files: Sequence[File]) -> str | None:
    """`12.4 MB`: of all that are kept; None if there is none."""
    return file_size(sum(file.size or 0 for file in saved(files))) if saved(files) else None


def not_kept(notice: Notice) -> str:
    """`1 of 3 files not kept`, `3 files not kept`."""
    return _of_all(notice, "not kept") or "files not kept"


def could_not_be_kept(notice: Notice) -> str:
    """The same as a sentence. A file that was lost may be kept by now, by hand."""
    told = _of_all(notice, "could not be kept")
    if told is None and saved(notice.files):
        return "Files could not be kept at first; now none is missing."
    return f"{told or 'Files could not be kept'}."


def _of_all(notice: Notice, what: str) -> str | None:
    gone, count = len(lost(notice.files)), len(notice.files)
    if not gone:
        return None
    return f"{_files(count)} {what}" if gone == count else f"{gone:,} of {_files(count)} {what}"


def places(files: Sequence[File], most: int, *, sizes: bool = False) -> list[str]:
    """Where the kept files are, a line each; those there is no room for are counted in a last line."""
    there = saved(files)
    shown = [
        f"{place} ({file_size(file.size)})" if sizes and file.size is not None else place
        for file in there[:most]
        if (place := text.place(file.place or ""))
    ]
    return [*shown, *_more(len(there) - len(shown))]


def lines(files: Sequence[File], most: int) -> list[str]:
    """What is to be said of all of them; at most so many are named of any kind."""
    told = ["Kept:", *places(files, most, sizes=True)] if saved(files) else []
    gone = lost(files)
    if gone:
        shown = [f"> {_called(file)}: {_reason(file)}" for file in gone[: min(most, MOST_LOST)]]
        told += ["Not kept:", *shown, *_more(len(gone) - len(shown))] if shown else [f"Not kept: {_files(len(gone))}."]
    for state, label in ((FileState.WAITING, "Being kept"), (FileState.REMOVED, "Kept until its time was over")):
        if count := sum(file.state is state for file in files):
            told.append(f"{label}: {_files(count)}.")
    return told


def _called(file: File) -> str:
    """What a file is called that has no place: its name, else the last part of its address, else its type."""
    called = file.name
    if called is None and file.source[:5].lower() == "data:":
        called = re.split("[ ;,]", file.source[5:], maxsplit=1)[0]
    elif called is None:
        called = file.source.rstrip("/").rpartition("/")[2]
    return text.label(text.quotable(called), 100) or f"file {file.number + 1}"


def _reason(file: File) -> str:
    return text.one_line(text.quotable(file.last_error or ""), REASON_LENGTH) or "nobody knows why"


def _more(count: int) -> list[str]:
    return [f"… and {count:,} more"] if count else []


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"
