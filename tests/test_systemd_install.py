"""The README's way to a service, and the unit that it installs, on a machine with a real systemd."""

from __future__ import annotations

import re

from tests.standins.api import plain
from tests.standins.machine import CLONE, HOOK, README, TOKEN, UNIT, Machine, Terminal, commands

CHECK, TEST = "/opt/notifier/bin/notifier check", "/opt/notifier/bin/notifier test"


def test_the_commands_of_the_readme_lead_to_a_running_service(installed: Machine) -> None:
    """Each of them ended well, or there would be no machine."""
    said = installed.said
    assert "apt update && apt install -y git python3-venv" in said  # all that is not there, beside the network
    assert "/etc/notifier/config.yaml is fine: 1 watch, 1 channel" in said[CHECK]
    assert "team: sent, notice " in said[TEST]
    assert [(post.path, post.title) for post in installed.told] == [(HOOK, "🔔 team: test message")]
    assert re.search(r"loaded .*; enabled;", said["systemctl status notifier"])
    assert "active (running)" in said["systemctl status notifier"]
    assert 'Status: "polling 1 of 1 watch; 0 messages waiting; no incident"' in said["systemctl status notifier"]
    assert "started watches=1 channels=1" in said["journalctl -u notifier"]
    assert "the daemon is running" in said["/opt/notifier/bin/notifier status"]


def test_secrets_that_were_pasted_are_in_no_history(installed: Machine) -> None:
    assert "/etc/notifier/credentials/slack" in installed.history
    assert TOKEN not in installed.history
    assert HOOK not in installed.history


def test_everybody_may_do_what_the_readme_says_and_no_more(machine: Machine) -> None:
    machine.start()
    names = ["/etc/notifier", "config.yaml", "credentials", "credentials/cometapi", "credentials/slack"]
    files = [*(each if each.startswith("/") else f"/etc/notifier/{each}" for each in names), "/var/lib/notifier",
             "/var/lib/notifier/notifier.db", f"/{UNIT}"]  # fmt: skip
    assert machine.box.run("stat", "--format=%a %U:%G", *files).stdout.splitlines() == [
        "750 root:notifier", "640 root:notifier", "700 root:root", "600 root:root", "600 root:root",
        "700 notifier:notifier", "600 notifier:notifier", "644 root:root",
    ]  # fmt: skip


def test_no_command_of_the_chapter_is_left_out() -> None:
    """A command that stands outside of the markers would be typed by people, and by no test."""
    _, _, rest = README.read_text(encoding="utf-8").partition("\n## As a service\n")
    chapter, _, _ = rest.partition("\n## ")
    outside = re.sub(r"<!-- (service|upgrade) -->\n.*?<!-- end -->", "", chapter, flags=re.DOTALL)
    assert not [line for line in outside.splitlines() if line.startswith("    ")]
    assert len(commands("service")) > 15
    assert len(commands("upgrade")) == 5


def test_an_upgrade_runs_the_new_version(machine: Machine) -> None:
    machine.start()
    before = machine.show("MainPID")
    file = machine.box.files(f"{CLONE}/notifier/__init__.py")
    old = file.read_text()

    def upgrade() -> None:
        with Terminal(machine.box) as terminal:
            terminal.type("cd /usr/local/src/notifier")
            for command in commands("upgrade"):
                terminal.type(command)

    try:
        file.write_text(re.sub(r'__version__ = ".*"', '__version__ = "99.9"', old))
        upgrade()
        assert machine.command("--version").stdout == "notifier, version 99.9\n"
        assert machine.show("ActiveState") == "active"
        assert machine.show("MainPID") != before
    finally:
        file.write_text(old)
        upgrade()


def test_another_credential_is_a_file_and_a_line(machine: Machine) -> None:
    """And where the file is missing, the service does not start, and says why."""
    _, _, rest = README.read_text(encoding="utf-8").partition("<!-- another credential -->\n\n```ini\n")
    machine.drop_in(rest.partition("```")[0] + "RestartSec=200ms\n")
    config = machine.box.files("etc/notifier/config.yaml")
    config.write_text(config.read_text().replace("${credential:slack}", "${credential:smtp}"))
    machine.systemctl("start", "notifier", check=1)
    assert machine.show("ExecMainStatus") == "243"
    assert any("Failed at step CREDENTIALS" in line for line in machine.log())
    machine.api.script("a", [plain("a", "failed", error="no")])
    machine.credential("smtp", f"{machine.receiver.url}another")
    machine.receiver.wait_for(1)  # it was being started again all the time
    assert machine.receiver.posts[0].path == "another"
    assert machine.show("ActiveState") == "active"


def test_systemd_finds_nothing_wrong_with_the_unit(machine: Machine) -> None:
    done = machine.box.run("systemd-analyze", "verify", f"/{UNIT}")
    assert done.stdout + done.stderr == ""


def test_the_unit_is_as_closed_as_the_readme_says(machine: Machine) -> None:
    done = machine.box.run("systemd-analyze", "security", "--offline=true", "--no-pager", f"/{UNIT}")
    (score,) = re.findall(r"Overall exposure level for notifier.service: ([\d.]+) ", done.stdout)
    assert float(score) <= 1.2
    assert f"`systemd-analyze security notifier` says {score}" in README.read_text(encoding="utf-8")
