"""Buckets of object stores, through obstore, which is an extra: everything that knows it is here.

Its calls let go of Python's lock while they wait.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from notifier.errors import PlaceError, PlaceFullError
from notifier.outputs.failures import Failure, failure, is_bucket_missing
from notifier.outputs.providers import PROVIDERS

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions, GetResult
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

WAY_OUT = "pip install 'prediction-notifier[storage]'"
"""For those who do not have the library."""

_PORTION = 5 * 2**20
"""Bytes that are sent in one request: the least that S3 takes, so that a slow line has done with it in time."""
_PORTIONS = 10_000
"""Of one file at most, as S3 has it."""
_AT_ONCE = 2
_READ = 16 * 2**20
"""Bytes that are asked for at once."""
_NOTE = "sha256"
"""What the digest is called among an object's metadata: letters and digits alone pass everywhere."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long is waited, in seconds: for one request not longer than `transfer` and `retry_for` together and a pause
    of 15 s, for its credentials as long again. A file takes many requests.
    """

    connect: float = 10.0
    answer: float = 60.0
    """A request that carries no file, from its beginning to the end of its answer."""
    transfer: float = 300.0
    """A request that carries a portion of a file: two portions of 5 MiB at once in this time make 35 KB/s."""
    retries: int = 5
    retry_for: float = 60.0
    """From the first attempt: none is begun later."""


class Found(NamedTuple):
    """A file in a bucket."""

    size: int
    sha256: str | None
    """As it was noted when the file was uploaded; None if it was not."""
    version: str | None


class Listed(NamedTuple):
    """Names below a key."""

    folders: list[str]
    files: list[str]


class Bucket:
    """A bucket that `directory` (`s3://bucket/prefix`) names. For many threads at once; connects when it is used.

    Keys are whole, with the prefix. All that can go wrong with the store is raised as PlaceError or PlaceFullError;
    no error and no log holds anything that was sent or answered but an HTTP status and the store's word for it.
    """

    def __init__(self, directory: str, environ: Mapping[str, str], limits: Limits) -> None:
        scheme, mark, rest = directory.partition("://")
        self._name = rest.partition("/")[0]
        if not mark or scheme not in PROVIDERS or not self._name:
            raise ValueError("not the URL of a bucket")
        self._provider = PROVIDERS[scheme]
        self._scheme = scheme
        self._environ = environ
        self._limits = limits
        self._opening = threading.Lock()
        self._opened: tuple[ObjectStore, ObjectStore] | None = None

    def address(self, key: str) -> str:
        """The URL that people know it by."""
        return f"{self._scheme}://{self._name}/{key}".rstrip("/")

    def examine(self) -> None:
        """Raise PlaceError where obstore is not there, or the environment has what it could not use. Asks nobody."""
        self._stores()

    def look(self, key: str) -> Found | None:
        """What is there under that key."""
        with suppress(FileNotFoundError), self._explained(key):
            return _found(self._get(key, {"head": True}))
        # An answer without a body does not tell whether the file is missing or the bucket.
        with suppress(FileNotFoundError), self._explained(key):
            return _found(self._get(key))
        return None

    def read(self, key: str, max_size: int) -> bytes | None:
        """Its content; None if it is not there, or larger."""
        with suppress(FileNotFoundError), self._explained(key):
            result = self._get(key)
            if result.meta["size"] <= max_size:
                return bytes(result.bytes())
        return None

    def portions(self, key: str, found: Found) -> Iterator[bytes]:
        """The content of what was found, from its beginning, a little at a time: all of one version, or PlaceError."""
        for start in range(0, found.size, _READ):
            options: GetOptions = {"range": (start, min(start + _READ, found.size))}
            if found.version:
                options["if_match"] = found.version
            try:
                with self._explained(key):
                    portion = bytes(self._get(key, options).bytes())
            except FileNotFoundError:
                raise self._error(key, Failure("it was deleted while it was read")) from None
            yield portion

    def upload(self, key: str, portions: Iterable[bytes], size: int, sha256: str) -> None:
        """Write a file of that size, with its digest beside it, from its beginning to its end; the key has the whole
        file or what it had. What `portions` raises is passed on.
        """
        note: Attributes = {_NOTE: sha256}
        portion = max(_PORTION, -(-size // _PORTIONS))
        with self._explained(key, needed=True):
            _, store = self._stores()
            if size <= portion:
                store.put(key, b"".join(portions), attributes=note, use_multipart=False)
            else:
                store.put(
                    key,
                    iter(portions),
                    attributes=note,
                    use_multipart=True,
                    chunk_size=portion,
                    max_concurrency=_AT_ONCE,
                )

    def put(self, key: str, content: bytes) -> None:
        """Write a small file at once."""
        with self._explained(key, needed=True):
            self._stores()[1].put(key, content, use_multipart=False)

    def delete(self, key: str) -> None:
        """Delete a file, if it is there."""
        with suppress(FileNotFoundError), self._explained(key):
            self._stores()[0].delete(key)

    def listed(self, key: str) -> Listed:
        """The names right below a key, without those of nobody's making: a console marks folders by empty ones."""
        below = f"{key}/" if key else ""
        with self._explained(key, needed=True):
            found = self._stores()[0].list_with_delimiter(key or None)
            paths = [entry["path"] for entry in found["objects"]]
        return Listed(
            [path.removeprefix(below) for path in found["common_prefixes"]],
            [path.removeprefix(below) for path in paths if path.startswith(below)],
        )

    def _get(self, key: str, options: GetOptions | None = None) -> GetResult:
        quick, patient = self._stores()
        return (quick if options and options.get("head") else patient).get(key, options=options)

    def _stores(self) -> tuple[ObjectStore, ObjectStore]:
        """The bucket, for requests that carry no file and for those that do."""
        with self._opening:
            if self._opened is None:
                if mistake := self._provider.mistake(self._environ):
                    raise self._error("", Failure(mistake, "correct that in the environment"))
                limits = self._limits
                self._opened = (self._open(limits.answer), self._open(limits.transfer))
            return self._opened

    def _open(self, timeout: float) -> ObjectStore:
        try:
            from obstore import store
        except ImportError:
            raise self._error("", Failure("obstore is not installed", WAY_OUT)) from None
        client: ClientConfig = {
            "allow_http": self._provider.allows_http(self._environ),
            "connect_timeout": timedelta(seconds=self._limits.connect),
            "timeout": timedelta(seconds=timeout),
        }
        retry: RetryConfig = {
            "max_retries": self._limits.retries,
            "retry_timeout": timedelta(seconds=self._limits.retry_for),
        }
        kind = getattr(store, self._provider.store)
        opened: ObjectStore = kind(
            self._name, config=self._provider.config(self._environ), client_options=client, retry_config=retry
        )
        return opened

    @contextmanager
    def _explained(self, key: str, *, needed: bool = False) -> Iterator[None]:
        """Raise what obstore says as a PlaceError; that a file is not there is left as it is, unless it is `needed`."""
        try:
            yield
        except FileNotFoundError as error:
            if not needed and not is_bucket_missing(str(error)):
                raise
            raise self._error(key, failure(str(error), self._provider)) from None
        except BaseException as error:
            if not _is_of_obstore(error):
                raise
            raise self._error(key, failure(str(error), self._provider)) from None

    def _error(self, key: str, failure: Failure) -> PlaceError:
        kind = PlaceFullError if failure.full else PlaceError
        return kind(f"outputs cannot be kept: {self.address(key)}: {failure}")


def _found(result: GetResult) -> Found:
    note = result.attributes.get(_NOTE, "")
    return Found(result.meta["size"], note if _SHA256.fullmatch(note) else None, result.meta["e_tag"])


def _is_of_obstore(error: BaseException) -> bool:
    """Its errors, and its panics, which are no Exception and would end the thread."""
    return type(error).__module__.startswith(("obstore.", "pyo3_runtime"))
