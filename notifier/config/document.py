"""YAML text to a tree of nodes that know their places. The only module that knows PyYAML.

The tree is built from the parser's events, so that every key and value keeps its place, duplicate keys are seen, and
the limits below hold while the text is read rather than after. An alias is the same content standing at the alias's
place; `<<` merges as YAML 1.1 says. A scalar keeps its text, and `kind` says what YAML 1.1 makes of it; as data it is
text, a plain decimal number, true or false. What YAML would turn into something surprising (`0123` into 83, `12:34:56`
into 45296, `2024-01-01` into a date) or into nothing stays the node, which no value of the configuration accepts.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from enum import StrEnum
from typing import Any, NoReturn

import yaml

from notifier.config.files import MAX_BYTES
from notifier.config.wording import join
from notifier.errors import Mistake

MAX_DEPTH = 100
_TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep"
MAX_ALIASED = 1_000_000
"""How many nodes all aliases of a file together may stand for: an alias bomb is refused while it is read."""

# libyaml where PyYAML was built with it (0.1 s for 10,000 entries), the same events from pure Python elsewhere.
_Parser: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_IMPLICIT = yaml.SafeLoader.yaml_implicit_resolvers
_UNPRINTABLE = yaml.reader.Reader.NON_PRINTABLE
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,18})?", re.ASCII)
_LINE_END = re.compile(r"\r\n|\r|\n")
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
_COLLECTION_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class Kind(StrEnum):
    """What YAML 1.1 makes of a scalar; the values are words for people."""

    TEXT = "text"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    DATE = "a date"
    NOTHING = "nothing"


_KINDS = {
    "tag:yaml.org,2002:int": Kind.NUMBER,
    "tag:yaml.org,2002:float": Kind.NUMBER,
    "tag:yaml.org,2002:bool": Kind.BOOLEAN,
    "tag:yaml.org,2002:timestamp": Kind.DATE,
    "tag:yaml.org,2002:null": Kind.NOTHING,
}


class Node:
    """A value in the file. `start` is where it begins and `key` where the key it belongs to does, as offsets in the
    text; an item of a list and the root have no key (-1).
    """

    __slots__ = ("key", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.key = -1

    def at(self, start: int) -> Node:
        """The same value standing elsewhere: what an alias is."""
        raise NotImplementedError

    def data(self) -> Any:
        """The value as Python has it: see the module's docstring for what a scalar becomes."""
        raise NotImplementedError


class Scalar(Node):
    """A single value; `plain` says that it stands without quotes or tag, so that YAML guesses what it is."""

    __slots__ = ("plain", "text")

    def __init__(self, start: int, text: str, *, plain: bool) -> None:
        self.start = start
        self.key = -1
        self.text = text
        self.plain = plain

    @property
    def kind(self) -> Kind:
        """What YAML 1.1 makes of it (https://yaml.org/type/, as PyYAML's safe loader resolves it)."""
        if self.plain:
            for tag, pattern in _IMPLICIT.get(self.text[:1], ()):
                if pattern.match(self.text):
                    return _KINDS.get(tag, Kind.TEXT)
        return Kind.TEXT

    def at(self, start: int) -> Scalar:
        """The same, standing elsewhere."""
        return Scalar(start, self.text, plain=self.plain)

    def data(self) -> Any:
        """Text, a decimal number, true or false; the node itself for all that people rarely mean."""
        if (kind := self.kind) is Kind.TEXT:
            return self.text
        if kind is Kind.BOOLEAN:
            return self.text.lower() in ("true", "yes", "on")
        if kind is Kind.NUMBER and _DECIMAL.fullmatch(self.text):
            return float(self.text) if "." in self.text else int(self.text)
        return self


class Sequence(Node):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.items: list[Node] = []

    def at(self, start: int) -> Sequence:
        """The same items, standing elsewhere."""
        same = Sequence(start)
        same.items = self.items
        return same

    def data(self) -> list[Any]:
        """The items' data."""
        return [item.data() for item in self.items]


class Mapping(Node):
    """A mapping; keys are always text, in the file's order."""

    __slots__ = ("values",)

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.values: dict[str, Node] = {}

    def at(self, start: int) -> Mapping:
        """The same keys and values, standing elsewhere."""
        same = Mapping(start)
        same.values = self.values
        return same

    def data(self) -> dict[str, Any]:
        """The values' data by key."""
        return {key: value.data() for key, value in self.values.items()}


class Document:
    """One file's text, its tree, and the mistakes in it as YAML.

    `data` is None for a file that is too large to be read. `root` is None when the text cannot be read as YAML at all,
    or holds nothing; `mistakes` then says so.
    """

    def __init__(self, file: str, data: bytes | None) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self.root: Node | None = None
        self.text = ""
        self._lines: list[int] | None = None
        try:
            self.text = self._decode(data)
            self.root = _Composer(self).compose()
        except _UnreadableError as unreadable:
            self.mistakes.append(unreadable.mistake)

    def place(self, start: int) -> tuple[int, int]:
        """Line and column, counted from 1 in characters, of an offset in the text."""
        if self._lines is None:
            self._lines = [0, *(match.end() for match in _LINE_END.finditer(self.text))]
        line = bisect_right(self._lines, start)
        return line, start - self._lines[line - 1] + 1

    def mistake(self, start: int, path: str, text: str) -> Mistake:
        """A mistake at an offset in the text."""
        line, column = self.place(start)
        return Mistake(self.file, line, column, path, text)

    def find(self, part: str, occurrence: int, scalar: Scalar) -> int:
        """Where the `occurrence`-th (from 0) `${` of a scalar stands, which begins with `part`. Where that cannot be
        worked out, as an escape sequence hides a `${`, it is the scalar's own place.
        """
        start = scalar.start - 1
        for _ in range(occurrence + 1):
            start = self.text.find("${", start + 1)
            if start < 0:
                return scalar.start
        return start if self.text.startswith(part, start) else scalar.start

    def _decode(self, data: bytes | None) -> str:
        if data is None:
            self.refuse(0, f"is larger than {MAX_BYTES // 2**20} MiB")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            self.text = data[: error.start].decode("utf-8").removeprefix("\ufeff")
            byte = data[error.start]
            self.refuse(len(self.text), f"is not UTF-8 (byte 0x{byte:02x}): save it as UTF-8")
        text = self.text = text.removeprefix("\ufeff")
        if unprintable := _UNPRINTABLE.search(text):
            code = ord(unprintable.group())
            self.refuse(unprintable.start(), f"has a character that YAML does not allow (U+{code:04X})")
        return text

    def refuse(self, start: int, text: str) -> NoReturn:
        """Give up on the whole file."""
        raise _UnreadableError(self.mistake(start, "", text))


class _UnreadableError(Exception):
    """Nothing more can be made of this text."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(str(mistake))
        self.mistake = mistake


class _Open:
    """A collection whose end has not come yet."""

    __slots__ = ("anchor", "before", "key", "key_start", "merges", "node", "waiting")

    def __init__(self, node: Mapping | Sequence, anchor: str | None, before: int) -> None:
        self.node = node
        self.anchor = anchor
        self.before = before
        """How many nodes there were before it."""
        self.key: str | None = None
        """The key whose value comes next; None for one that was refused, so that its value is dropped."""
        self.key_start = -1
        self.waiting = False
        """A key was read, its value comes next."""
        self.merges: list[Node] = []


class _Composer:
    """Builds the tree of one document out of the parser's events."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Node | None, int]] = {}
        """By name: the node, None while its end has not come, and how many nodes it stands for."""
        self.count = 0
        self.aliased = 0
        self.root: Node | None = None

    def compose(self) -> Node:
        parser = _Parser(self.document.text)
        try:
            while (event := parser.get_event()) is not None:
                self._take(event)
        except yaml.MarkedYAMLError as error:
            self._refuse_syntax(error)
        except yaml.YAMLError:
            # The parsers' other errors are about characters, and those are checked before: this is to be safe.
            self.document.refuse(0, "is not YAML")
        finally:
            parser.dispose()
        if self.root is None:
            self.document.refuse(0, "is empty")
        return self.root

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            start = _start(event)
            if event.tag is not None:
                self._check_tag(event.tag, start, _TEXT_TAGS)
            node = Scalar(start, event.value, plain=event.implicit[0])
            self.count += 1
            if event.anchor is not None:
                self.anchors[event.anchor] = (node, 1)
            self._attach(node)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end(self.open[-1])
        elif isinstance(event, yaml.AliasEvent):
            self._attach(self._same(event))
        elif isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
            self.document.refuse(_start(event), "a second document begins here: put everything into one")

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        start = _start(event)
        if len(self.open) >= MAX_DEPTH:
            self.document.refuse(start, _TOO_DEEP)
        self._check_tag(event.tag, start, _COLLECTION_TAGS)
        node = Mapping(start) if isinstance(event, yaml.MappingStartEvent) else Sequence(start)
        self._attach(node)
        if event.anchor is not None:
            self.anchors[event.anchor] = (None, 0)
        self.open.append(_Open(node, event.anchor, self.count))
        self.count += 1

    def _end(self, ended: _Open) -> None:
        for source in ended.merges:
            self._merge(source, ended)
        self.open.pop()
        if ended.anchor is not None:
            self.anchors[ended.anchor] = (ended.node, self.count - ended.before)

    def _same(self, event: yaml.AliasEvent) -> Node:
        start = _start(event)
        if event.anchor not in self.anchors:
            self.document.refuse(start, "this alias has no anchor before it; text that begins with * needs quotes")
        node, size = self.anchors[event.anchor]
        if node is None:
            self.document.refuse(start, "this alias stands inside what it stands for")
        self.count += size
        self.aliased += size
        if self.aliased > MAX_ALIASED:
            self.document.refuse(start, f"the aliases up to here stand for more than {MAX_ALIASED:,} values")
        return node.at(start)

    def _attach(self, node: Node) -> None:
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        if isinstance(parent.node, Sequence):
            parent.node.items.append(node)
        elif not parent.waiting:
            self._take_key(parent, parent.node, node)
        else:
            parent.waiting = False
            if parent.key == "<<":
                parent.merges.append(node)
            elif parent.key is not None:
                node.key = parent.key_start
                parent.node.values[parent.key] = node

    def _take_key(self, parent: _Open, mapping: Mapping, node: Node) -> None:
        parent.waiting = True
        parent.key = None
        parent.key_start = node.start
        if not isinstance(node, Scalar):
            self._report(node.start, "a key must be text; a value that begins with { or [ needs quotes")
        elif node.text in mapping.values:
            line, _ = self.document.place(mapping.values[node.text].key)
            parent.key = node.text
            self._report(node.start, f"this key stands here twice; the first is on line {line}")
            parent.key = None
        else:
            parent.key = node.text

    def _merge(self, source: Node, into: _Open) -> None:
        for mapping in source.items if isinstance(source, Sequence) else [source]:
            if isinstance(mapping, Mapping) and isinstance(into.node, Mapping):
                for key, node in mapping.values.items():
                    into.node.values.setdefault(key, node)
            else:
                into.key = "<<"
                self._report(mapping.start, "must be a mapping, or a list of mappings")

    def _check_tag(self, tag: str | None, start: int, allowed: tuple[str | None, ...]) -> None:
        if tag not in allowed:
            self._report(start, "tags (!...) have no meaning here; text that begins with ! needs quotes")

    def _report(self, start: int, text: str) -> None:
        path = ""
        for parent in self.open:
            if isinstance(parent.node, Sequence):
                # What is open inside a list is in it already; what is being read is not yet.
                path = join(path, len(parent.node.items) - (parent is not self.open[-1]))
            elif parent.key is not None:
                path = join(path, parent.key)
        self.document.mistakes.append(self.document.mistake(start, path, text))

    def _refuse_syntax(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        start = min(mark.index, len(self.document.text)) if mark else 0
        if "nesting depth" in (error.problem or ""):
            # libyaml from 0.2.6 on has a limit of 1,000, and meets it while it reads ahead of what it has told.
            self.document.refuse(start, _TOO_DEEP)
        text = f"is not YAML: {error.problem or error.context}"
        if error.problem and error.context and error.context_mark:
            line, column = self.document.place(min(error.context_mark.index, len(self.document.text)))
            text += f" ({error.context} that begins at {line}:{column})"
        if self.document.text[start : start + 1] == "\t":
            text += "; this is a tab: indent with spaces"
        self.document.refuse(start, text)


def _start(event: yaml.Event) -> int:
    """The parsers give every event a mark; only the types say that there may be none."""
    return event.start_mark.index if event.start_mark else 0
