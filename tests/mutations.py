"""A good configuration, and damage to it: what editors, shells, disks and tired people make of it."""

from __future__ import annotations

import random
from collections.abc import Callable

SYNTAX = (
    "[", "]", "{", "}", ":", ": ", "- ", "&a ", "*a", "*nobody", "!!python/object:os.system ", "!!str ", "!x ", "|\n",
    ">\n", "---\n", "...\n", "<<: ", "? ", "#", "'", '"', "%YAML 9.9\n", "@", "`", "${", "}", "${NOPE}",
    "${file:/nowhere}", "\n", ", ", "  ", "<<: *a\n", "\\", "=", "~",
)  # fmt: skip
VALUES = (
    "null", "~", "yes", "0123", "12:34:56", "2024-01-01", "1_000", "0x1f", "1e999", "-1", "[]", "{}", "[[]]", "{a: b}",
    "''", '"\\0"', '"\\ud800"', "9" * 400, "x" * 5000, "!!binary aGk=", "|-\n  x", "30 s", "1ms", "100000d", ".nan",
    "10s", "<!channel>", "http://127.0.0.1:1/x", "/etc/passwd", "../..", "*", "**", "\u202e", "\u0661",
)  # fmt: skip
UNICODE = "\u00e9\u2028\u0085\U0001f600\u202e\ufeff\ufffe\u0130\u0301\u00a0\ufffd"
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-7", "cp037")
ALIASES = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}' if n else 'x'] * 9)}]\n" for n in range(9))
MERGES = "m0: &m0 {a: b}\n" + "".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], k{n}: v}}\n" for n in range(1, 40))

HUNG_ID = "hung"
SECRETS = ("here-its-secret", "there-its-secret", "hook-its-secret")
"""The first stands in a file, the others are in the environment: TOKEN and HOOK."""

Damage = Callable[[random.Random, str], str | bytes]


def pristine(base_url: str) -> dict[str, str]:
    """The good configuration: the main file, two included ones and a secret."""
    entries = "".join(f"  - {{id: main{number}, api: here, name: Größe {number}}}\n" for number in range(40))
    return {
        "config.yaml": (
            "# Überwachte Vorhersagen\n"
            "apis:\n"
            f"  here:\n    base_url: {base_url}\n    token: ${{file:secrets/here}}\n"
            "    rate: 1000/s\n    timeout: 10m\n"
            "  there:\n    base_url: ${THERE}\n    token: ${TOKEN}\n    timeout: 10m\n"
            "channels:\n"
            "  team: {url: 'json://localhost/${HOOK}', rate: 1000/s}\n"
            "  mail:\n    url: mailto://user:pass@localhost?to=someone@example.com\n    events: [failed, error]\n"
            '    title: "{{ name }}: {{ status }}"\n'
            "operators: [team]\n"
            "defaults:\n  interval: 50m\n  channels: [team]\n"
            f"watchlist:\n  - {{id: {HUNG_ID}, api: here}}\n  - id: long0\n    api: there\n    interval: 50m\n{entries}"
            "include: watchlist.d/*.yaml\n"
        ),
        "watchlist.d/one.yaml": "".join(f"- {{id: one{number}, api: here}}\n" for number in range(10)),
        "watchlist.d/two.yaml": "".join(f"- {{id: two{number}, api: there}}\n" for number in range(10)),
        "secrets/here": SECRETS[0] + "\n",
    }


def _place(chance: random.Random, text: str) -> int:
    return chance.randrange(len(text) + 1)


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True) or [""]


def _is_entry(line: str) -> bool:
    """A whole one, on one line."""
    return line.lstrip().startswith("- {")


def _cut_off(chance: random.Random, text: str) -> str:
    return text[: _place(chance, text)]


def _cut_bytes_off(chance: random.Random, text: str) -> bytes:
    return text.encode()[: _place(chance, text)]


def _beheaded(chance: random.Random, text: str) -> str:
    return text[_place(chance, text) :]


def _holed(chance: random.Random, text: str) -> str:
    """A block that never reached the disk."""
    start = _place(chance, text)
    return text[:start] + "\0" * chance.choice([1, 16, 512]) + text[start + 16 :]


def _flipped(chance: random.Random, text: str) -> bytes:
    data = bytearray(text.encode() or b"x")
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _lines_deleted(chance: random.Random, text: str) -> str:
    lines = _lines(text)
    start = chance.randrange(len(lines))
    del lines[start : start + chance.choice([1, 1, 1, 2, 5])]
    return "".join(lines)


def _lines_doubled(chance: random.Random, text: str) -> str:
    lines = _lines(text)
    start = chance.randrange(len(lines))
    return "".join(lines[: start + 1] + lines[start : start + chance.choice([1, 1, 3])] + lines[start + 1 :])


def _lines_swapped(chance: random.Random, text: str) -> str:
    lines = _lines(text)
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return "".join(lines)


def _syntax(chance: random.Random, text: str) -> str:
    for _ in range(chance.choice([1, 1, 1, 3])):
        place = _place(chance, text)
        text = text[:place] + chance.choice(SYNTAX) + text[place:]
    return text


def _value(chance: random.Random, text: str) -> str:
    """Another value behind a key, or as an item."""
    lines = _lines(text)
    number = chance.randrange(len(lines))
    before, mark, _ = lines[number].partition(": ")
    if not mark:
        before, mark, _ = lines[number].partition("- ")
    lines[number] = f"{before}{mark}{chance.choice(VALUES)}\n"
    return "".join(lines)


def _odd_character(chance: random.Random, text: str) -> str:
    place = _place(chance, text)
    return text[:place] + chance.choice(UNICODE) + text[place:]


def _nested(chance: random.Random, text: str) -> str:
    opening = chance.choice(["[", "{a: ", "- ", "? "])
    return text + "x: " * (opening[0] in "[{") + opening * chance.choice([50, 99, 101, 1001, 20_000]) + "\n"


def _bombed(chance: random.Random, text: str) -> str:
    bomb = chance.choice([ALIASES, MERGES])
    return bomb + text if chance.random() < 0.5 else text + bomb


def _ends_of_lines(chance: random.Random, text: str) -> str:
    return text.replace("\n", chance.choice(["\r\n", "\r", "\u2028", "\u0085"]))


def _marked(chance: random.Random, text: str) -> str:
    return "\ufeff" * chance.choice([1, 2]) + text


def _tabs(chance: random.Random, text: str) -> str:
    return text.replace("  ", "\t", chance.choice([1, 3, -1]))


def _encoded(chance: random.Random, text: str) -> bytes:
    return text.encode(chance.choice(ENCODINGS), "replace")


def _replaced(chance: random.Random, text: str) -> str | bytes:
    """By something that is no such file at all."""
    if chance.random() < 0.2:
        return chance.randbytes(chance.choice([1, 100, 5000]))
    return chance.choice(["", "\n", "# nothing\n", "null\n", "[]", "{}", "watchlist: []\n", "- a\n", "x"])


def _entries_shuffled(chance: random.Random, text: str) -> str:
    """A good edit, mostly: another order of the one-line entries."""
    lines = _lines(text)
    places = [place for place, line in enumerate(lines) if _is_entry(line)]
    for place, line in zip(places, chance.sample([lines[place] for place in places], len(places)), strict=True):
        lines[place] = line
    return "".join(lines)


def _entries_removed(chance: random.Random, text: str) -> str:
    """A good edit, mostly: now and then it removes so much that it is held back."""
    kept = chance.choice([0.0, 0.1, 0.3, 0.7, 0.9])
    return "".join(line for line in _lines(text) if not _is_entry(line) or chance.random() < kept)


def _entries_added(chance: random.Random, text: str) -> str:
    """A good edit, mostly."""
    lines = _lines(text)
    places = [place for place, line in enumerate(lines) if _is_entry(line)] or [0]
    place = chance.choice(places)
    indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
    new = [f"{indent}- {{id: new{chance.randrange(300)}, api: here}}\n" for _ in range(chance.choice([1, 1, 5]))]
    return "".join(lines[:place] + new + lines[place:])


def _retimed(chance: random.Random, text: str) -> str:
    """A good edit of the main file."""
    return text.replace("50m", chance.choice(["40m", "49m", "3000", "51m"]))


def _commented(chance: random.Random, text: str) -> str:
    """A good edit that changes nothing."""
    lines = _lines(text)
    lines.insert(chance.randrange(len(lines) + 1), f"# {chance.random()}\n")
    return "".join(lines)


DAMAGES: tuple[Damage, ...] = (
    _cut_off, _cut_off, _cut_off, _cut_bytes_off, _beheaded, _holed, _flipped, _flipped, _lines_deleted, _lines_deleted,
    _lines_doubled, _lines_swapped, _syntax, _syntax, _value, _value, _odd_character, _nested, _bombed, _ends_of_lines,
    _marked, _tabs, _encoded, _replaced, _entries_shuffled, _entries_removed, _entries_removed, _entries_added,
    _retimed, _commented,
)  # fmt: skip


def damaged(chance: random.Random, text: str) -> bytes:
    """The file with one piece of damage, or with two."""
    found = chance.choice(DAMAGES)(chance, text)
    if isinstance(found, str) and chance.random() < 0.15:
        found = chance.choice(DAMAGES)(chance, found)
    return found if isinstance(found, bytes) else found.encode("utf-8", "surrogatepass")
