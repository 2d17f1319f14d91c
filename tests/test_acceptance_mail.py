"""Mail servers that misbehave on the real wire, before the real program: each mail arrives, and is repeated only where
nobody can know that it has.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from tests.standins.api import ApiStandIn, plain
from tests.standins.daemon import Daemon
from tests.standins.slack import SlackStandIn
from tests.standins.smtp import SMTPStandIn
from tests.test_acceptance_channels import GOOD, NO_SERVICE, deliveries

BOT = "bot:hunter2pass@"
FAST = "rate: 100/s, retry_after: [0.2s]"


def daemon(
    folder: Path,
    api: ApiStandIn,
    smtp: SMTPStandIn,
    url: str,
    *,
    slack: SlackStandIn | None = None,
    deadline: float | None = None,
) -> Daemon:
    """The program with the channel `mail`, with Slack as `team` where there is one, and the watch `a` that failed."""
    api.script("a", [plain("a", "failed", error="no")])
    team = f", team: {{url: '{GOOD}', {FAST}}}" if slack else ""
    config = (
        f"apis: {{here: {{base_url: '{api.base_url}', token: some-token}}}}\n"
        f"channels: {{mail: {{url: '{url}', {FAST}}}{team}}}\n"
        "defaults: {interval: 1s}\nwatchlist: [a]\n"
    )
    environment = {**(slack.environment() if slack else {}), **smtp.environment()}
    return Daemon(folder, config, environment, deadline=deadline)


def logged(program: Daemon, text: str, count: int = 1) -> None:
    program.wait_for_log(lambda lines: sum(text in line for line in lines) >= count)


FAULTS: list[tuple[dict[str, str], str]] = [
    ({"banner": "421 4.3.2 shutting down"}, "SMTP 421 4.3.2 shutting down"),
    ({"banner": "reset"}, "connection reset"),
    ({"at_login": "454 4.7.0 try later"}, "SMTP 454 4.7.0 try later"),
    ({"at_login": "535 5.7.8 no bot with hunter2pass"}, "SMTP 535 5.7.8 no bot with ***"),
    ({"at_sender": "421 4.3.0 bye"}, "SMTP 421 4.3.0 bye"),
    ({"at_sender": "451 4.3.0 busy"}, "SMTP 451 4.3.0 busy"),
    ({"recipient": "421 4.3.0 bye"}, "SMTP 421 4.3.0 bye"),
    ({"recipient": "451 4.7.1 greylisted"}, "SMTP 451 4.7.1 greylisted"),
    ({"recipient": "550 5.7.1 blocked"}, "SMTP 550 5.7.1 blocked"),
    ({"at_data": "421 4.3.0 bye"}, "SMTP 421 4.3.0 bye"),
    ({"at_data": "451 4.3.0 no"}, "SMTP 451 4.3.0 no"),
    ({"after_data": "421 4.3.0 bye"}, "SMTP 421 4.3.0 bye"),
    ({"after_data": "451 4.3.1 no room"}, "SMTP 451 4.3.1 no room"),
    ({"after_data": "552 5.3.4 too big"}, "SMTP 552 5.3.4 too big"),
    ({"after_data": "554 5.7.1 spam"}, "SMTP 554 5.7.1 spam"),
]


def test_whatever_a_mail_server_says_first_the_mail_arrives_once_it_says_yes(tmp_path: Path, api: ApiStandIn) -> None:
    with SMTPStandIn() as smtp:
        smtp.users["bot"] = "hunter2pass"
        smtp.script(*(fault for fault, _ in FAULTS), {"at_quit": "hang"})
        url = f"mailto://{BOT}127.0.0.1:{smtp.port}?from=bot@example.com&to=anna@example.com"
        with daemon(tmp_path, api, smtp, url) as program:
            program.start()
            logged(program, "sent channel=mail")
            assert program.stop() == 0
            history = program.json("history")
        # A reason that repeats is logged once; each of these differs from the one before it.
        told = [line.partition("reason=")[2].strip('"') for line in program.log if "not delivered" in line]
        assert told == [reason for _, reason in FAULTS]
        assert [mail.recipients for mail in smtp.mails] == [("anna@example.com",)]
        assert smtp.connections == len(FAULTS) + 1
        assert deliveries(history, "mail") == [("a", "sent", len(FAULTS) + 1, "SMTP 554 5.7.1 spam")]
        assert not any("hunter2pass" in line for line in program.log)


def test_a_mail_whose_answer_was_lost_is_repeated_with_the_same_notice_id_and_said_so(
    tmp_path: Path, api: ApiStandIn
) -> None:
    with SMTPStandIn() as smtp:
        smtp.script({"after_data": "accept, then reset"}, {"after_data": "accept, then hang"}, {"after_data": "drip"})
        url = f"mailto://127.0.0.1:{smtp.port}?from=bot@example.com&to=anna@example.com"
        with daemon(tmp_path, api, smtp, url, deadline=0.6) as program:
            program.start()
            logged(program, "sent channel=mail")
            assert program.stop() == 0
            history = program.json("history")
        told = [line.partition("reason=")[2].strip('"') for line in program.log if "not delivered" in line]
        assert told == ["connection reset (it may have arrived)", "no answer within 0.6 s (it may have arrived)"]
        assert deliveries(history, "mail")[0][1:3] == ("sent", 4)
        assert len(smtp.mails) == 3
        assert len({mail.text for mail in smtp.mails}) == 1


def test_of_several_recipients_only_the_refused_one_is_tried_again_and_told_of(
    tmp_path: Path, api: ApiStandIn, slack: SlackStandIn
) -> None:
    with SMTPStandIn() as smtp:
        smtp.at_recipient["ben@example.com"] = "550 5.1.1 ben@example.com: no such user"
        people = "to=anna@example.com&cc=ben@example.com&bcc=carl@example.com"
        url = f"mailto://127.0.0.1:{smtp.port}?from=bot@example.com&{people}"
        with daemon(tmp_path, api, smtp, url, slack=slack) as program:
            program.start()
            trouble = slack.wait_for(2)[1].text
            status = program.json("status")
            smtp.wait_for(2)
            logged(program, "sent channel=mail", 2)
            smtp.at_recipient.clear()
            logged(program, "channel works again")
            slack.wait_for(3)
            assert program.stop() == 0
            history = program.json("history")
        gone = "SMTP 550 5.1.1 b…n@example.com: no such user (the address is gone: a new one is needed)"
        assert trouble.startswith(
            "🚨 channel mail (b…n@example.com): in trouble\nChannel mail (b…n@example.com) takes no messages."
        )
        assert f"\nThe reason: {gone}\n" in trouble
        assert [each["detail"] for each in status["incidents"]] == [gone]
        assert Counter(mail.recipients for mail in smtp.mails) == {
            (f"{who}@example.com",): 1 for who in ("anna", "ben", "carl")
        }
        assert Counter(smtp.offered)["ben@example.com"] > 2
        assert (Counter(smtp.offered)["anna@example.com"], Counter(smtp.offered)["carl@example.com"]) == (1, 1)
        states = [(state, attempts) for _, state, attempts, _ in deliveries(history, "mail")]
        assert sorted(states)[:2] == [("sent", 1), ("sent", 1)]


def test_an_address_that_is_gone_is_said_to_be_at_once_and_once(
    tmp_path: Path, api: ApiStandIn, slack: SlackStandIn
) -> None:
    slack.script(then=NO_SERVICE)
    with SMTPStandIn() as smtp:
        url = f"mailto://127.0.0.1:{smtp.port}?from=bot@example.com&to=anna@example.com"
        with daemon(tmp_path, api, smtp, url, slack=slack) as program:
            begun = time.monotonic()
            program.start()
            (_, trouble) = smtp.wait_for(2)
            assert trouble.time - begun < 60  # `incident_after` is ten minutes
            slack.wait_for(8)  # it is tried on
            assert len(smtp.mails) == 2
            slack.script()
            smtp.wait_for(3)
            assert program.stop() == 0
        assert trouble.message["Subject"] == "🚨 channel team: in trouble"
        assert (
            "The reason: HTTP 404: no_service (the address is gone: a new one is needed)" in trouble.text.splitlines()
        )
        assert smtp.mails[2].message["Subject"] == "🟢 channel team: works again"


@pytest.mark.parametrize("security", ["starttls", "ssl"])
@pytest.mark.parametrize("fault", ["authority", "name"])
def test_a_mail_servers_wrong_certificate_is_named_and_it_gets_no_password(
    tmp_path: Path, api: ApiStandIn, security: Literal["starttls", "ssl"], fault: str
) -> None:
    names = ["localhost"] if fault == "authority" else ["evil.example"]
    with SMTPStandIn(security, trusted=fault != "authority", names=names) as smtp:
        smtp.users["bot"] = "hunter2pass"
        url = f"mailtos://{BOT}localhost:{smtp.port}?from=bot@example.com&to=anna@example.com&mode={security}"
        with daemon(tmp_path, api, smtp, url) as program:
            program.start()
            logged(program, "not delivered")
            assert program.stop() == 0
            ((_, state, _, reason),) = deliveries(program.json("history"), "mail")
        assert state == "waiting"
        assert str(reason).startswith("TLS: certificate verify failed: ")
        assert ("Hostname mismatch" in str(reason)) == (fault == "name")
        assert (smtp.mails, smtp.offered) == ([], [])


@pytest.mark.parametrize("how", ["saved", "restarted"])
def test_what_waits_for_a_mistyped_recipient_goes_to_the_one_that_takes_its_place(
    tmp_path: Path, api: ApiStandIn, how: str
) -> None:
    with SMTPStandIn() as smtp:
        smtp.at_recipient["typo@example.com"] = "550 5.1.1 no such user"
        url = f"mailto://127.0.0.1:{smtp.port}?from=bot@example.com&to=anna@example.com,typo@example.com"
        with daemon(tmp_path, api, smtp, url) as program:
            program.start()
            smtp.wait_for(1)
            logged(program, "not delivered")
            if how == "restarted":
                assert program.stop() == 0
            program.path.write_text(program.path.read_text().replace("typo@", "ben@"))
            if how == "restarted":
                program.start()
            logged(program, "recipient is gone from its channel channel=mail", 1)
            smtp.wait_for(2)
            logged(program, "sent channel=mail", 2)
            assert program.stop() == 0
            status, history = program.json("status"), program.json("history")
        assert Counter(mail.recipients for mail in smtp.mails) == {("anna@example.com",): 1, ("ben@example.com",): 1}
        assert len({mail.text for mail in smtp.mails}) == 1
        assert [state for _, state, _, _ in deliveries(history, "mail")] == ["sent", "sent"]
        assert (status["channels"][0]["waiting"], status["channels"][0]["failing_since"]) == (0, None)


def test_who_is_taken_off_a_channel_is_owed_nothing_that_the_others_have(tmp_path: Path, api: ApiStandIn) -> None:
    with SMTPStandIn() as smtp:
        smtp.at_recipient["ben@example.com"] = "451 4.7.1 greylisted"
        url = f"mailto://127.0.0.1:{smtp.port}?from=bot@example.com&to=anna@example.com,ben@example.com"
        with daemon(tmp_path, api, smtp, url) as program:
            program.start()
            smtp.wait_for(1)
            logged(program, "not delivered")
            program.path.write_text(program.path.read_text().replace(",ben@example.com", ""))
            logged(program, "passed_on=0 given_up=1")
            assert program.stop() == 0
            history = program.json("history")
        assert sorted((state, error) for _, state, _, error in deliveries(history, "mail")) == [
            ("given_up", "its recipient is no longer on the channel, and the others have it"),
            ("sent", None),
        ]
