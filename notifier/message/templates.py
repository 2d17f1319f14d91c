"""People's own titles and bodies: Jinja2, sandboxed and bounded.

A template is an expression language here, not a programming language: `{{ ... }}`, `if` and `for`. It cannot reach
into objects, call anything but a few methods of text, make text out of multiplication, or loop for long; what it
writes is bounded. Meant against mistakes, and against text from the API that a template hands on.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment

MOST_WRITTEN = 100_000
"""Characters a template may write."""
LONGEST = 20_000
"""Characters of a template itself."""
MOST_ROUNDS = 1000
"""Rounds of one `range`."""
DEEPEST = 2
"""Loops inside one another."""

_TEXT_METHODS = (
    "capitalize", "count", "endswith", "find", "lower", "lstrip", "removeprefix", "removesuffix", "rstrip", "split",
    "splitlines", "startswith", "strip", "title", "upper",
)  # fmt: skip
_METHODS: dict[type, tuple[str, ...]] = {
    str: _TEXT_METHODS,
    dict: ("get", "items", "keys", "values"),
    LoopContext: ("changed", "cycle"),
}
_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "filesizeformat", "first", "float", "int", "join", "last", "length",
    "list", "lower", "max", "min", "reverse", "sort", "string", "striptags", "title", "trim", "truncate", "unique",
    "upper", "urlencode", "wordcount",
)  # fmt: skip


def _range(*bounds: int) -> range:
    rounds = range(*bounds)
    if len(rounds) > MOST_ROUNDS:
        raise SecurityError(f"a range has at most {MOST_ROUNDS} rounds")
    return rounds


def _replace(value: object, old: str, new: str) -> str:
    text = str(value)
    if len(text) + text.count(old) * len(new) > MOST_WRITTEN:
        raise SecurityError("replace makes the text too long")
    return text.replace(old, new)


def _round(value: float, digits: int = 0) -> float:
    return round(float(value), max(0, min(int(digits), 9)))


def _written(value: object) -> object:
    """How a value looks: nothing for None, one line per item for a list, a whole number without a point."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Environment(SandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not all(isinstance(value, int | float) for value in (left, right)):
            raise SecurityError(f"{operator} is for numbers only" if operator != "**" else "** is not allowed")
        return super().call_binop(context, operator, left, right)

    def is_safe_callable(self, obj: Any) -> bool:
        owner = getattr(obj, "__self__", None)
        name = getattr(obj, "__name__", "")
        return obj is _range or any(isinstance(owner, kind) and name in names for kind, names in _METHODS.items())


def _environment() -> _Environment:
    environment = _Environment(undefined=StrictUndefined, finalize=_written, autoescape=False)
    environment.globals = {"range": _range}
    environment.filters = {name: FILTERS[name] for name in _FILTERS}
    environment.filters |= {"replace": _replace, "round": _round}
    return environment


_ENVIRONMENT = _environment()


@functools.lru_cache(maxsize=256)
def problem(text: str, variables: frozenset[str]) -> str | None:
    """What is wrong with a template, in a sentence; None if it can be used."""
    try:
        tree = _ENVIRONMENT.parse(text)
        found = _too_much(text, tree) or _unknown_filter(tree) or _unknown_variable(tree, variables)
        if not found:
            _compiled(text)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        return f"line {line}: {error}" if line and "\n" in text else str(error)
    except Exception as error:  # noqa: BLE001 - a template is anything a person typed; Python's compiler may balk too
        return f"cannot be compiled ({type(error).__name__})"
    return found


def _too_much(text: str, tree: nodes.Template) -> str | None:
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    for node in tree.find_all(nodes.Stmt):
        if not isinstance(node, nodes.Output | nodes.If | nodes.For):
            return f"line {node.lineno}: only {{{{ ... }}}}, if and for are understood"
    for private in tree.find_all(nodes.Getattr):
        if private.attr.startswith("_"):
            return f"line {private.lineno}: no attribute {private.attr} is to be had"
    if _depth(tree) > DEEPEST:
        return f"more than {DEEPEST} loops inside one another"
    return None


def _depth(node: nodes.Node) -> int:
    return isinstance(node, nodes.For) + max((_depth(child) for child in node.iter_child_nodes()), default=0)


def _unknown_filter(tree: nodes.Template) -> str | None:
    for used in tree.find_all(nodes.Filter):
        if used.name not in _ENVIRONMENT.filters:
            return f"line {used.lineno}: unknown filter {_nearest(used.name, _ENVIRONMENT.filters)}"
    for test in tree.find_all(nodes.Test):
        if test.name not in _ENVIRONMENT.tests:
            return f"line {test.lineno}: unknown test {_nearest(test.name, _ENVIRONMENT.tests)}"
    return None


def _unknown_variable(tree: nodes.Template, variables: frozenset[str]) -> str | None:
    unknown = sorted(find_undeclared_variables(tree) - variables - _ENVIRONMENT.globals.keys())
    return f"unknown variable {_nearest(unknown[0], variables)}" if unknown else None


def _nearest(name: str, allowed: Iterable[str]) -> str:
    known = sorted(allowed)
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean `{near[0]}`?" if near else ""
    return f"`{name}`{meant} (allowed: {', '.join(known)})"


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    return _ENVIRONMENT.from_string(text)


def render(text: str, variables: Mapping[str, object]) -> str:
    """What the template writes; raises whatever goes wrong in it, SecurityError for what is not allowed."""
    found = problem(text, frozenset(variables))
    if found:
        raise SecurityError(found)
    parts: list[str] = []
    room = MOST_WRITTEN
    for part in _compiled(text).generate(variables):
        room -= len(part)
        if room < 0:
            raise SecurityError(f"it writes more than {MOST_WRITTEN} characters")
        parts.append(part)
    return "".join(parts)
