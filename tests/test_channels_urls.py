"""Channel URLs: split into one per recipient, and checked without being shown."""

from __future__ import annotations

import re

import pytest

from notifier.channels import inspect, masked, no_files, plugins, targets
from notifier.model import Address, Channel, Secret

TOKENS = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7"
BOT = "xoxb-1234-1234-4ddbc191d40ee098cbaae6f3523ada2d"

# URL -> masked recipients
SPLITS = {
    f"slack://{TOKENS}": [""],
    f"slack://{TOKENS}/": [""],
    f"slack://{TOKENS}/#general": ["#gen…"],
    f"slack://{TOKENS}/#general/#ops/random": ["#gen…", "#o…", "#ran…"],
    f"slack://Bot@{TOKENS}/#general?to=%23ops,alerts&image=no": ["#gen…", "#ale…", "#o…"],
    f"slack://_/a/b/#general/#ops?token={TOKENS}": ["#gen…", "#o…"],
    f"slack://{BOT}": ["#gen…"],
    f"slack://{BOT}/#general/@alice/+C024BE91L/bob@example.com": ["#gen…", "+C02…", "@ali…", "b…b@example.com"],
    f"slack://{BOT}/#general:1503435956.000247/#ops?footer=no&blocks=yes": ["#gen…", "#o…"],
    f"https://hooks.slack.com/services/{TOKENS}": [""],
    f"https://hooks.slack.com/services/{TOKENS}?to=general,ops&footer=no": ["#gen…", "#o…"],
    "slack://T1JJ3T3L2/Ft07A1B2C/123456789/AbCdEfGh?mode=workflow": [""],
    "mailto://example.com?from=bot@example.com": ["b…t@example.com"],
    "mailtos://bot:pa%2Fss%40w@example.com?to=oncall@example.com": ["o…l@example.com"],
    "mailtos://bot:pw@example.com/alice@example.com/Bob%20B%3Cbob@example.org%3E": [
        "a…e@example.com",
        "b…b@example.org",
    ],
    "mailtos://example.com?user=bot@corp.example&pass=s3cr;et&smtp=smtp.corp.example&to=a@x.example,b@x.example": [
        "a…@x.example",
        "b…@x.example",
    ],
    "mailtos://bot:pw@example.com:2525?to=a@x.example&cc=Cara%20C%20%3Cc@x.example%3E&bcc=d+tag@x.example&name=N&reply=r@x.example"
    "&mode=ssl&+X-Team=ops&cto=9": ["a…@x.example", "c…@x.example", "d…g@x.example"],
    'mailtos://bot:pw@example.com?to="Doe, Jane" <jane@x.example>,b@x.example': ["j…e@x.example", "b…@x.example"],
    "mailtos://bot:pw@example.com?to=a@x.example,a@x.example&cc=a@x.example": ["a…@x.example"],
    "json://127.0.0.1:9/path": [""],
    "nosuch://x": [""],
}


@pytest.mark.parametrize(("url", "recipients"), SPLITS.items(), ids=SPLITS.keys())
def test_a_url_is_split_into_one_for_each_recipient(url: str, recipients: list[str]) -> None:
    split = targets(Channel("team", Secret(url)))
    assert [target.masked for target in split] == recipients
    assert len({target.address for target in split}) == len(split)
    for target in split:
        assert target.address.channel == "team"
        assert masked(target.address.recipient) == target.masked


@pytest.mark.parametrize("url", [url for url, recipients in SPLITS.items() if recipients != [""]])
def test_what_the_plugin_makes_of_each_part_is_the_whole_but_for_its_recipients(url: str) -> None:
    whole = plugins.parse(url)
    assert whole
    plugin = plugins.build(whole)
    assert plugin
    for target in targets(Channel("team", Secret(url))):
        part = plugins.parse(target.url.reveal())
        assert part
        alone = plugins.build(part)
        assert alone
        given, kept = vars(plugin), vars(alone)
        names = {
            "targets",
            "cc",
            "bcc",
            "names",
            "channels",
            "fullpath",
            "pgp",
            "asset",
            "_NotifyBase__store",
            "template",
        }
        assert {k: v for k, v in kept.items() if k not in names} == {k: v for k, v in given.items() if k not in names}
        assert len(kept.get("targets") or kept["channels"]) == 1
        assert not kept.get("cc")
        assert not kept.get("bcc")


def test_a_recipients_address_depends_on_nothing_else() -> None:
    def recipients(url: str) -> dict[str, Address]:
        return {target.masked: target.address for target in targets(Channel("team", Secret(url)))}

    alone = recipients("mailtos://bot:pw@example.com?to=oncall@example.com")
    more = recipients("mailtos://bot:new@example.com/bob@example.com?cc=oncall@example.com&bcc=z@example.com")
    assert more["o…l@example.com"] == alone["o…l@example.com"]
    shouted = recipients("mailtos://bot:pw@example.com?to=ONCALL@example.com")
    assert (
        shouted["O…L@example.com"].recipient.partition("~")[2] == alone["o…l@example.com"].recipient.partition("~")[2]
    )
    hook = recipients(f"slack://{TOKENS}/ops")
    assert hook == recipients(f"slack://{TOKENS}/#ops")
    assert hook["#o…"] in recipients(f"slack://{BOT}/#ops/#general").values()


def test_two_recipients_that_look_the_same_masked_are_two_addresses() -> None:
    split = targets(Channel("team", Secret("mailtos://b:p@example.com?to=abc@x.example,axc@x.example")))
    assert [target.masked for target in split] == ["a…c@x.example", "a…c@x.example"]
    assert len({target.address for target in split}) == 2


def test_neither_a_target_nor_its_address_shows_a_secret() -> None:
    for url in SPLITS:
        for target in targets(Channel("team", Secret(url))):
            shown = f"{target!r} {target} {target.address}"
            assert not re.search(r"TIiaj|4ddbc191|pw@|s3cr|oncall@|alice|general", shown)


LIMITS = {
    f"slack://{TOKENS}": (200, 3000),
    f"slack://{TOKENS}?blocks=yes": (140, 2400),
    "mailto://example.com?from=a@x.example": (200, 20_000),
    "json://127.0.0.1:9": (200, 8000),
}


@pytest.mark.parametrize(("url", "limits"), LIMITS.items(), ids=LIMITS.keys())
def test_what_a_channel_takes(url: str, limits: tuple[int, int]) -> None:
    (target,) = targets(Channel("team", Secret(url)))
    assert (target.title_limit, target.body_limit) == limits


@pytest.mark.parametrize(
    "url",
    [
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "discord://417429632418316298/JHZ7lQml277CDHmQKMHI8qBe7bk2ZwO5UKjCiOAF7711o33MyqU344Qpgv7YTpadV_js/",
        "twilio://AC735c307c62944b5a:e29dfbcebf390dee9@15551234567/15557654321",
    ],
)
def test_title_and_body_together_fit_a_small_channel(url: str) -> None:
    parsed = plugins.parse(url)
    assert parsed
    plugin = plugins.build(parsed)
    assert plugin
    (target,) = targets(Channel("team", Secret(url)))
    assert 50 <= target.title_limit < target.body_limit
    assert target.body_limit <= plugin.body_maxlen
    if plugin.title_maxlen <= 0:
        assert target.title_limit + target.body_limit < plugin.body_maxlen


# URL -> (phrase of the problem, phrases of the warning)
FOUND = {
    f"slack://{TOKENS}": ("", []),
    f"slack://{TOKENS}/#general/#ops": ("", []),
    f"https://hooks.slack.com/services/{TOKENS}": ("", []),
    "mailtos://bot:pw@example.com?to=a@x.example,b@x.example": ("", []),
    "mailto://bot:pw@127.0.0.1:2525?from=a@x.example": ("", []),
    "": ("not an Apprise URL", []),
    "hello": ("not an Apprise URL", []),
    "slak://x/y/z": ("Apprise knows no slak://; did you mean slack://?", []),
    "mailt://x": ("did you mean mailto://?", []),
    "slack://only-this": ("it looks like slack://{access_token}/", []),
    "mailto://": ("Apprise cannot read this mailto:// URL", []),
    "https://secret.example/hook": ("no service at this web address", []),
    f"slack://{TOKENS} slack://{TOKENS}": ("2 addresses", []),
    "dbus://": ("needs a desktop", []),
    "gnome://": ("needs a desktop", []),
    "macosx://": ("needs a desktop", []),
    "windows://": ("needs a desktop", []),
    "mailtos://bot:pw@example.com?to=a@x.example,secretperson": ("recipients is not valid", []),
    "mailtos://bot:pw@example.com?to=a@x.example&cc=secretperson": ("recipients is not valid", []),
    "mailtos://bot:pw@example.com?to=secretperson": ("recipients is not valid", []),
    f"slack://{TOKENS}/person@example.com": ("a Slack webhook cannot write to people", []),
    f"slack://{BOT}/person@example.com": ("", []),
    f"slack://{BOT}/#not%20a%2Fchannel!": ("Slack channels is not valid", []),
    f"slack://{TOKENS}?verify=no": ("", ["verify=no"]),
    f"slack://{TOKENS}?retry=3&wait=9&optional=yes": ("", ["retry, wait, optional in it has no effect"]),
    "mailto://bot:pw@example.com?to=a@x.example": ("", ["password unencrypted"]),
    "sns://AHIAJGNT76XIMXDBIJYA/bu1dHSdO22pfaaVy/wmNsdjJFERNDGJRHJSKF/us-east-1/15551234567/15551234568": (
        "",
        ["several recipients, and if one of them fails a retry repeats the message for all"],
    ),
}


@pytest.mark.parametrize(("url", "found"), FOUND.items(), ids=FOUND.keys())
def test_a_url_is_checked_without_being_shown(
    url: str, found: tuple[str, list[str]], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    problem, warning = inspect(Secret(url))
    phrase, remarks = found
    assert (problem is None) == (phrase == "")
    assert phrase in (problem or "")
    assert (warning is None) == (remarks == [])
    for remark in remarks:
        assert remark in (warning or "")
    told = f"{problem} {warning} {caplog.text} {''.join(capfd.readouterr())}"
    assert not re.search(r"TIiaj|4ddbc191|pw@|secret|only-this|person@|1dHSdO|T1JJ3", told)


# URL -> why there are no files
NO_FILES = {
    f"slack://{TOKENS}/#general": "a Slack webhook takes no files; a bot token does",
    f"https://hooks.slack.com/services/{TOKENS}": "a Slack webhook takes no files; a bot token does",
    "twilio://AC735c307c62944b5a:e29dfbcebf390dee9@15551234567/15557654321": "this service takes no files",
    "mmost://127.0.0.1/3ccdd113474722377935511fc85d3dd4": "this service takes no files",
    f"slack://{BOT}/#general": None,
    "mailtos://bot:pw@example.com?to=a@x.example": None,
    "tgram://123456789:abcdefg_hijklmnop/12315544/": None,
    "json://127.0.0.1": None,
    "nosuch://x": None,
    "": None,
}


@pytest.mark.parametrize(("url", "why"), NO_FILES.items(), ids=NO_FILES.keys())
def test_it_is_known_which_channels_take_files(url: str, why: str | None) -> None:
    assert no_files(Secret(url)) == why


def test_a_scheme_whose_package_is_missing_names_the_package() -> None:
    missing = [
        name for name in sorted(plugins.schemes() - plugins.DESKTOP)
        if (plugin := plugins.plugin_class(name)) and not plugin.enabled
    ]  # fmt: skip
    if not missing:
        pytest.skip("every package that Apprise's plugins can use is installed")
    for name in missing:
        problem, _ = inspect(Secret(f"{name}://host"))
        assert problem is not None
        assert problem.endswith("which is not installed")


def test_importing_the_module_does_not_import_apprise() -> None:
    import subprocess
    import sys

    code = "import sys, notifier.channels; print('apprise' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n"
