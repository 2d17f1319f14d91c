"""Mistakes and warnings as they are found, put into words and into the order of their places."""

from __future__ import annotations

from dataclasses import dataclass, field

from notifier.config.document import Document, Kind, Mapping, Node, Scalar, Sequence
from notifier.config.schema import At, Problem, Shown
from notifier.config.wording import join, shown
from notifier.errors import Mistake


@dataclass
class Findings:
    """What was found in the files read so far."""

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """In the order in which they were read, which is the order of what was found in them."""

    def problem(self, document: Document, top: Node, path: str, problem: Problem) -> None:
        """A mistake in the data of `top`, which stands at `path`."""
        node, parent = top, top
        for step in problem.path:
            parent = node
            below = _child(node, step)
            # The short form of an entry or an include is a text where the data has a mapping or a list.
            if below is None and isinstance(node, Scalar):
                break
            path = join(path, step)
            if below is None:
                break
            node = below
        if problem.at is At.KEY:
            start = node.key
        elif problem.at is At.PARENT:
            start = parent.key if parent.key >= 0 else parent.start
        else:
            start = node.start
        self.mistakes.append(document.mistake(start, path, problem.text + _found(node, problem)))

    def in_order(self, found: list[Mistake]) -> list[Mistake]:
        """The same by file, line and column."""
        order = {file: place for place, file in enumerate(self.files)}
        return sorted(found, key=lambda mistake: (order[mistake.file], mistake.line, mistake.column))


def _child(node: Node, step: str | int) -> Node | None:
    if isinstance(node, Mapping) and isinstance(step, str):
        return node.values.get(step)
    if isinstance(node, Sequence) and isinstance(step, int):
        return node.items[step]
    return None


def _found(node: Node, problem: Problem) -> str:
    """What stands there, and what helps when YAML took text for something else."""
    if problem.shown is Shown.NOTHING:
        return ""
    if isinstance(node, Mapping):
        return " (got a mapping)"
    if not isinstance(node, Scalar):
        return " (got a list)"
    kind = node.kind
    if kind is Kind.NOTHING:
        return " (got nothing)"
    quoted = shown(node.text) if kind is Kind.TEXT else shown(node.text)[1:-1]
    help_ = f", but YAML reads this as {kind}: put it in quotes" if problem.wants_text and kind is not Kind.TEXT else ""
    return f"{help_} (got {kind if problem.shown is Shown.KIND else quoted})"
