"""Every kind of mistake in keys and values is found, at its place, in words that help."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config_files import (
    APIS,
    CHANNELS,
    EMPTY,
    HEAD,
    TWO_APIS,
    Case,
    api,
    channel,
    check_case,
    entry,
    item,
    load,
    mistakes,
    top,
)

DURATION = "must be a duration such as 30s, 5m or 1h30m"
INTERVAL = f"interval: {DURATION}, from 1s to 50m"
RATE = "must be a rate such as 10/s, 600/min or 100/h"
EVENT = (
    "must be an event: status, starting, processing, succeeded, failed, canceled, aborted, error, output, stuck, "
    "unreachable, recovered, lost, let_go, saved, save_failed or all"
)
NUMBER = "must be text, but YAML reads this as a number: put it in quotes"
DATE = "must be text, but YAML reads this as a date: put it in quotes"
BOOLEAN = "must be text, but YAML reads this as true or false: put it in quotes"
ID = "must be an id of at most 128 letters, digits, `_` and `-`, or the prediction's URL on its API"
CHANNEL = "must be a channel's name: team or oncall"
TWICE = "the same id stands on cometapi twice; the first is at config.yaml:7"
ADDRESS = "base_url: must be an address such as https://api.cometapi.com/replicate/v1"
HTTPS = "base_url: must be https, as plain http would send the token readable by anyone on the way; `insecure: true`"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


UNKNOWN_KEYS = [
    top("»operator: []", "operator: unknown key; did you mean 'operators'? (allowed here: apis, channels, operators, "),
    top("»watch list: []", "'watch list': unknown key; did you mean 'watchlist'?"),
    top('»"a\\nb": 1', "'a\\nb': unknown key (allowed here: "),
    top("defaults:\n  »zzz: 1", "defaults.zzz: unknown key (allowed here: interval, channels, events, first_sight, "),
    top("defaults: {interval: 5s, »ü: 1}", "defaults.ü: unknown key"),
    api("»tokn: x", "tokn: unknown key; did you mean 'token'? (allowed here: token, insecure, base_url, timeout, "),
    channel("»give-up-after: 1d", "give-up-after: unknown key; did you mean 'give_up_after'? (allowed here: url, "),
    entry("»intervall: 10s", "intervall: unknown key; did you mean 'interval'? (allowed here: id, name, api, interval"),
    entry("»token: t0ken", "token: unknown key"),
]
DUPLICATE_KEYS = [
    top("»apis: {}", "apis: this key stands here twice; the first is on line 1"),
    entry("interval: 10s\n    »interval: 20s", "interval: this key stands here twice; the first is on line 8"),
]
WRONG_VALUES = [
    entry("interval: »soon", f"{INTERVAL} (got 'soon')"),
    entry("interval: »51m", "interval: must be from 1s to 50m (got '51m')"),
    entry("interval: »0.5", "interval: must be from 1s to 50m (got 0.5)"),
    entry("interval: »-5", "interval: must be from 1s to 50m (got -5)"),
    entry("interval: »12:34:56", f"{INTERVAL} (got 12:34:56)"),
    entry("interval: »0x1f", f"{INTERVAL} (got 0x1f)"),
    entry("interval: »010", f"{INTERVAL} (got 010)"),
    entry("interval: ».inf", f"{INTERVAL} (got .inf)"),
    entry("interval: »yes", f"{INTERVAL} (got yes)"),
    entry("interval: »null", f"{INTERVAL} (got nothing)"),
    entry("interval:»", f"{INTERVAL} (got nothing)"),
    entry("interval: »[10s]", f"{INTERVAL} (got a list)"),
    entry("interval: »1h30", f"{INTERVAL} (got '1h30')"),
    entry("interval: »30s1m", f"{INTERVAL} (got '30s1m')"),
    entry("interval: »ü日本", f"{INTERVAL} (got 'ü日本')"),
    entry("{0}: »{0}".format("interval") + "x" * 100, f"{INTERVAL} (got 'interval{'x' * 49}…')"),
    entry("first_sight: »Tell", "first_sight: must be tell or quiet; did you mean 'tell'? (got 'Tell')"),
    entry("channels: »team", "channels: must be a list (got text)"),
    entry("channels: »[]", "channels: must not be empty"),
    entry("events: »[]", "events: must not be empty"),
    entry("name: »2024", f"name: {NUMBER} (got 2024)"),
    entry('name: »"a\\nb"', "name: must be one line of at most 200 characters (got 'a\\nb')"),
    entry("name: »''", "name: must not be empty (got '')"),
    api("timeout: »11m", "timeout: must be from 1s to 10m (got '11m')"),
    api("settle: »8d", "settle: must be from 0s to 7d (got '8d')"),
    api("concurrency: »0", "concurrency: must be from 1 to 100000 (got 0)"),
    api("concurrency: »'9'", "concurrency: must be a whole number, from 1 to 100000 (got '9')"),
    api("concurrency: »true", "concurrency: must be a whole number, from 1 to 100000 (got true)"),
    api("rate: »10", f"rate: {RATE}, from 1/h to 100000/s (got 10)"),
    api("rate: »0/s", "rate: must be from 1/h to 100000/s (got '0/s')"),
    api("max_body: »16 MBit", "max_body: must be a size such as 16MiB or 500KB, from 1KiB to 256MiB (got '16 MBit')"),
    api("max_body: »1GiB", "max_body: must be from 1KiB to 256MiB (got '1GiB')"),
    api("max_body: »" + "9" * 400, "max_body: must be a size such as 16MiB or 500KB, from 1KiB to 256MiB (got 999"),
    api("insecure: »maybe", "insecure: must be true or false (got 'maybe')"),
    channel("rate: »20", f"rate: {RATE}, from 1/h to 1000/s (got 20)"),
    channel("digest_over: »1.5", "digest_over: must be a whole number, from 1 to 100000 (got 1.5)"),
    channel("give_up_after: »0", "give_up_after: must be from 1s to 365d (got 0)"),
    channel("retry_after: »5s", "retry_after: must be a list (got text)"),
    channel("retry_after: »[" + "1," * 101 + "]", "retry_after: must have at most 100 items"),
    channel("attach: »'yes'", "attach: must be true or false (got 'yes')"),
    channel("attach_max: »500", "attach_max: must be from 1KiB to 50MiB (got 500)"),
    channel("attach_max: »51MiB", "attach_max: must be from 1KiB to 50MiB (got '51MiB')"),
    channel("attach_max: »big", "attach_max: must be a size such as 16MiB or 500KB, from 1KiB to 50MiB (got 'big')"),
    channel("title: »3", f"title: {NUMBER} (got 3)"),
    ("apis: »[]\n" + CHANNELS + "watchlist: []\n", "apis: must be a mapping (got a list)"),
    ("apis: »{}\n" + CHANNELS + "watchlist: []\n", "apis: must not be empty"),
    ("apis:\n  cometapi:»\n" + CHANNELS + "watchlist: []\n", "apis.cometapi: must be a mapping (got nothing)"),
    (APIS + "channels: »{}\nwatchlist: []\n", "channels: must not be empty"),
    (
        APIS + "channels: {»a b: {url: 'a://b'}}\nwatchlist: []\n",
        "channels.'a b': must be a name of at most 64 letters",
    ),
    (HEAD + "watchlist:»\n", "watchlist: must be a list (got nothing)"),
    (HEAD + "watchlist:\n  »id: abc\n", "watchlist: must be a list (got a mapping)"),
    top("include: »7", f"include: {NUMBER} (got 7)"),
    top("include: »{a: b}", "include: must be a list (got a mapping)"),
    top("defaults:»", "defaults: must be a mapping (got nothing)"),
    top("operators: »team", "operators: must be a list (got text)"),
    top("store: »postgresql://me:pw@host/db", "store: must be an SQLite file, as in sqlite:////var/lib/notifier/"),
    top("store: »'sqlite:///:memory:'", "store: must name a file, without options"),
    top("store: »sqlite:///a.db?mode=ro", "store: must name a file, without options"),
]
WRONG_ITEMS = [
    entry("events: [status, »faild]", f"events[1]: {EVENT}; did you mean 'failed'? (got 'faild')"),
    entry("events: [»{a: b}]", f"events[0]: {EVENT} (got a mapping)"),
    top("defaults:\n  events:\n    - all\n    - »Failed", f"defaults.events[1]: {EVENT}; did you mean 'failed'?"),
    channel("retry_after: [5s, »later]", f"retry_after[1]: {DURATION}, from 0.01s to 7d (got 'later')"),
    channel("retry_after: [»0]", "retry_after[0]: must be from 0.01s to 7d (got 0)"),
    top("include: [a.yaml, »7]", f"include[1]: {NUMBER} (got 7)"),
    item("»[abc]", ": must be a mapping (got a list)"),
]
UNDEFINED_NAMES = [
    top("operators: [team, »oncal]", f"operators[1]: {CHANNEL}; did you mean 'oncall'? (got 'oncal')"),
    top("defaults: {channels: [»x]}", f"defaults.channels[0]: {CHANNEL} (got 'x')"),
    entry("channels: [team, »taem]", f"channels[1]: {CHANNEL}; did you mean 'team'? (got 'taem')"),
    entry("api: »commetapi", "api: must be an API's name: cometapi; did you mean 'cometapi'? (got 'commetapi')"),
]
MISSING_KEYS = [
    ("»" + CHANNELS + "watchlist: []\n", "apis: is missing"),
    ("# Mine\n\n»" + APIS + "watchlist: []\n", "channels: is missing"),
    ("»" + HEAD, "watchlist: is missing; an empty one is written as []"),
    ("apis:\n  »cometapi: {timeout: 9s}\n" + CHANNELS + "watchlist: []\n", "apis.cometapi.token: is missing"),
    (
        "apis:\n  »mine: {token: x}\n" + CHANNELS + "watchlist: []\n",
        "apis.mine.base_url: is missing; it is known only ",
    ),
    (APIS + "channels:\n  »team: {rate: 1/s}\nwatchlist: []\n", "channels.team.url: is missing"),
    item("»name: Teaser", ".id: is missing"),
    (
        TWO_APIS + CHANNELS + "watchlist:\n  - »abc\n",
        "watchlist[0]: needs a key `api`, as there are several: cometapi or",
    ),
    (
        TWO_APIS + CHANNELS + "watchlist:\n  - »id: abc\n",
        "watchlist[0]: needs a key `api`, as there are several: comet",
    ),
]
IDS = [
    item("»1234567", f": {NUMBER} (got 1234567)"),
    item("»0123", f": {NUMBER} (got 0123)"),
    item("»12:34:56", f": {NUMBER} (got 12:34:56)"),
    item("»1_000", f": {NUMBER} (got 1_000)"),
    item("»0x1f", f": {NUMBER} (got 0x1f)"),
    item("»2024-01-01", f": {DATE} (got 2024-01-01)"),
    item("id: »yes", f".id: {BOOLEAN} (got yes)"),
    item("»null", ": must be text (got nothing)"),
    item("»../abc", f": {ID} (got '../abc')"),
    item("»a b", f": {ID} (got 'a b')"),
    item("id: »" + "a" * 129, f".id: {ID} (got 'aaa"),
    item("»https://api.example.com/v1/predictions/abc", ": must be an id, or the prediction's URL on an API that is"),
    item("»https://replicate.com/p/abc/def", f": {ID} (got 'https://…')"),
    (HEAD + "watchlist:\n- abc\n- id: »abc\n", f"watchlist[1].id: {TWICE}"),
    (HEAD + "watchlist:\n- id: abc\n- »https://replicate.com/p/abc\n", f"watchlist[1]: {TWICE}"),
    (HEAD + "watchlist:\n- &first {id: abc}\n- »*first\n", f"watchlist[1].id: {TWICE}"),
    (
        TWO_APIS + CHANNELS + "watchlist:\n- &a {id: abc, api: cometapi}\n- {<<: *a, api: replicate}\n- »*a\n",
        "watchlist[2]",
    ),
]
ADDRESSES = [
    api("base_url: »http://10.0.0.1/v1", HTTPS),
    api("base_url: »http://127.0.0.1.example.com", HTTPS),
    api("base_url: »http://[2001:db8::1]/", HTTPS),
    api("base_url: »ftp://example.com", ADDRESS),
    api("base_url: »https://[::1", ADDRESS),
    api("base_url: »https://example.com:x/", ADDRESS),
    api("base_url: »https:///v1", ADDRESS),
    api("base_url: »https://me:pw@example.com", "base_url: must not hold a user name or password"),
    api("base_url: »https://example.com/?a=b", "base_url: must not hold a query (?) or fragment (#)"),
    api("base_url: »https://example.com/#a", "base_url: must not hold a query (?) or fragment (#)"),
    api("base_url: »https://exämple.com/", "base_url: must be an address without blanks, backslashes or characters"),
]


@pytest.mark.parametrize(
    "case",
    [
        *UNKNOWN_KEYS,
        *DUPLICATE_KEYS,
        *WRONG_VALUES,
        *WRONG_ITEMS,
        *UNDEFINED_NAMES,
        *MISSING_KEYS,
        *IDS,
        *ADDRESSES,
    ],
    ids=lambda case: case[1][:60],
)
def test_a_mistake_is_reported_at_its_place(case: Case) -> None:
    check_case(case)


def test_all_mistakes_are_reported_at_once_in_the_order_of_their_places() -> None:
    text = """\
apis:
  cometapi:
    token: ${NOPE}
    rate: fast
channels:
  team:
    url: ${SLACK}
    evnts: [all]
defaults:
  channels: [taem]
  interval: 1h
operators: [nobody]
watchlist:
  - abc
  - id: abc
    interval: 10
    channels: [nobody, team]
  - 12
  - id: def
    interval: 1h
"""
    assert [line.split(": ")[:2] for line in mistakes(text)] == [
        ["config.yaml:3:12", "apis.cometapi.token"],
        ["config.yaml:4:11", "apis.cometapi.rate"],
        ["config.yaml:7:10", "channels.team.url"],
        ["config.yaml:8:5", "channels.team.evnts"],
        ["config.yaml:10:14", "defaults.channels[0]"],
        ["config.yaml:11:13", "defaults.interval"],
        ["config.yaml:12:13", "operators[0]"],
        ["config.yaml:15:9", "watchlist[1].id"],
        ["config.yaml:17:16", "watchlist[1].channels[0]"],
        ["config.yaml:18:5", "watchlist[2]"],
        ["config.yaml:20:15", "watchlist[3].interval"],
    ]


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:8080/v1", "http://127.9.9.9", "http://[::1]:80/", "http://LOCALHOST/v1", "https://x.y"],
)
def test_plain_http_to_this_machine_and_https_anywhere_are_fine(base_url: str) -> None:
    text, _ = api(f"base_url: {base_url}", "")
    assert load(text).apis["cometapi"].base_url == base_url.lower().rstrip("/")


def test_insecure_allows_plain_http_to_another_machine() -> None:
    text, _ = api("base_url: http://10.0.0.1/v1\n    insecure: true", "")
    assert load(text).apis["cometapi"].insecure


def test_an_empty_configuration_is_right() -> None:
    assert load(EMPTY).watches == ()
