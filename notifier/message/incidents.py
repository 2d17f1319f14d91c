"""The words of incidents: trouble of an account, a channel, the configuration, the store or the kept files."""

from __future__ import annotations

from collections.abc import Sequence

import humanize

from notifier.message import values

# What an incident is about, as its notice names it: its kind, then what it is called.
_BEGAN = {
    "account": ("{who} cannot be polled.", "It is asked now and then until it answers; then you are told."),
    "channel": ("{who} takes no messages.", "It is tried again and again until it does; then you are told."),
    "configuration": ("The configuration was changed and cannot be used: the last good one stays in force.", ""),
    "network": ("This machine reaches none of its accounts.", "It is tried now and then; then you are told."),
    "store": ("{who} cannot be written.", "What changes meanwhile is told when it can be."),
    "outputs": (
        "{who} cannot be kept.",
        "They are tried for as long as the provider has them; you are told when it works.",
    ),
}
_OVER = {
    "account": "{who} can be polled again",
    "channel": "{who} takes messages again",
    "configuration": "The configuration is in order again",
    "network": "This machine reaches its accounts again",
    "store": "{who} can be written again",
    "outputs": "{who} can be kept again",
}
_HELD = {
    "account": ("1 watch {was}affected.", "{count} watches {were}affected."),
    "channel": ("1 notice {was}held back.", "{count} notices {were}held back."),
    "outputs": ("1 file {was}held up.", "{count} files {were}held up."),
}


def began(who: str, detail: Sequence[str], lasted: float | None, count: int | None) -> list[str]:
    """Sentences for the beginning; `who` is what it is about, `detail` the quoted reason."""
    first, later = _BEGAN.get(_kind(who), ("There is trouble with {who}.", ""))
    lasting = [f"It has been so for {values.duration(lasted)}."] if lasted is not None else []
    consequences = " ".join(filter(None, (*_held(who, count, over=False), later)))
    return [_sentence(first, who), *detail, *lasting, *([consequences] if consequences else [])]


def over(who: str, detail: Sequence[str], lasted: float | None, count: int | None) -> list[str]:
    """Sentences for the end."""
    after = f" after {values.duration(lasted)}" if lasted is not None else ""
    return [
        f"{_sentence(_OVER.get(_kind(who), '{who} works again'), who)}{after}.",
        *detail,
        *_held(who, count, over=True),
    ]


def _kind(who: str) -> str:
    return who.split(" ", 1)[0]


def _sentence(form: str, who: str) -> str:
    return form.replace("{who}", who[:1].upper() + who[1:] if form.startswith("{who}") else who)


def _held(who: str, count: int | None, *, over: bool) -> list[str]:
    if not count:
        return []
    one, many = _HELD.get(_kind(who), _HELD["account"])
    form = one if count == 1 else many
    return [form.format(count=humanize.intcomma(count), was="was " * over, were="were " * over)]
