"""What is sent next to one address, when it is tried again, and whose fault a failure is: tables of the pure plan."""

from __future__ import annotations

import pytest

from notifier.deliver import Form, Parcel, is_message_at_fault, next_parcel, probe_wait
from notifier.errors import DeliveryError
from notifier.model import Address, Delivery, Event, Key, Notice

NOW = 1000.0


def delivery(number: int, prediction: str = "a", due: float = 0.0) -> Delivery:
    notice = Notice(f"n{number}", Event.STATUS, NOW, Key("api", prediction))
    return Delivery(number, notice, Address("team", ""), attempts=0, created_at=0.0, due_at=due)


def incident(number: int) -> Delivery:
    return Delivery(number, Notice(f"i{number}", Event.INCIDENT, NOW), Address("team", ""), 0, 0.0, 0.0)


def ids(parcel: Parcel | float | None) -> tuple[Form, list[int]]:
    assert isinstance(parcel, Parcel)
    return parcel.form, [each.id for each in parcel.deliveries]


# --- what is next ------------------------------------------------------------------------------------------------


def test_nothing_waits() -> None:
    assert next_parcel([], now=NOW, digest_over=10) is None
    assert next_parcel([], now=NOW, digest_over=10, failures=1, probe_at=NOW + 5) is None


def test_the_oldest_prediction_goes_first_with_all_its_notices_in_order() -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "a")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=10)) == (Form.WHOLE, [1, 3])


def test_the_same_id_on_another_account_is_another_prediction() -> None:
    elsewhere = Delivery(2, Notice("n2", Event.STATUS, NOW, Key("other", "a")), Address("team", ""), 0, 0.0, 0.0)
    assert ids(next_parcel([delivery(1, "a"), elsewhere], now=NOW, digest_over=10)) == (Form.WHOLE, [1])


def test_a_later_notice_waits_for_the_earlier_one_of_its_prediction_but_for_no_other() -> None:
    waiting = [delivery(1, "a", due=NOW + 60), delivery(2, "a"), delivery(3, "b")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=10)) == (Form.WHOLE, [3])
    assert next_parcel(waiting[:2], now=NOW, digest_over=10) == NOW + 60
    assert ids(next_parcel(waiting[:2], now=NOW + 60, digest_over=10)) == (Form.WHOLE, [1, 2])


def test_a_later_notice_goes_with_the_earlier_one_although_it_is_not_due_itself() -> None:
    waiting = [delivery(1, "a"), delivery(2, "a", due=NOW + 60)]
    assert ids(next_parcel(waiting, now=NOW, digest_over=10)) == (Form.WHOLE, [1, 2])


def test_where_nothing_is_due_it_is_asked_again_when_the_first_is() -> None:
    waiting = [delivery(1, "a", due=NOW + 9), delivery(2, "b", due=NOW + 7), delivery(3, "b", due=NOW + 1)]
    assert next_parcel(waiting, now=NOW, digest_over=10) == NOW + 7


def test_notices_of_no_prediction_go_one_by_one() -> None:
    assert ids(next_parcel([incident(1), incident(2)], now=NOW, digest_over=10)) == (Form.WHOLE, [1])


# --- digests -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("digest_over", "form", "told"), [(3, Form.WHOLE, [1]), (2, Form.DIGEST, [1, 2, 3])])
def test_more_than_digest_over_waiting_are_one_message(digest_over: int, form: Form, told: list[int]) -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "c"), delivery(4, "d", due=NOW + 1)]
    assert ids(next_parcel(waiting, now=NOW, digest_over=digest_over)) == (form, told)


def test_a_digest_keeps_the_order_of_all_and_may_be_forbidden() -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "a"), incident(4)]
    assert ids(next_parcel(waiting, now=NOW, digest_over=1)) == (Form.DIGEST, [1, 2, 3, 4])
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, singly=True)) == (Form.WHOLE, [1, 3])


def test_a_digest_leaves_out_a_prediction_whose_first_notice_has_to_wait() -> None:
    waiting = [delivery(1, "a", due=NOW + 5), delivery(2, "b"), delivery(3, "a"), delivery(4, "c")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=1)) == (Form.DIGEST, [2, 4])


def test_a_plain_one_goes_alone_and_never_in_a_digest() -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "a"), delivery(4, "c")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=10, plain={1})) == (Form.PLAIN, [1])
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, plain={1})) == (Form.DIGEST, [2, 4])
    assert ids(next_parcel(waiting, now=NOW, digest_over=2, plain={2})) == (Form.DIGEST, [1, 3, 4])


# --- a channel that fails ----------------------------------------------------------------------------------------


def test_while_the_address_fails_nothing_is_sent_before_the_probe_is_due() -> None:
    waiting = [delivery(1, "a", due=NOW + 5), delivery(2, "b")]
    assert next_parcel(waiting, now=NOW, digest_over=10, failures=1, probe_at=NOW + 5) == NOW + 5
    assert ids(next_parcel(waiting, now=NOW + 5, digest_over=10, failures=1, probe_at=NOW + 5)) == (Form.WHOLE, [1])


def test_a_probe_tells_all_that_waits_for_its_prediction_and_is_no_digest() -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "a")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, failures=1)) == (Form.WHOLE, [1, 3])
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, failures=1, plain={1})) == (Form.PLAIN, [1])


@pytest.mark.parametrize(("failures", "probing"), [(3, 2), (6, 3), (9, 2), (12, 3)])
def test_the_oldest_probes_and_where_it_must_be_another_each_of_them_in_turn(failures: int, probing: int) -> None:
    """Should only some be refused, and not every message, the rest are not held up for ever."""
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]
    parcel = next_parcel(waiting, now=NOW, digest_over=1, failures=failures, another=True)
    assert ids(parcel) == (Form.WHOLE, [probing])
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, failures=failures)) == (Form.WHOLE, [1])
    assert ids(next_parcel(waiting[:1], now=NOW, digest_over=1, failures=failures, another=True)) == (Form.WHOLE, [1])


@pytest.mark.parametrize(("failures", "probing"), [(1, 2), (2, 3), (3, 1), (4, 2)])
def test_where_one_message_after_the_other_is_refused_each_probe_is_anothers(failures: int, probing: int) -> None:
    waiting = [delivery(1, "a"), delivery(2, "b"), delivery(3, "c")]
    parcel = next_parcel(waiting, now=NOW, digest_over=1, failures=failures, refusing=True)
    assert ids(parcel) == (Form.WHOLE, [probing])


def test_a_message_that_waits_by_itself_does_not_probe() -> None:
    waiting = [delivery(1, "a", due=NOW + 30), delivery(2, "b"), delivery(3, "c")]
    assert ids(next_parcel(waiting, now=NOW, digest_over=1, failures=1)) == (Form.WHOLE, [2])
    assert next_parcel(waiting[:1], now=NOW, digest_over=1, failures=1, probe_at=NOW - 5) == NOW + 30


# --- when it is tried again --------------------------------------------------------------------------------------

WAITS = (5.0, 30.0, 120.0)


@pytest.mark.parametrize(("failures", "wait"), [(1, 5.0), (2, 30.0), (3, 120.0), (4, 120.0), (1000, 120.0)])
@pytest.mark.parametrize(("chance", "jitter"), [(0.0, 0.8), (0.5, 1.0), (0.9999999, 1.2)])
def test_waits_follow_the_list_whose_last_one_repeats_with_a_fifth_of_jitter(
    failures: int, wait: float, chance: float, jitter: float
) -> None:
    assert probe_wait(failures, WAITS, chance=lambda: chance) == pytest.approx(wait * jitter)


def test_waits_differ_so_that_not_all_channels_are_tried_at_once() -> None:
    waits = {probe_wait(1, WAITS) for _ in range(50)}
    assert len(waits) > 1
    assert all(4.0 <= wait <= 6.0 for wait in waits)


@pytest.mark.parametrize(("said", "wait"), [(None, 5.0), (0.0, 5.0), (1.0, 5.0), (60.0, 60.0), (1e9, 3600.0)])
def test_the_channels_own_word_is_kept_when_it_is_longer_up_to_an_hour(said: float | None, wait: float) -> None:
    assert probe_wait(1, WAITS, said, chance=lambda: 0.5) == pytest.approx(wait)


# --- whose fault -------------------------------------------------------------------------------------------------

DOWN = DeliveryError("HTTP 503")
GONE = DeliveryError("HTTP 404: no_service", gone=True)
SILENT = DeliveryError("no answer within 60 s", maybe_arrived=True)
BUSY = DeliveryError("HTTP 429", retry_after=5.0)
REFUSED = DeliveryError("HTTP 400: invalid_payload", content=True)


@pytest.mark.parametrize(
    ("error", "others_pass", "failing", "refused", "at_fault"),
    [
        # As long as nothing else has passed it is the channel's, unless its answer speaks about the message.
        (DOWN, False, False, 0, False),
        (GONE, False, False, 0, False),
        (SILENT, False, True, 0, False),
        (REFUSED, False, False, 1, True),
        (REFUSED, False, True, 1, True),
        # Where no message passes, the channel is at fault after all.
        (REFUSED, False, False, 5, True),
        (REFUSED, False, False, 6, False),
        # It fails while others pass.
        (DOWN, True, False, 0, True),
        (SILENT, True, False, 0, True),
        (REFUSED, True, False, 6, True),
        # Others passed, but at the moment nothing does.
        (DOWN, True, True, 0, False),
        (REFUSED, True, True, 1, True),
        # Too many requests are no message's fault.
        (BUSY, True, False, 0, False),
        # Nor is it that the address is gone.
        (GONE, True, False, 0, False),
    ],
)
def test_whose_fault_a_failure_is(
    error: DeliveryError, others_pass: bool, failing: bool, refused: int, at_fault: bool
) -> None:
    assert is_message_at_fault(error, others_pass=others_pass, failing=failing, refused=refused) is at_fault
