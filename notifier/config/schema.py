"""The keys of the file, their defaults and what they do. The only module that knows pydantic.

A model is a level of the file and its fields are the keys there. Each kind of value is read by one function of
`values`, which says in our words what is allowed; `check` turns pydantic's errors into problems at places in the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, ValidationInfo
from pydantic import WithJsonSchema as Described
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import ErrorDetails, core_schema

from notifier.config import values
from notifier.config.values import NotTextError, WrongValueError
from notifier.config.wording import did_you_mean, either
from notifier.model import ALL_EVENTS, EVENT_NAMES, WATCH_EVENTS, Event, FirstSight, Secret

UNRESOLVED: Final = object()
"""Stands where a reference to a secret brought nothing, which has been reported already."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the values of a file are checked against: what stands elsewhere in it."""

    apis: tuple[str, ...]
    channels: tuple[str, ...]
    accounts: Mapping[str, tuple[str, ...]]
    """By base_url, whose predictions an entry's URL can name: the APIs here that have it."""
    folder: Path
    """Where a relative store starts."""
    keeps: bool
    """Whether there is a place for files: a key `outputs`, right or wrong."""


# --- kinds of values -------------------------------------------------------------------------------------------------

_Number = TypeVar("_Number", int, float)


def _bounded(read: Callable[[object], _Number], least: object, most: object) -> PlainValidator:
    """Reads a value and keeps it within two others, which are written as in the file."""
    low, high = read(least), read(most)

    def within(value: object) -> _Number:
        try:
            number = read(value)
        except WrongValueError as error:
            raise WrongValueError(f"{error}, from {least} to {most}") from None
        if not low <= number <= high:
            raise WrongValueError(f"must be from {least} to {most}")
        return number

    return PlainValidator(within)


def _base_url(value: object, info: ValidationInfo) -> str | None:
    if value is UNRESOLVED:
        return None
    url = values.base_url(value)
    # Where `insecure` itself is wrong, that is the mistake to mend first.
    if values.is_exposed(url) and not info.data.get("insecure", True):
        raise WrongValueError(
            "must be https, as plain http would send the token readable by anyone on the way; "
            "`insecure: true` on this API allows it"
        )
    return url


def _prediction(value: object, info: ValidationInfo) -> tuple[str | None, str]:
    base_url, prediction = values.prediction(value)
    if base_url is not None and base_url not in _context(info).accounts:
        raise WrongValueError("must be an id, or the prediction's URL on an API that is named here")
    return base_url, prediction


def _store(value: object, info: ValidationInfo) -> str | None:
    return None if value is UNRESOLVED else values.store_url(value, _context(info).folder)


def _output_directory(value: object) -> str:
    return "" if value is UNRESOLVED else values.output_directory(value)


def _save(value: object, info: ValidationInfo) -> bool:
    if (save := values.truth(value)) and not _context(info).keeps:
        raise WrongValueError(
            "needs a place for the files; write, say, `outputs: {directory: /var/lib/notifier/outputs}`"
        )
    return save


def _secret(read: Callable[[str], Secret]) -> PlainValidator:
    return PlainValidator(lambda value: Secret("") if value is UNRESOLVED else read(values.text_or_empty(value)))


def _context(info: ValidationInfo) -> Context:
    assert isinstance(info.context, Context)  # noqa: S101 - for the type checker; `check` is the only caller
    return info.context


def _duration(least: str, most: str) -> Any:
    return _bounded(values.parse_duration, least, most)


_DURATION = Described({"type": ["string", "number"], "pattern": f"^(?:{values.DURATION_PATTERN})$", "minimum": 0})
_RATE = Described({"type": "string", "pattern": f"^{values.RATE_PATTERN}$"})
_SIZE = Described({"type": ["string", "integer"], "pattern": f"^{values.SIZE_PATTERN}$", "minimum": 0})
_WHOLE = Described({"type": "integer", "minimum": 1, "maximum": 100_000})
_TEXT = Described({"type": "string", "minLength": 1})
_ID = Described({"type": "string", "pattern": f"^(?:{values.ID_PATTERN}|https?://.+)$"})

Text = Annotated[str, PlainValidator(values.text), _TEXT]
Line = Annotated[str, PlainValidator(values.line_of_text), _TEXT]
Name = Annotated[str, PlainValidator(values.name), _TEXT]
Patience = Annotated[float, _duration("0s", "7d"), _DURATION]
ApiName = Annotated[
    str, PlainValidator(lambda value, info: values.one_of(value, _context(info).apis, "an API's name: ")), _TEXT
]
ChannelName = Annotated[
    str, PlainValidator(lambda value, info: values.one_of(value, _context(info).channels, "a channel's name: ")), _TEXT
]
EventName = Annotated[
    str,
    PlainValidator(lambda value: values.one_of(value, EVENT_NAMES, "an event: ")),
    Described({"enum": list(EVENT_NAMES)}),
]
Events = Annotated[frozenset[EventName], Field(min_length=1)]
Once = AfterValidator(lambda names: tuple(dict.fromkeys(names)))
ChannelNames = Annotated[tuple[ChannelName, ...], Once]
SomeChannelNames = Annotated[tuple[ChannelName, ...], Field(min_length=1), Once]
First = Annotated[
    FirstSight,
    PlainValidator(lambda value: FirstSight(values.one_of(value, FirstSight))),
    Described({"enum": [word.value for word in FirstSight]}),
]
Waits = Annotated[
    tuple[Annotated[float, _duration("0.01s", "7d"), _DURATION], ...], Field(min_length=1, max_length=100)
]
Interval = Annotated[float, _duration("1s", "50m"), _DURATION]
StuckAfter = Annotated[float, _duration("0.1s", "3650d"), _DURATION]
WatchFor = Annotated[float, _duration("0.1s", "3650d"), _DURATION]
Truth = Annotated[bool, PlainValidator(values.truth), Described({"type": "boolean"})]
Save = Annotated[bool, PlainValidator(_save), Described({"type": "boolean"})]


# --- the levels of the file ------------------------------------------------------------------------------------------


class Keys(BaseModel):
    """The keys of one level. No key is ever null: an absent one is None here, one without a value a mistake."""

    model_config = ConfigDict(extra="forbid", validate_default=True, hide_input_in_errors=True)


def _key(description: str, default: object = ...) -> Any:
    """A key, with its default as it would be written in the file; one without a default must be there."""
    return Field(default, description=description)


class ApiKeys(Keys):
    """An account: where its predictions are asked for, with what token, and how hard."""

    token: Annotated[Secret, _secret(values.token), _TEXT] = _key(
        "The account's API token. Best a reference: ${NAME}, ${file:/path} or ${credential:name}."
    )
    insecure: Truth = _key(
        "Allow plain http to another machine: the token can be read by anyone on the way.", default=False
    )
    base_url: Annotated[str, PlainValidator(_base_url), _TEXT] | None = _key(
        "What stands before /predictions/ID. Known for accounts named cometapi and replicate.", None
    )
    timeout: Annotated[float, _duration("1s", "10m"), _DURATION] = _key(
        "One poll, first byte to last, may take this long in all.", "90s"
    )
    concurrency: Annotated[int, _bounded(values.whole_number, 1, 100_000), _WHOLE] = _key(
        "So many polls are in flight at most.", 256
    )
    rate: Annotated[float, _bounded(values.parse_rate, "1/h", "100000/s"), _RATE] = _key(
        "So many polls are started at most; where the watchlist asks for more, all slow down alike.", "10/s"
    )
    max_body: Annotated[int, _bounded(values.parse_size, "1KiB", "256MiB"), _SIZE] = _key(
        "A longer answer, counted after decompression, is a failed poll.", "16MiB"
    )
    unreachable_after: Patience = _key("A watch is unreachable when its polls fail for so long.", "2m")
    lost_after: Patience = _key("A watch is lost when the API does not know its id for so long.", "2m")
    incident_after: Patience = _key("The operators hear when every poll fails for so long.", "2m")
    settle: Patience = _key("After the final status, output is waited for this long.", "10m")


class ChannelKeys(Keys):
    """A channel: where notices go, and which."""

    url: Annotated[Secret, _secret(values.channel_url), _TEXT] = _key(
        "Any Apprise URL. Best with a reference for what is secret in it: ${NAME} or ${credential:name}."
    )
    events: Events = _key("Only these reach the channel, out of what a watch sends it.", [ALL_EVENTS])
    rate: Annotated[float, _bounded(values.parse_rate, "1/h", "1000/s"), _RATE] = _key(
        "So many messages are sent at most.", "1/s"
    )
    digest_over: Annotated[int, _bounded(values.whole_number, 1, 100_000), _WHOLE] = _key(
        "When more notices than this wait, one message lists them.", 10
    )
    give_up_after: Annotated[float, _duration("1s", "365d"), _DURATION] = _key(
        "A delivery is tried for this long, then kept for `notifier resend`.", "3d"
    )
    retry_after: Waits = _key(
        "The waits between attempts; the last one repeats.", ["5s", "30s", "2m", "10m", "30m", "1h"]
    )
    incident_after: Patience = _key("The operators hear when the channel fails for so long.", "10m")
    attach: Annotated[bool, PlainValidator(values.truth), Described({"type": "boolean"})] = _key(
        "Messages carry the files of outputs that were kept, where the service takes files.", default=False
    )
    attach_max: Annotated[int, _bounded(values.parse_size, "1KiB", "50MiB"), _SIZE] = _key(
        "The files of one message have at most so many bytes together; those that do not fit are only named.", "5MiB"
    )
    title: Text | None = _key("A Jinja2 template in place of the built-in title.", None)
    body: Text | None = _key("A Jinja2 template in place of the built-in text.", None)


class DefaultKeys(Keys):
    """How watches are watched whose entry does not say otherwise."""

    interval: Interval = _key("Each prediction is asked for so often, from start to start.", "30s")
    channels: SomeChannelNames | None = _key("Notices go to these channels; unset: to every one.", None)
    events: Events = _key("These are told.", [word for word in WATCH_EVENTS if word != Event.SAVED])
    first_sight: First = _key("A prediction already over when first seen: tell it, or keep quiet.", "tell")
    stuck_after: StuckAfter = _key("The same unfinished status for so long is told as stuck.", "30m")
    watch_for: WatchFor = _key("A prediction not over by then is watched no longer, and said so.", "7d")
    save: Save = _key("Keep the files of its output, where `outputs` says.", default=False)


class EntryKeys(Keys):
    """An entry of the watchlist: a prediction, and any key of `defaults` that is different for it."""

    # Nothing here has a default that would need reading, and there are very many entries.
    model_config = ConfigDict(validate_default=False)

    id: Annotated[tuple[str | None, str], PlainValidator(_prediction), _ID] = _key(
        "The prediction's id, or its URL on the API."
    )
    name: Line | None = _key("What messages call it; unset: its id.", None)
    api: ApiName | None = _key("Whose prediction it is; needed only where there are several APIs.", None)
    interval: Interval | None = _key("Ask for it so often.", None)
    channels: SomeChannelNames | None = _key("Notices go to these channels.", None)
    events: Events | None = _key("These are told.", None)
    first_sight: First | None = _key("If it is over when first seen: tell it, or keep quiet.", None)
    stuck_after: StuckAfter | None = _key("The same unfinished status for so long is told as stuck.", None)
    watch_for: WatchFor | None = _key("Not over by then, it is watched no longer, and said so.", None)
    save: Save | None = _key("Keep the files of its output, where `outputs` says.", None)


class OutputsKeys(Keys):
    """Where the files of outputs are kept, and which."""

    directory: Annotated[str, PlainValidator(_output_directory), _TEXT] = _key(
        "An absolute path, or an object store: s3://bucket/prefix, gs://... or az://..."
    )
    max_size: Annotated[int, _bounded(values.parse_size, "1KiB", "1TiB"), _SIZE] = _key(
        "A file that is larger is not kept.", "2GiB"
    )
    keep: Annotated[float, _duration("1h", "3650d"), _DURATION] | None = _key(
        "A file is deleted after this time; unset: never.", None
    )
    hosts: tuple[Annotated[str, PlainValidator(values.file_host), _TEXT], ...] = _key(
        "Files come from these hosts and their subdomains only; none named: from any.", []
    )
    allow_private: Truth = _key("Let files come from private addresses too, and over plain http.", default=False)
    min_free: Annotated[int, _bounded(values.parse_size, "0B", "100TiB"), _SIZE] = _key(
        "Nothing more is kept when the disk has less free than this.", "1GiB"
    )


class HttpKeys(Keys):
    """Where the daemon can be asked how it fares."""

    listen: Annotated[tuple[str, int], PlainValidator(values.listen), _TEXT] = _key(
        "The address and port of /metrics, /healthz and /api/status, such as 127.0.0.1:9464."
    )
    hosts: tuple[Annotated[str, PlainValidator(values.host_name), _TEXT], ...] = _key(
        "Names that this machine may be asked by, beside addresses and localhost.", []
    )


class HeartbeatKeys(Keys):
    """An outside dead-man's switch."""

    url: Annotated[Secret, _secret(values.heartbeat_url), _TEXT] = _key(
        "Asked for (GET) while all is well; whoever answers there tells when that ends. Best with a reference."
    )
    every: Annotated[float, _duration("10s", "1d"), _DURATION] = _key("Asked for so often.", "1m")


class FileKeys(Keys):
    """The whole file."""

    # The watchlist's own entries do not come here: `watchlist` takes them one by one, like those of included files.
    apis: Annotated[dict[Name, ApiKeys], Field(min_length=1)] = _key(
        "The accounts whose predictions are polled, by name."
    )
    channels: Annotated[dict[Name, ChannelKeys], Field(min_length=1)] = _key("Where notices go, by name.")
    operators: ChannelNames | None = _key(
        "These channels hear of incidents: trouble of a whole API, of a channel or of the daemon.", None
    )
    defaults: DefaultKeys = _key("For every watch that does not say otherwise.", {})
    watchlist: list[Annotated[str, _ID] | EntryKeys] | None = _key(
        "The predictions to watch: an id each, or an object with an id and more.", None
    )
    include: (
        Annotated[
            tuple[Text, ...],
            Described({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
        ]
        | None
    ) = _key("Patterns of files, relative to this one, that hold lists of entries too.", None)
    http: HttpKeys | None = _key("Where the daemon answers monitoring; unset: nowhere.", None)
    heartbeat: HeartbeatKeys | None = _key("An outside dead-man's switch that the daemon keeps from going off.", None)
    outputs: OutputsKeys | None = _key("Where the files of outputs are kept; unset: nowhere.", None)
    store: Annotated[str, PlainValidator(_store), _TEXT] | None = _key(
        "Where it is kept what was seen and told: an SQLite file, as sqlite:////path/to/file.db.", None
    )


# --- checking --------------------------------------------------------------------------------------------------------


class At(Enum):
    """Which place of a problem's path is meant."""

    VALUE = auto()
    KEY = auto()
    PARENT = auto()


class Shown(Enum):
    """What a problem's message quotes of what was found."""

    VALUE = auto()
    KIND = auto()
    """Only whether it is text, a list or whatever: the wrong shape may be a secret in the wrong place."""
    NOTHING = auto()


class Problem(NamedTuple):
    """A mistake in the data: where, what is wrong, and what to quote."""

    path: tuple[str | int, ...]
    at: At
    text: str
    shown: Shown
    wants_text: bool = False
    """Text was wanted; quotes help where YAML made something else of it."""


_Model = TypeVar("_Model", bound=Keys)
_LEVELS: dict[str | int, type[Keys]] = {
    "apis": ApiKeys,
    "channels": ChannelKeys,
    "defaults": DefaultKeys,
    "http": HttpKeys,
    "heartbeat": HeartbeatKeys,
    "outputs": OutputsKeys,
}
_LISTS = ("tuple_type", "list_type", "frozen_set_type")


def check(model: type[_Model], data: object, context: Context) -> _Model | list[Problem]:
    """The values of one level and those below it, or everything that is wrong with them."""
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    # Pydantic counts only right items, and says of a list of one wrong item that it is too short as well.
    lists = {details["loc"][:-1] for details in found}
    return [
        _problem(model, details) for details in found if details["type"] != "too_short" or details["loc"] not in lists
    ]


def _problem(model: type[Keys], details: ErrorDetails) -> Problem:
    path, kind = details["loc"], details["type"]
    if kind == "value_error":
        error = details["ctx"]["error"]
        at = At.VALUE
        if path[-1] == "[key]":
            path, at = path[:-1], At.KEY
        not_text = isinstance(error, NotTextError)
        shown = Shown.VALUE
        if path[-1] in ("token", "url"):
            shown = Shown.KIND if not_text else Shown.NOTHING
        return Problem(path, at, str(error), shown, wants_text=not_text)
    if kind == "missing":
        return Problem(path, At.PARENT, "is missing", Shown.NOTHING)
    if kind == "extra_forbidden":
        allowed = tuple((_LEVELS.get(path[0], model) if len(path) > 1 else model).model_fields)
        nearest = did_you_mean(str(path[-1]), allowed)
        return Problem(path, At.KEY, f"unknown key{nearest} (allowed here: {either(allowed)})", Shown.NOTHING)
    if kind in ("too_short", "too_long"):
        text = "must not be empty" if kind == "too_short" else f"must have at most {details['ctx']['max_length']} items"
        return Problem(path, At.VALUE, text, Shown.NOTHING)
    return Problem(path, At.VALUE, f"must be a {'list' if kind in _LISTS else 'mapping'}", Shown.KIND)


# --- for editors -----------------------------------------------------------------------------------------------------


class _Generator(GenerateJsonSchema):
    """Pydantic's generator, without the nulls that stand for absent keys, and without titles that repeat names."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        described = super().default_schema(schema)
        if "default" in described and described["default"] is None:
            del described["default"]
        return described

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def json_schema() -> dict[str, Any]:
    """The file's JSON Schema (draft 2020-12), for editors: each key with its description."""
    schema = FileKeys.model_json_schema(schema_generator=_Generator)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "The configuration of notifier",
    }
