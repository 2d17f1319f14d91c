"""From the files to a Config, or to every mistake in them.

The order of the work: the main file's tree; what must be asked of the world (environment, secret files, Apprise,
Jinja); the keys of the main file; then, one by one, the entries of its watchlist and of the included files.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notifier.config import files, secrets, values
from notifier.config.document import Document, Mapping, Node, Scalar, Sequence
from notifier.config.findings import Findings
from notifier.config.locations import default_store
from notifier.config.schema import (
    UNRESOLVED,
    ApiKeys,
    At,
    ChannelKeys,
    Context,
    DefaultKeys,
    FileKeys,
    Problem,
    Shown,
    check,
)
from notifier.config.watchlist import Watchlist
from notifier.config.wording import join, shown
from notifier.errors import ConfigError, Mistake
from notifier.model import Api, Channel, Config, Heartbeat, Http, Outputs, Secret


@dataclass(frozen=True, slots=True)
class UrlInspection:
    """What Apprise makes of a channel's URL. Neither text quotes any of it."""

    problem: str | None = None
    """Why it cannot be used."""
    warning: str | None = None
    """What the person should know although it can."""
    no_files: str | None = None
    """Why messages there carry no files; None if they can."""


@dataclass(frozen=True, slots=True)
class World:
    """What a configuration is checked against besides itself; see `notifier.config.load`."""

    environ: MappingOf[str, str]
    inspect_url: Callable[[Secret], UrlInspection]
    template_problem: Callable[[str], str | None]
    resolve_secrets: bool


class Reader:
    """Reads one configuration, once."""

    def __init__(self, path: Path, world: World) -> None:
        self.path = path
        self.folder = path.parent
        self.world = world
        self.findings = Findings()
        self.exposed = False
        self.seen: dict[Path, str] = {}
        """Every file that was read or could not be, with its digest or why not."""

    def read(self) -> Config:
        """The configuration; raises ConfigError with every mistake, in the order of their places."""
        document = self._open_main()
        top = document.root
        if not isinstance(top, Mapping):
            if top is not None:
                self._report(
                    document, top, "", "must be a mapping with the keys apis, channels and watchlist", Shown.KIND
                )
            raise self._error()
        data = self._data(document, top)
        context = _context(data, self.folder)
        keys = check(FileKeys, data, context)
        if isinstance(keys, list):
            for problem in keys:
                self.findings.problem(document, top, "", problem)
        if not top.values.keys() & {"watchlist", "include"}:
            self._report(document, top, "watchlist", "is missing; an empty one is written as []")
        right = keys if isinstance(keys, FileKeys) and not self.findings.mistakes else None
        apis = {name: _api(name, api) for name, api in right.apis.items()} if right else {}
        watchlist = Watchlist(context, self.findings, apis, right.defaults if right else DefaultKeys())
        if isinstance(entries := top.values.get("watchlist"), Sequence):
            watchlist.take(document, entries, "watchlist")
        included = self._include(document, top, watchlist)
        if self.findings.mistakes or right is None:
            raise self._error()
        return Config(
            path=self.path,
            files=(self.path, *included),
            apis=apis,
            channels={name: _channel(name, channel) for name, channel in right.channels.items()},
            operators=context.channels if right.operators is None else right.operators,
            watches=tuple(watchlist.watches),
            store=right.store or default_store(self.world.environ),
            http=None if right.http is None else Http(*right.http.listen, right.http.hosts),
            heartbeat=None if right.heartbeat is None else Heartbeat(right.heartbeat.url, right.heartbeat.every),
            outputs=None if right.outputs is None else Outputs(**dict(right.outputs)),
            include=right.include or (),
            warnings=tuple(map(str, self.findings.in_order(self.findings.warnings))),
            seen=self.seen,
        )

    # --- files ---

    def _open_main(self) -> Document:
        try:
            content = self._read(self.path)
        except files.UnreadableError as error:
            raise ConfigError([Mistake(str(self.path), 1, 1, "", str(error))], self.seen) from None
        self.exposed = content.exposed
        return self._document(self.path, content)

    def _read(self, path: Path) -> files.Content:
        try:
            content = files.read(path)
        except files.UnreadableError as error:
            self.seen[path] = str(error)
            raise
        self.seen[path] = content.digest
        return content

    def _document(self, path: Path, content: files.Content) -> Document:
        document = Document(str(path), content.data)
        self.findings.files.append(document.file)
        self.findings.mistakes += document.mistakes
        return document

    def _include(self, document: Document, top: Mapping, watchlist: Watchlist) -> list[Path]:
        """Take the entries of the included files, each once; answers with their paths."""
        included: dict[Path, None] = {}
        itself = os.path.realpath(self.path)
        node = top.values.get("include")
        for index, item in enumerate(node.items if isinstance(node, Sequence) else [node]):
            if not isinstance(item, Scalar) or not isinstance(pattern := item.data(), str):
                continue
            path = f"include[{index}]" if isinstance(node, Sequence) else "include"
            try:
                files.check_can_be_searched(self.folder, pattern)
            except files.UnreadableError as error:
                self._report(document, item, path, str(error))
                continue
            found = files.matching(self.folder, pattern)
            if not found and not files.is_pattern(pattern):
                self.findings.warnings.append(document.mistake(item.start, path, "there is no such file"))
            for file in found:
                if file in included or os.path.realpath(file) == itself:
                    continue
                included[file] = None
                try:
                    self._take(self._document(file, self._read(file)), watchlist)
                except files.UnreadableError as error:
                    help_ = "; for the files in it, write a pattern such as folder/*.yaml" if file.is_dir() else ""
                    self._report(document, item, path, f"{shown(str(file), 200)} {error}{help_}")
        return list(included)

    def _take(self, document: Document, watchlist: Watchlist) -> None:
        if isinstance(document.root, Sequence):
            watchlist.take(document, document.root, "")
        elif document.root is not None:
            text = "must be a list of entries, as below `watchlist:` in the main file"
            self._report(document, document.root, "", text, Shown.KIND)

    # --- what must be asked of the world ---

    def _data(self, document: Document, top: Mapping) -> dict[str, Any]:
        """The main file's data without its entries, secrets resolved, short forms written out."""
        data = {
            key: [] if key == "watchlist" and isinstance(node, Sequence) else node.data()
            for key, node in top.values.items()
        }
        if isinstance(top.values.get("include"), Scalar):
            data["include"] = [data["include"]]
        for name, node in _levels(top, "apis"):
            api = data["apis"][name]
            path = join("apis", name)
            self._expand(document, node, api, "token", path, secret=True)
            self._expand(document, node, api, "base_url", path)
            if "base_url" not in node.values and name not in values.KNOWN_BASE_URLS:
                text = f"is missing; it is known only for accounts named {' and '.join(values.KNOWN_BASE_URLS)}"
                self.findings.mistakes.append(document.mistake(node.key, join(path, "base_url"), text))
        for name, node in _levels(top, "channels"):
            self._ask_about_channel(document, node, data["channels"][name], join("channels", name))
        if isinstance(heartbeat := top.values.get("heartbeat"), Mapping):
            url = self._expand(document, heartbeat, data["heartbeat"], "url", "heartbeat", secret=True)
            if url is not None and _is_exposed(url):
                text = "plain http: whoever sees this address on its way can keep the switch from going off"
                self.findings.warnings.append(document.mistake(heartbeat.values["url"].start, "heartbeat.url", text))
        if isinstance(http := top.values.get("http"), Mapping):
            self._warn_of_exposure(document, http)
        if isinstance(outputs := top.values.get("outputs"), Mapping):
            self._expand(document, outputs, data["outputs"], "directory", "outputs")
        self._expand(document, top, data, "store", "")
        return data

    def _warn_of_exposure(self, document: Document, http: Mapping) -> None:
        listen = http.values.get("listen")
        try:
            host, _ = values.listen(listen.data() if isinstance(listen, Scalar) else None)
        except values.WrongValueError:
            return  # said when the keys are checked
        if listen is not None and not values.is_loopback(host):
            text = "whoever reaches this address can read what is watched, with the output links"
            self.findings.warnings.append(document.mistake(listen.start, "http.listen", text))

    def _ask_about_channel(self, document: Document, node: Mapping, data: dict[str, Any], path: str) -> None:
        url = self._expand(document, node, data, "url", path, secret=True)
        if url is not None:
            inspection = self._inspect(url)
            start = node.values["url"].start
            if inspection.problem:
                self.findings.mistakes.append(document.mistake(start, join(path, "url"), inspection.problem))
            if inspection.warning:
                self.findings.warnings.append(document.mistake(start, join(path, "url"), inspection.warning))
            if inspection.no_files and data.get("attach") is True:
                text = f"has no effect: {inspection.no_files}"
                self.findings.warnings.append(document.mistake(node.values["attach"].start, join(path, "attach"), text))
        for key in ("title", "body"):
            template = data.get(key)
            problem = self.world.template_problem(template) if isinstance(template, str) else None
            if problem:
                self._report(document, node.values[key], join(path, key), f"is no template that works: {problem}")

    def _inspect(self, url: str) -> UrlInspection:
        try:
            return self.world.inspect_url(values.channel_url(url))
        except values.WrongValueError:
            return UrlInspection()  # what is wrong with it is said when the keys are checked

    def _expand(
        self, document: Document, node: Mapping, data: dict[str, Any], key: str, path: str, *, secret: bool = False
    ) -> str | None:
        """Replace the references in a text; answers with it unless it is missing or not to be had."""
        scalar = node.values.get(key)
        if not isinstance(scalar, Scalar) or not isinstance(data[key], str):
            return None
        path = join(path, key)
        if not secrets.has_reference(scalar.text):
            if secret and self.exposed:
                text = (
                    "a secret stands in a file that everyone on this machine can read: chmod 600 it, or use a reference"
                )
                self.findings.warnings.append(document.mistake(scalar.start, path, text))
            return scalar.text
        if secret and not self.world.resolve_secrets:
            data[key] = UNRESOLVED
            return None
        text, faults = secrets.expand(scalar.text, self.world.environ, self.folder, self._read)
        for fault in faults:
            start = document.find(fault.reference, fault.occurrence, scalar)
            self.findings.mistakes.append(document.mistake(start, path, fault.text))
        data[key] = UNRESOLVED if faults else text
        return None if faults else text

    def _report(self, document: Document, node: Node, path: str, text: str, found: Shown = Shown.NOTHING) -> None:
        self.findings.problem(document, node, path, Problem((), At.VALUE, text, found))

    def _error(self) -> ConfigError:
        return ConfigError(self.findings.in_order(self.findings.mistakes), self.seen)


def _levels(top: Mapping, key: str) -> list[tuple[str, Mapping]]:
    """The named mappings below a key, as far as they are mappings."""
    node = top.values.get(key)
    if not isinstance(node, Mapping):
        return []
    return [(name, level) for name, level in node.values.items() if isinstance(level, Mapping)]


def _context(data: dict[str, Any], folder: Path) -> Context:
    apis, channels = (level if isinstance(level := data.get(key), dict) else {} for key in ("apis", "channels"))
    accounts: dict[str, tuple[str, ...]] = dict.fromkeys(values.KNOWN_BASE_URLS.values(), ())
    for name, api in apis.items():
        written = api.get("base_url") if isinstance(api, dict) else None
        try:
            base_url = values.base_url(values.KNOWN_BASE_URLS.get(name) if written is None else written)
        except values.WrongValueError:
            continue
        accounts[base_url] = (*accounts.get(base_url, ()), name)
    return Context(tuple(apis), tuple(channels), accounts, folder, "outputs" in data)


def _api(name: str, keys: ApiKeys) -> Api:
    return Api(**{**dict(keys), "name": name, "base_url": keys.base_url or values.KNOWN_BASE_URLS[name]})


def _channel(name: str, keys: ChannelKeys) -> Channel:
    return Channel(name=name, **dict(keys))


def _is_exposed(url: str) -> bool:
    try:
        return values.is_exposed(values.heartbeat_url(url).reveal())
    except values.WrongValueError:
        return False  # said when the keys are checked
