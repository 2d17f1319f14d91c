"""Whose trouble a failed poll is: the watch's own or the whole account's, as tables ("An account in
trouble is one incident, not one notice per watch").
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.decide import AccountDecision, AccountState, Surroundings, decide_account, decide_watch, incident_notice
from notifier.model import Api, Failure, IncidentKind, Key, State
from tests.builders import HOUR, MINUTE, START, Seen, Told, a_failure, a_key, a_watch, an_api, an_observation, in_short

REFUSED = a_failure(Failure.REFUSED, "HTTP 401: invalid token")
TIMED_OUT = a_failure()
NOT_FOUND = a_failure(Failure.NOT_FOUND, "HTTP 404")
THROTTLED = a_failure(Failure.THROTTLED, "HTTP 429")
ANSWER = "processing"


class Poll(NamedTuple):
    """One poll of an account's story: which watch, what came, when it was asked, how long a 429 makes all wait."""

    at: float
    watch: str
    seen: Seen
    asked: float | None = None
    """Half a second before, if not said."""
    hold: float = 0.0


def decide_poll(before: AccountState, poll: Poll, *, api: Api, watches: int) -> AccountDecision:
    """Decide one poll of an account's story."""
    return decide_account(
        before,
        a_key(poll.watch),
        an_observation(poll.seen) if isinstance(poll.seen, str) else poll.seen,
        api=api,
        watches=watches,
        asked_at=START + (poll.at - 0.5 if poll.asked is None else poll.asked),
        hold=poll.hold,
        now=START + poll.at,
    )


@dataclass
class Account:
    """An account whose polls are decided one after the other, as the daemon does it."""

    api: Api = field(default_factory=an_api)
    watches: int = 10
    state: AccountState = AccountState()  # noqa: RUF009 - frozen
    followed: list[tuple[float, str]] = field(default_factory=list)
    """What followed from each poll: `check` (ask another watch at once), `began` or `ended` (the incident)."""

    def poll(self, poll: Poll) -> AccountDecision:
        decision = decide_poll(self.state, poll, api=self.api, watches=self.watches)
        self.state = decision.after
        for word, so in (("check", decision.check), ("began", decision.began), ("ended", decision.ended)):
            if so:
                self.followed.append((poll.at, word))
        return decision


@dataclass(frozen=True)
class Story:
    """What was seen of an account, and what follows from which poll."""

    name: str
    seen: list[Poll]
    follows: list[tuple[float, str]]
    watches: int = 10
    api: Api = field(default_factory=an_api)

    def played(self) -> list[tuple[float, str]]:
        """What `decide` makes of it."""
        account = Account(self.api, self.watches)
        for poll in self.seen:
            account.poll(poll)
        return account.followed


def stories(*table: Story) -> pytest.MarkDecorator:
    """Run a test for each story, under its name."""
    return pytest.mark.parametrize("story", [pytest.param(story, id=story.name.replace(" ", "-")) for story in table])


def in_turn(watches: str, seen: Seen, *, start: float, wait: float, times: int) -> list[Poll]:
    """Polls of several watches, one after the other, `wait` seconds apart."""
    return [Poll(start + wait * turn, watches[turn % len(watches)], seen) for turn in range(times)]


# --- refusals --------------------------------------------------------------------------------------------------------


@stories(
    Story("another is answered", [Poll(0, "a", REFUSED), Poll(1, "b", ANSWER)], [(0, "check")]),
    Story("another is refused too", [Poll(0, "a", REFUSED), Poll(1, "b", REFUSED)], [(0, "check"), (1, "began")]),
    Story("another is not answered at all", [Poll(0, "a", REFUSED), Poll(90, "b", TIMED_OUT)],
          [(0, "check"), (90, "began")]),
    Story("there is no other", [Poll(0, "a", REFUSED)], [(0, "began")], watches=1),
    Story("an answer to an older question clears nobody",
          [Poll(0, "a", REFUSED), Poll(1, "c", ANSWER, asked=-40), Poll(2, "b", REFUSED)],
          [(0, "check"), (2, "began")]),
    Story("a refusal of an older question is not the check",
          [Poll(0, "a", REFUSED), Poll(0.2, "b", REFUSED, asked=-0.3), Poll(1, "c", ANSWER, asked=0.1)],
          [(0, "check")]),
    Story("the same watch again is checked again",
          [Poll(0, "a", REFUSED), Poll(1, "b", ANSWER), Poll(30, "a", REFUSED), Poll(31, "c", REFUSED)],
          [(0, "check"), (30, "check"), (31, "began")]),
    Story("the check may be answered after the same watch was refused again",
          [Poll(0, "a", REFUSED), Poll(30, "a", REFUSED), Poll(31, "b", REFUSED, asked=1)],
          [(0, "check"), (30, "check"), (31, "began")]),
    Story("two watches with a trouble of their own, each checked and cleared",
          [Poll(0, "a", REFUSED), Poll(1, "c", ANSWER), Poll(10, "b", REFUSED), Poll(11, "c", ANSWER)],
          [(0, "check"), (10, "check")]),
    Story("nobody is checked while the incident lasts",
          [*in_turn("ab", REFUSED, start=0, wait=1, times=2), *in_turn("cdef", REFUSED, start=2, wait=1, times=9)],
          [(0, "check"), (1, "began")]),
)  # fmt: skip
def test_a_refusal_is_checked_with_another_watch_before_it_is_the_accounts(story: Story) -> None:
    assert story.played() == story.follows


# --- all polls failing -----------------------------------------------------------------------------------------------


@stories(
    Story("three watches for two minutes", in_turn("abc", TIMED_OUT, start=0, wait=20, times=20), [(120, "began")]),
    Story("not sooner", in_turn("abcdefg", TIMED_OUT, start=0, wait=17, times=8), []),
    Story("not two watches", in_turn("ab", TIMED_OUT, start=0, wait=20, times=50), []),
    Story("not one of a thousand", in_turn("a", TIMED_OUT, start=0, wait=20, times=50), [], watches=1000),
    Story("once there is a third", [*in_turn("ab", TIMED_OUT, start=0, wait=30, times=9), Poll(300, "c", TIMED_OUT)],
          [(300, "began")]),
    Story("an answer starts the count of watches anew",
          [*in_turn("abc", TIMED_OUT, start=0, wait=30, times=4), Poll(100, "d", ANSWER),
           *in_turn("ab", TIMED_OUT, start=110, wait=30, times=9)], []),
    Story("an answer starts the two minutes anew",
          [*in_turn("abc", TIMED_OUT, start=0, wait=30, times=4), Poll(100, "d", ANSWER),
           *in_turn("abc", TIMED_OUT, start=110, wait=30, times=4)], []),
    Story("whatever way they fail",
          [Poll(0, "a", a_failure(Failure.SERVER)), Poll(60, "b", a_failure(Failure.MALFORMED)),
           Poll(120, "c", a_failure(Failure.REDIRECT))], [(120, "began")]),
    Story("404 never counts for it",
          [*in_turn("ab", TIMED_OUT, start=0, wait=30, times=9),
           *in_turn("cde", NOT_FOUND, start=300, wait=30, times=9)], []),
    Story("not even if there is nothing else", in_turn("abcdef", NOT_FOUND, start=0, wait=30, times=50), []),
    Story("nor against it",
          [Poll(0, "a", TIMED_OUT), Poll(60, "b", TIMED_OUT), Poll(90, "d", NOT_FOUND), Poll(120, "c", TIMED_OUT)],
          [(120, "began")]),
    Story("after the account's own incident_after", in_turn("abc", TIMED_OUT, start=0, wait=1, times=9),
          [(2, "began")], api=an_api(incident_after=2.0)),
)  # fmt: skip
def test_every_poll_failing_for_two_minutes_over_three_watches_is_an_incident(story: Story) -> None:
    assert story.played() == story.follows


# --- holds -----------------------------------------------------------------------------------------------------------


@stories(
    Story("of an hour", [Poll(0, "a", THROTTLED, hold=HOUR)], [(0, "began")]),
    Story("of ten minutes and a second", [Poll(0, "a", THROTTLED, hold=601)], [(0, "began")]),
    Story("not of ten minutes", [Poll(0, "a", THROTTLED, hold=600)], []),
    Story("that is prolonged", [Poll(at, "a", THROTTLED, hold=240) for at in (0, 240, 480, 720)], [(480, "began")]),
    Story("that is short, but comes again and again: nobody else would say that nothing is seen",
          [Poll(30 * turn, "a", THROTTLED, hold=1) for turn in range(30)], [(600, "began")], watches=1),
    Story("not if an answer came between",
          [Poll(0, "a", THROTTLED, hold=400), Poll(401, "b", ANSWER), Poll(402, "a", THROTTLED, hold=400)], []),
    Story("not time-outs before or after a short one",
          [*in_turn("a", TIMED_OUT, start=0, wait=60, times=11), Poll(650, "a", THROTTLED, hold=1),
           *in_turn("a", TIMED_OUT, start=700, wait=60, times=11)], [], watches=1),
    Story("of an account with one watch too", [Poll(0, "a", THROTTLED, hold=HOUR)], [(0, "began")], watches=1),
    Story("once", [Poll(0, "a", THROTTLED, hold=HOUR), Poll(1, "b", THROTTLED, hold=HOUR)], [(0, "began")]),
    Story("ended by an answer", [Poll(0, "a", THROTTLED, hold=HOUR), Poll(HOUR, "b", ANSWER)],
          [(0, "began"), (HOUR, "ended")]),
)  # fmt: skip
def test_a_hold_of_more_than_ten_minutes_is_an_incident(story: Story) -> None:
    assert story.played() == story.follows


# --- the end ---------------------------------------------------------------------------------------------------------

REFUSED_TWICE = [Poll(0, "a", REFUSED), Poll(1, "b", REFUSED)]
BEGUN = [(0.0, "check"), (1.0, "began")]


@stories(
    Story("when the probe is answered, once",
          [*REFUSED_TWICE, *in_turn("abc", ANSWER, start=31, wait=1, times=9)], [*BEGUN, (31, "ended")]),
    Story("not by an answer to an older question", [*REFUSED_TWICE, Poll(50, "c", ANSWER, asked=0.9)], BEGUN),
    Story("not by another failure", [*REFUSED_TWICE, *in_turn("cd", TIMED_OUT, start=31, wait=30, times=50)], BEGUN),
    Story("and begins again when all is refused again",
          [*REFUSED_TWICE, Poll(31, "a", ANSWER), Poll(60, "c", REFUSED), Poll(61, "d", REFUSED)],
          [*BEGUN, (31, "ended"), (60, "check"), (61, "began")]),
    Story("and what failed before it does not count for the next",
          [*in_turn("abc", TIMED_OUT, start=0, wait=60, times=3), Poll(200, "a", ANSWER),
           *in_turn("abc", TIMED_OUT, start=210, wait=50, times=3)],
          [(120, "began"), (200, "ended")]),
)  # fmt: skip
def test_an_incident_ends_once_with_the_first_answer_to_a_question_asked_since(story: Story) -> None:
    assert story.played() == story.follows


def test_an_incident_says_whose_it_is_since_when_how_many_watches_it_holds_and_why() -> None:
    account = Account(watches=50)
    began = [account.poll(poll) for poll in REFUSED_TWICE][-1].began
    assert began is not None
    assert (began.kind, began.subject, began.since, began.count) == (IncidentKind.API, "cometapi", START, 50)
    assert "invalid token" in began.detail
    assert account.poll(Poll(31, "c", ANSWER)).ended == began


# --- both decisions together -----------------------------------------------------------------------------------------


def live(polls: Iterable[Poll], account: Account) -> dict[str, list[Told]]:
    """Decide each poll for its account, then for its watch; what each watch told, `operators` for the incidents."""
    states: dict[Key, State] = {}
    told: dict[str, list[Told]] = {}
    for poll in polls:
        now, watch = START + poll.at, a_watch(a_key(poll.watch))
        decided = account.poll(poll)
        trouble = decided.after.incident is not None
        where = Surroundings(account.watches, decided.after.answered_beside(watch.key), trouble)
        before = states.get(watch.key, State(watched_since=START))
        seen = an_observation(poll.seen) if isinstance(poll.seen, str) else poll.seen
        decision = decide_watch(watch, before, seen, where, now=now, wall=now)
        states[watch.key] = decision.after
        if decided.began is not None:
            told.setdefault("operators", []).append(in_short(incident_notice(decided.began, now)))
        if decision.notice is not None:
            told.setdefault(poll.watch, []).append(in_short(decision.notice))
    return told


def rounds(watches: str, seen: Seen, *, start: float, wait: float = 30, times: int) -> list[Poll]:
    """All these watches polled at about the same time, several times over."""
    return [
        Poll(start + wait * turn + place / 100, watch, seen)
        for turn in range(times)
        for place, watch in enumerate(watches)
    ]


def merged(*polls: list[Poll]) -> list[Poll]:
    return sorted(itertools.chain(*polls), key=lambda poll: poll.at)


def test_an_outage_is_one_incident_and_no_notice_of_any_watch() -> None:
    account = Account(watches=5)
    outage = [*rounds("abcde", TIMED_OUT, start=0, times=5), *in_turn("a", TIMED_OUT, start=150, wait=30, times=15)]
    told = live([*outage, *rounds("abcde", ANSWER, start=600, times=5)], account)
    assert list(told) == ["operators"]
    assert [word for _, word in account.followed] == ["began", "ended"]


def test_a_token_that_expires_is_one_incident_for_fifty_watches() -> None:
    account = Account(watches=50)
    fifty = "".join(map(chr, range(ord("A"), ord("A") + 50)))
    check = [Poll(31, "B", REFUSED)]
    told = live(
        merged(rounds(fifty, ANSWER, start=0, times=1), rounds(fifty, REFUSED, start=30, times=9), check), account
    )
    assert list(told) == ["operators"]
    assert len(told["operators"]) == 1


def test_a_watch_refused_while_others_are_answered_is_unreachable_once_and_no_incident() -> None:
    account = Account(watches=3)
    told = live(merged(rounds("a", REFUSED, start=0, times=20), rounds("bc", ANSWER, start=1, times=20)), account)
    assert list(told) == ["a"]
    assert [notice.event for notice in told["a"]] == ["unreachable"]
    assert "began" not in [word for _, word in account.followed]


def test_two_watches_that_are_refused_side_by_side_while_others_are_answered_are_no_incident() -> None:
    """Each is checked with another watch, which is answered; that the other one fails as well proves nothing."""
    account = Account(watches=4)
    refused = rounds("ab", REFUSED, start=0, times=20)
    told = live(merged(refused, rounds("cd", ANSWER, start=1, times=20)), account)
    assert sorted(told) == ["a", "b"]


def test_an_account_of_two_watches_has_no_incident_for_time_outs_but_each_is_unreachable() -> None:
    told = live(rounds("ab", TIMED_OUT, start=0, times=20), Account(watches=2))
    assert {watch: [notice.event for notice in notices] for watch, notices in told.items()} == {
        "a": ["unreachable"],
        "b": ["unreachable"],
    }


# --- promises for every story ----------------------------------------------------------------------------------------

POLLS = st.lists(
    st.builds(
        Poll,
        st.sampled_from([0.0, 1.0, 30.0, 5 * MINUTE]),
        st.sampled_from("abcd"),
        st.just(ANSWER) | st.builds(a_failure, st.sampled_from(Failure)),
        st.sampled_from([0.0, 0.5, 60.0, 20 * MINUTE]),
        st.sampled_from([0.0, 30.0, HOUR]),
    ),
    max_size=25,
)


def laid_out(polls: Iterable[Poll]) -> list[Poll]:
    """Turn the waits between polls, and the time each took, into times."""
    at, laid = 0.0, []
    for poll in polls:
        at += poll.at
        laid.append(poll._replace(at=at, asked=at - (poll.asked or 0.0)))
    return laid


@given(POLLS, st.sampled_from([1, 2, 4]))
@settings(deadline=None)
def test_incidents_begin_and_end_in_turn_and_end_only_by_an_answer_asked_since(polls: list[Poll], watches: int) -> None:
    account = Account(watches=watches)
    for poll in laid_out(polls):
        before = account.state.incident
        decision = account.poll(poll)
        assert not (decision.began and before)
        assert decision.ended in (None, before)
        if decision.ended is not None:
            assert poll.seen in (ANSWER, a_failure(Failure.NOT_FOUND))
            assert poll.asked is not None
            assert START + poll.asked >= decision.ended.since
        assert decision.after.incident == (None if decision.ended else decision.began or before)
        assert not (decision.check and (decision.after.incident or watches == 1))


@given(POLLS)
@settings(deadline=None)
def test_an_account_that_only_answers_or_does_not_find_has_no_incident(polls: list[Poll]) -> None:
    account = Account()
    for poll in laid_out(polls):
        account.poll(poll if poll.seen == ANSWER else poll._replace(seen=NOT_FOUND))
    assert account.followed == []


@given(POLLS)
@settings(deadline=None)
def test_the_account_knows_when_a_watch_other_than_any_given_one_was_answered(polls: list[Poll]) -> None:
    account, answers = Account(), [(0.0, "")]
    for poll in laid_out(polls):
        if poll.seen == a_failure(Failure.NOT_FOUND):  # whether that is an answer is another question
            continue
        account.poll(poll)
        if poll.seen == ANSWER:
            answers.append((START + poll.at, poll.watch))
        for watch in "abcde":
            last = max(at for at, by in answers if by != watch)
            assert account.state.answered_beside(a_key(watch)) == (last or None)


def test_429_that_were_under_way_together_count_as_one() -> None:
    """Without the API's own word the hold grows with their number, which ten at once must not drive up."""
    account = Account(watches=10)
    hail = [Poll(1, f"w{number}", THROTTLED, asked=0) for number in range(9)]
    assert [account.poll(poll) for poll in hail][-1].after.throttled == 1
    assert account.poll(Poll(30, "w1", THROTTLED, asked=29)).after.throttled == 2


def test_two_watches_refused_for_ever_while_others_are_let_in_are_one_incident_at_most() -> None:
    """Each might be the other's check; once another was let in, their refusals are no evidence any more."""
    account = Account(watches=4)
    came: dict[str, Seen] = {"a": REFUSED, "b": REFUSED, "c": an_observation(ANSWER), "d": an_observation(ANSWER)}
    turns = [Poll(30 * turn + place, name, came[name]) for turn in range(20) for place, name in enumerate("abcd")]
    assert [turn.at for turn in turns if account.poll(turn).began] == [1]
    assert account.poll(Poll(700, "c", REFUSED)).check
    assert account.poll(Poll(702, "d", REFUSED, asked=701)).began
