"""People's own titles and bodies: what they can use, what they cannot do, and what happens when they fail."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.message import template_problem, write
from notifier.model import Event, File, FileState, Key, Notice

NOW = 1_763_820_000.0  # 2025-11-22 14:00 UTC
LINKS = ("https://replicate.delivery/x/out-0.png?sig=ab", "https://replicate.delivery/x/out-1.png")
KEY = Key("cometapi", "ufawqhfynnddngldkgtslldrkq")
DONE = Notice(
    notice="7k3q9x2m4d",
    event=Event.STATUS,
    time=NOW,
    key=KEY,
    name="Launch teaser",
    before="processing",
    status="succeeded",
    output=LINKS,
    has_output=True,
    expires=NOW + 3480,
    took=123.4,
    metrics=(("predict_time", 118.24), ("image_count", 4.0)),
    logs="one\ntwo",
    text="a tale",
    error="a warning",
    since=60.0,
    count=3,
    detail="more to say",
    files=(
        File(KEY, 0, "https://h/0", state=FileState.SAVED, place="/srv/0.png", size=5),
        File(KEY, 1, "https://h/1", state=FileState.LOST),
        File(KEY, 2, "https://h/2", state=FileState.SAVED, place="s3://b/2.png"),
    ),
)

WRITES = {
    "name": "Launch teaser",
    "id": "ufawqhfynnddngldkgtslldrkq",
    "api": "cometapi",
    "event": "status",
    "before": "processing",
    "status": "succeeded",
    "error": "a warning",
    "output": f"{LINKS[0]}\n{LINKS[1]}",
    "output[1]": LINKS[1],
    "expires": "2025-11-22 14:58 UTC (in 58 minutes)",
    "files": "/srv/0.png\ns3://b/2.png",
    "files | length": "2",
    "took": "2 minutes and 3 seconds",
    "metrics": "predict time 118 s, image count 4",
    "metrics.image_count": "4",
    "metrics.predict_time | round(1)": "118.2",
    "logs": "one\ntwo",
    "text": "a tale",
    "notice": "7k3q9x2m4d",
    "since": "1 minute",
    "count": "3",
    "count + 1": "4",
    "detail": "more to say",
    "name | upper": "LAUNCH TEASER",
    "name.split(' ')[0]": "Launch",
    "name | replace('teaser', 'film')": "Launch film",
    "'good' if status == 'succeeded' else 'bad'": "good",
}


@pytest.mark.parametrize(("expression", "written"), WRITES.items(), ids=WRITES.keys())
def test_a_template_can_use(expression: str, written: str) -> None:
    source = f"{{{{ {expression} }}}}"
    assert template_problem(source) is None
    assert write([DONE], body=source, now=NOW).body.startswith(written)


@pytest.mark.parametrize("name", sorted({expression for expression in WRITES if expression.isidentifier()}))
def test_what_does_not_apply_writes_nothing(name: str) -> None:
    test = Notice("aaaaaaaaaa", Event.TEST, NOW, name="team")
    body = write([test], body=f"[{{{{ {name} }}}}]", now=NOW).body
    assert "None" not in body
    if name not in ("name", "event", "status", "notice"):
        assert body == "[]\nnotice aaaaaaaaaa"


def test_the_status_of_an_incident_is_said_in_words() -> None:
    incident = Notice("aaaaaaaaaa", Event.INCIDENT, NOW, name="account cometapi", detail="HTTP 401")
    assert write([incident], title="{{ name }}: {{ status }}", now=NOW).title == "account cometapi: in trouble"


def test_a_title_is_one_line_and_not_too_long() -> None:
    assert write([DONE], title="a\n{{ output }}\r\nb", now=NOW).title == f"a {LINKS[0]} {LINKS[1]} b"
    assert len(write([DONE], title="x" * 500, now=NOW).title) == 200


def test_the_notice_id_is_added_only_where_it_is_missing() -> None:
    assert write([DONE], body="done", now=NOW).body == "done\nnotice 7k3q9x2m4d"
    assert write([DONE], body="{{ notice }}: done", now=NOW).body == "7k3q9x2m4d: done"
    for longer in ("x7k3q9x2m4d", "7k3q9x2m4dx"):
        assert write([DONE], body=longer, now=NOW).body == f"{longer}\nnotice 7k3q9x2m4d"


def test_several_notices_are_written_one_after_the_other_under_the_last_ones_title() -> None:
    started = Notice("aaaaaaaaaa", Event.STATUS, NOW, DONE.key, DONE.name, before="starting", status="processing")
    message = write([started, DONE], title="{{ status }}", body="{{ before }} to {{ status }}", now=NOW)
    assert message.title == "succeeded"
    assert message.body == ("starting to processing\n\nprocessing to succeeded\nnotices aaaaaaaaaa, 7k3q9x2m4d")


def test_a_body_that_is_too_long_is_written_again_with_less_of_the_long_things() -> None:
    long = Notice("aaaaaaaaaa", Event.STATUS, NOW, DONE.key, "n", error="E" * 1400, logs="l" * 900, output=LINKS)
    source = "{{ error }}\n{{ logs }}\n{{ output }}"
    body = write([long], body=source, limit=500, now=NOW).body
    assert len(body) <= 500
    assert body.startswith("EEEE")
    assert "lll" not in body
    assert body.endswith(f"{LINKS[0]}\n{LINKS[1]}\nnotice aaaaaaaaaa")


def test_a_body_whose_own_words_are_too_long_is_cut_before_the_id() -> None:
    body = write([DONE], body="line\n" * 100, limit=100, now=NOW).body
    assert len(body) <= 100
    assert body.endswith("line\n…\nnotice 7k3q9x2m4d")


def test_text_from_the_api_is_never_a_template_itself() -> None:
    hostile = Notice("aaaaaaaaaa", Event.ERROR, NOW, error="{{ 7 * 7 }} {% raw %} <!channel> @here")
    body = write([hostile], body="{{ error }}", now=NOW).body
    assert "{{ 7 * 7 }} {% raw %}" in body
    assert "<!channel" not in body
    assert "@here" not in body


# --- mistakes that the configuration's check finds -------------------------------------------------------------------

PROBLEMS = {
    "{{ staus }}": ["staus", "did you mean `status`?", "allowed: api, before, count"],
    "{{ name": ["unexpected end of template"],
    "ok\n{% if name %}": ["line 2", "Unexpected end of template"],
    "{% for x in output %}{{ y }}{% endfor %}": ["`y`"],
    "{{ name | uper }}": ["uper", "did you mean `upper`?"],
    "{{ name | attr('x') }}": ["unknown filter `attr`"],
    "{% if name is odder %}{% endif %}": ["unknown test `odder`", "did you mean `odd`?"],
    "{{ name.__class__ }}": ["__class__"],
    "{% set x = 1 %}": ["only {{ ... }}, if and for"],
    "{% include 'x' %}": ["only {{ ... }}, if and for"],
    "{% macro m() %}{% endmacro %}": ["only {{ ... }}, if and for"],
    "{% with a = name %}{% endwith %}": ["only {{ ... }}, if and for"],
    "{% for a in logs %}{% for b in logs %}{% for c in logs %}x{% endfor %}{% endfor %}{% endfor %}": ["2 loops"],
    "x" * 20_001: ["longer than 20000 characters"],
    "{{" + "(" * 900 + "1" + ")" * 900 + "}}": ["cannot be compiled"],
    "{{ " + "9" * 5000 + " }}": ["cannot be compiled"],
    "{{ cycler }}": ["unknown variable `cycler`"],
}


@pytest.mark.parametrize(("source", "told"), PROBLEMS.items(), ids=lambda text: ascii(text)[:40])
def test_a_mistake_is_named(source: str, told: list[str]) -> None:
    problem = template_problem(source)
    assert problem
    assert "\n" not in problem
    for phrase in told:
        assert phrase in problem


@pytest.mark.parametrize("source", ["", "plain", "{# note #}{% for l in output %}{{ loop.index }}{% endfor %}"])
def test_what_is_right_is_no_mistake(source: str) -> None:
    assert template_problem(source) is None


@settings(deadline=None)
@given(st.text(max_size=60) | st.text("{}%# abfinor()[].|'\"0123456789*_~", max_size=60))
def test_anything_typed_gets_an_answer(source: str) -> None:
    problem = template_problem(source)
    assert problem is None or problem.strip()


# --- failures when a message is written ------------------------------------------------------------------------------

FAILS = {
    "a missing link": "{{ output[7] }}",
    "division by zero": "{{ 1 / 0 }}",
    "a number and a text": "{{ name + 1 }}",
    "multiplied text": "{{ 'x' * 10**9 }}",
    "multiplied text without a power": "{{ 'x' * 1000000000 }}",
    "a multiplied list": "{{ [1] * 1000000000 }}",
    "a huge number": "{{ 9 ** 9 ** 9 }}",
    "a huge range": "{% for i in range(1000000000) %}x{% endfor %}",
    "too much written": "{% for i in range(1000) %}{% for j in range(1000) %}xxxxxxxxxx{% endfor %}{% endfor %}",
    "a padded text": "{{ '%1000000000d' % 1 }}",
    "another padded text": "{{ '{:1000000000}'.format(1) }}",
    "and another": "{{ name.ljust(1000000000) }}",
    "a long silent loop": "x{% for i in range(100000) %}{% endfor %}",
    "a blown up replacement": "{{ logs | replace('', logs) | replace('', logs) | length }}",
    "reaching into objects": "{{ name['__class__'] }}",
    "reaching into methods": "{{ name.upper['__self__'] }}",
    "calling what is not text": "{{ metrics.clear() }}",
    "nothing written": "  {% if false %}x{% endif %} ",
}


@pytest.mark.parametrize("source", FAILS.values(), ids=FAILS.keys())
@pytest.mark.timeout(20)
def test_a_template_that_fails_gives_way_to_the_built_in_text(source: str, caplog: pytest.LogCaptureFixture) -> None:
    long = Notice(**{**{f: getattr(DONE, f) for f in Notice.__slots__}, "logs": "l" * 290})
    assert template_problem(source) is None
    with caplog.at_level(logging.WARNING, logger="notifier.message"):
        message = write([long], title=source, body=source, now=NOW)
    assert message == write([long], now=NOW)
    said = [record.getMessage().partition(" reason=")[0] for record in caplog.records]
    kinds = ("title", "body") if source.strip() != FAILS["nothing written"].strip() else ()
    assert said == [f"template failed, built-in text used template={kind} notice=7k3q9x2m4d" for kind in kinds]


def test_a_template_that_fails_in_each_message_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        write([DONE], title="{{ 1 / 0 }}", now=NOW)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    write([DONE], body="{{ 1 / 0 }}", now=NOW)
    assert len(caplog.records) == 2


def test_the_log_of_a_failure_names_no_output_link(caplog: pytest.LogCaptureFixture) -> None:
    write([DONE], body="{{ metrics[output[0]] }}", now=NOW)
    assert "template failed" in caplog.text
    assert "replicate.delivery" not in caplog.text
