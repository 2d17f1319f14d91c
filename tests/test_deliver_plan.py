"""What is sent next to one address, and when it is tried again: tables of the pure plan."""

from __future__ import annotations

import pytest

from notifier.deliver import Form, Parcel, next_parcel, probe_wait
from notifier.model import Address, Delivery, Event, Key, Notice

NOW = 1000.0


def delivery(number: int, prediction: str = "a", due: float = 0.0) -> Delivery:
    notice = Notice(f"n{number}", Event.STATUS, NOW, Key("api", prediction))
    return Delivery(number, notice, Address("team", ""), attempts=0, created_at=0.0, due_at=due)


def ids(parcel: Parcel | float | None) -> tuple[Form, list[int]]:
    assert isinstance(parcel, Parcel)
    return parcel.form, [each.id for each in parcel.deliveries]


def test_nothing_waits() -> None:
    assert next_parcel([], now=NOW, digest_over=10) is None


def test_the_oldest_prediction_goes_first_with_all_its_notices_in_order() -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "a")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=10)) == (Form.WHOLE, [1, 3])


def test_a_later_notice_waits_for_the_earlier_one_of_its_prediction_but_for_no_other() -> None:
    waiting = [delivery(1, "a", due=NOW + 60), delivery(2, "a"), delivery(3, "b")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=10)) == (Form.WHOLE, [3])
    assert next_parcel(waiting[:2], now=NOW, digest_over=10) == NOW + 60
    assert ids(next_parcel(waiting[:2], now=NOW + 60, digest_over=10)) == (Form.WHOLE, [1, 2])


def test_notices_of_no_prediction_go_one_by_one() -> None:
    notices = [Notice(f"i{number}", Event.INCIDENT, NOW) for number in (1, 2)]
    waiting = [Delivery(n, notice, Address("t", ""), 0, 0.0, 0.0) for n, notice in enumerate(notices)]
    assert ids(next_parcel(waiting, now=NOW, digest_over=10)) == (Form.WHOLE, [0])


@pytest.mark.parametrize(("digest_over", "form", "told"), [(3, Form.WHOLE, [1]), (2, Form.DIGEST, [1, 2, 3])])
def test_more_than_digest_over_waiting_are_one_message(digest_over: int, form: Form, told: list[int]) -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "c"), delivery(4, "d", due=NOW + 1)]
    assert ids(next_parcel(waiting, now=NOW, digest_over=digest_over)) == (form, told)


def test_a_digest_keeps_the_order_of_all_and_may_be_forbidden() -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "a")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=1)) == (Form.DIGEST, [1, 2, 3])
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, singly=True)) == (Form.WHOLE, [1, 3])


def test_a_plain_one_goes_alone_and_never_in_a_digest() -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "a"), delivery(4, "c")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=10, plain={1})) == (Form.PLAIN, [1])
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, plain={1})) == (Form.DIGEST, [2, 4])


def test_while_the_address_fails_nothing_is_sent_before_the_probe_is_due() -> None:
    waiting = [delivery(1, "a", due=NOW + 5), delivery(2, "b")]
    assert next_parcel(waiting, now=NOW, digest_over=10, failures=1, probe_at=NOW + 5) == NOW + 5
    assert ids(next_parcel(waiting, now=NOW + 5, digest_over=10, failures=1, probe_at=NOW + 5)) == (Form.WHOLE, [1])


@pytest.mark.parametrize(("failures", "probing"), [(1, 1), (2, 1), (3, 2), (4, 1), (5, 1), (6, 1), (7, 2), (8, 1)])
def test_the_oldest_probes_and_every_fourth_time_another(failures: int, probing: int) -> None:
    """Should only the oldest be refused, and not every message, the others are not held up for ever."""
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, failures=failures)) == (Form.WHOLE, [probing])
    assert ids(next_parcel(waiting[:1], now=NOW, digest_over=1, failures=failures)) == (Form.WHOLE, [1])


WAITS = (5.0, 30.0, 120.0)


@pytest.mark.parametrize(("failures", "wait"), [(1, 5.0), (2, 30.0), (3, 120.0), (4, 120.0), (1000, 120.0)])
@pytest.mark.parametrize(("chance", "jitter"), [(0.0, 0.8), (0.5, 1.0), (0.9999999, 1.2)])
def test_waits_follow_the_list_whose_last_one_repeats_with_a_fifth_of_jitter(
    failures: int, wait: float, chance: float, jitter: float
) -> None:
    assert probe_wait(failures, WAITS, chance=lambda: chance) == pytest.approx(wait * jitter)


@pytest.mark.parametrize(("said", "wait"), [(None, 5.0), (1.0, 5.0), (60.0, 60.0), (1e9, 3600.0)])
def test_the_channels_own_word_is_kept_when_it_is_longer_up_to_an_hour(said: float | None, wait: float) -> None:
    assert probe_wait(1, WAITS, said, chance=lambda: 0.5) == pytest.approx(wait)
