"""Channel URLs: can Apprise read one, whom does it reach, and one URL for each of those."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from notifier.channels import plugins
from notifier.model import Address, Channel, Secret

if TYPE_CHECKING:
    from apprise import NotifyBase

TITLE_LIMIT = 200
BODY_LIMIT = 8000
MAIL_LIMIT = 20_000
SLACK_LIMIT = 3000
SLACK_BLOCKS_LIMIT = 2400
"""Characters: a section block takes 3000, escapes included (docs.slack.dev, block kit)."""

_SLACK_CHANNEL = re.compile(r"[+#@]?[A-Z0-9_-]{1,32}(:[0-9.]+)?", re.IGNORECASE)
_MAIL = ("mailto", "mailtos")
_HARMLESS = frozenset(
    {
        "blocks", "cto", "footer", "format", "image", "method", "mode", "optional", "overflow", "redirect", "retry",
        "rto", "smtp", "store", "timestamp", "tz", "verify", "wait",
    }
)  # fmt: skip
"""Parameters whose values may be shown."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address of a channel. `masked` is its recipient for people, "" where the channel is one address."""

    address: Address
    masked: str
    url: Secret
    title_limit: int = TITLE_LIMIT
    body_limit: int = BODY_LIMIT
    """Characters of a title and a body that the channel takes."""


def targets(channel: Channel) -> tuple[Target, ...]:
    """The channel's addresses: one for each recipient of a mail or Slack URL, else one for the whole URL.

    A recipient's `Address.recipient` is made from it alone, so it stays the same whatever else changes in the URL, and
    can be stored: the masked recipient and a short hash. A URL that cannot be split without changing its meaning, or
    that Apprise cannot read, is one address.
    """
    url = channel.url.reveal().strip()
    parsed = plugins.parse(url)
    plugin = plugins.build(parsed) if parsed else None
    if not parsed or not plugin:
        return (Target(Address(channel.name, ""), "", channel.url),)
    limits = _limits(plugin)
    split = _split(url, parsed, plugin)
    return tuple(
        Target(Address(channel.name, recipient_key(who)), mask(who), Secret(its_url), *limits) if who
        else Target(Address(channel.name, ""), "", channel.url, *limits)
        for who, its_url in split or [("", url)]
    )  # fmt: skip


def recipient_key(recipient: str) -> str:
    """What a recipient is stored as: `o…l@example.com~5f3c9a01`."""
    return f"{mask(recipient)}~{hashlib.sha256(recipient.lower().encode()).hexdigest()[:8]}"


def masked(recipient: str) -> str:
    """A stored recipient for people: `o…l@example.com`."""
    return recipient.rpartition("~")[0] if "~" in recipient else recipient


def mask(recipient: str) -> str:
    """Enough of a recipient to know it again: `o…l@example.com`, `#gen…`."""
    local, at, domain = recipient.partition("@")
    if at and local:
        return f"{local[0]}…{local[-1] if len(local) > 2 else ''}@{domain}"
    sign = recipient[:1] if recipient[:1] in "#@+" else ""
    rest = recipient.removeprefix(sign)
    return f"{sign}{rest[:3] if len(rest) > 4 else rest[:1]}…"


def _limits(plugin: NotifyBase) -> tuple[int, int]:
    """Characters of title and body. Services that count what escaping adds get some room for it."""
    if plugin.schema == "slack":
        return (140, SLACK_BLOCKS_LIMIT) if getattr(plugin, "use_blocks", False) else (TITLE_LIMIT, SLACK_LIMIT)
    most = plugin.body_maxlen or 32768
    body = most if most <= 500 else min(int(most * 0.85), MAIL_LIMIT if plugin.schema in _MAIL else BODY_LIMIT)
    title = min(TITLE_LIMIT, plugin.title_maxlen or body // 3)
    shares = plugin.title_maxlen <= 0 or plugin.overflow_amalgamate_title
    return title, body - title - 2 if shares else body


# --- one URL per recipient --------------------------------------------------------------------------------------------


def _split(url: str, parsed: plugins.Parsed, plugin: NotifyBase) -> list[tuple[str, str]] | None:
    """(recipient, URL that reaches it alone) for each; None where the URL has no recipients or cannot be split."""
    if parsed["schema"] in _MAIL:
        base, kept = _without(url, ("to", "cc", "bcc"))
        split = [
            (who, _with_query(base, [*kept, f"to={quote(_mailbox(who, name))}"]))
            for who, name in _mail_recipients(plugin).items()
        ]
    elif parsed["schema"] == "slack":
        base, kept = _without(url if plugins.scheme(url) == "slack" else _slack_url(url, parsed), ("to",))
        base += "".join(f"/{quote(entry, safe='')}" for entry in _slack_tokens(parsed))
        split = [
            (who, _with_query(f"{base}/{quote(given, safe='')}", kept))
            for who, given in _slack_recipients(plugin).items()
        ]
    else:
        return None
    return split if split and all(_reaches_only(who, its, parsed, plugin) for who, its in split) else None


def _mail_recipients(plugin: Any) -> dict[str, str]:
    """Every mailbox of a mail URL with its name, whether it is a to, cc or bcc."""
    found = {address: name or "" for name, address in plugin.targets}
    for address in (*sorted(plugin.cc), *sorted(plugin.bcc)):
        found.setdefault(address, plugin.names.get(address) or "")
    return found


def _mailbox(address: str, name: str) -> str:
    """As Apprise reads it back: it takes a name as it stands, in quotes where it holds a list's delimiters."""
    if not name or '"' in name:
        return address
    return f'"{name}" <{address}>' if any(c in name for c in ",;@") else f"{name} <{address}>"


def _slack_recipients(plugin: Any) -> dict[str, str]:
    """Every channel of a Slack URL in the one form it is known by (`#general`), and as it was given."""
    given = [channel for channel in plugin.channels if channel]
    return {channel if channel[0] in "#@+" or "@" in channel else f"#{channel}": channel for channel in given}


def _slack_url(url: str, parsed: plugins.Parsed) -> str:
    """The Apprise form of a webhook's web address (https://hooks.slack.com/services/...)."""
    _, _, query = url.partition("?")
    return f"slack://{parsed['host']}{parsed['fullpath'] or ''}?{query}"


def _slack_tokens(parsed: plugins.Parsed) -> list[str]:
    """The entries of the path that are not channels: a webhook's second and third token."""
    entries = [unquote(entry) for entry in (parsed["fullpath"] or "").split("/") if entry]
    return [] if unquote(parsed["host"]).startswith("xo") else entries[:2]


def _without(url: str, names: tuple[str, ...]) -> tuple[str, list[str]]:
    """The URL up to its host, and its other parameters as they were written."""
    front, _, query = url.partition("?")
    head, _, rest = front.partition("://")
    authority = rest.replace("\\", "/").partition("/")[0]
    return f"{head}://{authority}", [pair for pair in re.split("[&;]", query) if pair and _parameter(pair) not in names]


def _with_query(base: str, pairs: list[str]) -> str:
    return f"{base}/?{'&'.join(pairs)}" if pairs else f"{base}/"


def _parameter(pair: str) -> str:
    return unquote(pair.partition("=")[0]).strip().lower()


def _reaches_only(who: str, url: str, parsed: plugins.Parsed, plugin: Any) -> bool:
    """Whether the plugin reads this URL as the whole one but for its recipients, of which it has only this one."""
    again = plugins.parse(url)
    alone: Any = plugins.build(again) if again else None
    if not again or not alone:
        return False
    where = {"targets", "cc", "bcc", "qsd", "fullpath", "path", "query", "url", "tag", "asset"}
    if {k: v for k, v in again.items() if k not in where} != {k: v for k, v in parsed.items() if k not in where}:
        return False
    if parsed["schema"] == "slack":
        return list(_slack_recipients(alone)) == [who]
    same_sender = (alone.from_addr, alone.smtp_host, alone.user) == (plugin.from_addr, plugin.smtp_host, plugin.user)
    return same_sender and list(_mail_recipients(alone)) == [who] and len(alone.targets) == 1


# --- checking ---------------------------------------------------------------------------------------------------------


def inspect(url: Secret) -> tuple[str | None, str | None]:
    """(why the URL cannot be used, what to know about it), each without any part of it that might be secret."""
    given = url.reveal().strip()
    found = plugins.addresses(given)
    if len(found) > 1:
        return f"it holds {len(found)} addresses: give each one a channel of its own", None
    problem = _scheme_problem(given)
    if problem:
        return problem, None
    said: list[plugins.Record] = []
    with plugins.records(said.append):
        parsed = plugins.parse(given)
        plugin = plugins.build(parsed) if parsed else None
    if not parsed or not plugin:
        return _unreadable(plugins.scheme(given) or ""), None
    problem = _recipient_problem(parsed, plugin, said)
    return (problem, None) if problem else (None, "; ".join(_remarks(given, parsed, plugin)) or None)


def no_files(url: Secret) -> str | None:
    """Why messages to this URL carry no files, None if they can. One that cannot be used is `inspect`'s to report."""
    parsed = plugins.parse(url.reveal())
    plugin = plugins.build(parsed) if parsed else None
    if plugin is None or plugins.takes_files(plugin):
        return None
    if plugins.is_slack_webhook(plugin):
        return "a Slack webhook takes no files; a bot token does"
    return "this service takes no files"


def _scheme_problem(given: str) -> str | None:
    name = plugins.scheme(given)
    if name is None:
        return "it is not an Apprise URL: it does not begin with a scheme such as slack:// or mailtos://"
    if name in plugins.DESKTOP:
        return f"{name}:// needs a desktop or a device at this machine, which a daemon does not have"
    if name in plugins.schemes():
        plugin = plugins.plugin_class(name)
        if plugin is None or not plugin.enabled:
            packages = (plugin.requirements.get("packages_required") if plugin else None) or "something"
            needed = packages if isinstance(packages, str) else ", ".join(map(str, packages))
            return f"{name}:// needs {needed}, which is not installed"
        return None
    if name in ("http", "https"):
        native = plugins.parse(given) is not None
        return (
            None if native else "Apprise knows no service at this web address; json:// posts to any (jsons:// by TLS)"
        )
    near = difflib.get_close_matches(name, plugins.schemes() - plugins.DESKTOP, n=1)
    meant = f"; did you mean {near[0]}://?" if near else ""
    return f"Apprise knows no {name}://{meant}"


def _unreadable(name: str) -> str:
    plugin = plugins.plugin_class(name)
    if plugin is None:
        return "Apprise cannot read it"
    templates: tuple[str, ...] = plugin.templates
    forms = ", ".join(sorted((form.replace("{schema}", name) for form in templates), key=len)[:3])
    return f"Apprise cannot read this {name}:// URL; it looks like {forms} ({plugin.setup_url})"


def _recipient_problem(parsed: plugins.Parsed, plugin: Any, said: list[plugins.Record]) -> str | None:
    lists = [*parsed["targets"], *(parsed.get(name) for name in ("cc", "bcc"))] if parsed["schema"] in _MAIL else []
    if any(record.message.startswith("Dropped invalid") for record in said) or not all(
        map(_only_mailboxes, filter(None, lists))
    ):
        return "one of its recipients is not valid"
    if parsed["schema"] == "slack":
        for channel in _slack_recipients(plugin):
            person = "@" in channel[1:]
            if person and plugin.mode != "bot":
                return "a Slack webhook cannot write to people by their e-mail address; a bot token can"
            if not person and not _SLACK_CHANNEL.fullmatch(channel):
                return "one of its Slack channels is not valid"
    return None


def _only_mailboxes(text: str) -> bool:
    """Whether a list of recipients holds nothing else: Apprise passes over what is none."""
    for mailbox in plugins.mailboxes(text):
        text = text.replace(mailbox, "", 1)
    return not text.strip(" ,;\t\r\n")


def _remarks(given: str, parsed: plugins.Parsed, plugin: Any) -> Iterator[str]:
    """What is worth a warning."""
    if not plugin.verify_certificate:
        yield "with verify=no anybody on the way can read and change what is sent"
    if parsed["schema"] in _MAIL and plugin.secure_mode == "insecure" and plugin.password and not _is_here(plugin):
        yield "it sends the password unencrypted; mailtos:// does not"
    ours = [name for name in plugins.OURS if name in parsed["qsd"]]
    if ours:
        yield f"{', '.join(ours)} in it has no effect: the daemon sees to that itself"
    if _split(given, parsed, plugin) is None and len(plugin) > 1:
        yield "it has several recipients, and if one of them fails a retry repeats the message for all"


def _is_here(plugin: Any) -> bool:
    return plugin.smtp_host in ("localhost", "::1", "[::1]") or plugin.smtp_host.startswith("127.")


# --- secrets ----------------------------------------------------------------------------------------------------------


def secret_parts(url: Secret) -> tuple[str, ...]:
    """Every piece of a URL that might be a secret or a person's address, longest first. A host's name is none."""
    text = url.reveal().strip()
    front, _, query = text.partition("?")
    _, _, rest = front.partition("://")
    authority, _, path = rest.partition("/")
    login, _, host = authority.rpartition("@")
    bare = re.sub(r":\d*$", "", host)
    pieces = [login, *login.split(":"), path, *path.split("/"), *([] if "." in bare or bare == "localhost" else [bare])]
    for pair in re.split("[&;]", query):
        if _parameter(pair) not in _HARMLESS:
            value = pair.partition("=")[2]
            pieces += [value, *re.split(r"[,\s<>]+", unquote(value))]
    whole = {text, front, *pieces, *map(unquote, pieces)}
    return tuple(sorted((piece for piece in whole if len(piece) >= 4), key=len, reverse=True))


def password(url: Secret) -> str:
    """The password in a URL's login, decoded; "" without one."""
    login = url.reveal().strip().partition("://")[2].partition("?")[0].partition("/")[0].rpartition("@")[0]
    return unquote(login.partition(":")[2])
