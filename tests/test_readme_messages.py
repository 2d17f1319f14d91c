"""The README shows messages as they are."""

from __future__ import annotations

import re

from tests.readme_messages import BEGIN, END, README, section, with_section


def test_the_readme_shows_what_arrives_at_slack_and_in_a_mailbox() -> None:
    """Else: `python -m tests.readme_messages`."""
    readme = README.read_text(encoding="utf-8")
    assert BEGIN in readme
    assert with_section(readme) == readme


def test_the_section_is_one_block_of_html_in_which_no_text_is_markup() -> None:
    made = section()
    assert "\n\n" not in made, "an empty line would end the block of HTML, and Markdown begin"
    assert END not in made
    assert set(re.findall(r"</?(\w+)", made)) == {"table", "tr", "th", "td", "b", "br", "sub"}
    assert "&lt;A100&gt; is full &amp; busy" in made
