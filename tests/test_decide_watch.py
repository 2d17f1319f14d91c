"""What an answer means for its watch, as tables: first sight, changes, final statuses, error texts.

Each row is what was seen in, what is told out, and what is known then.
"""

from __future__ import annotations

import pytest

from notifier.model import FINAL, Failure, Status
from tests.builders import (
    LINK,
    START,
    Seen,
    Step,
    Story,
    Told,
    a_failure,
    a_quiet_watch,
    a_watch,
    an_observation,
    around,
    every,
    in_short,
    notices,
    play,
    stories,
)

NSFW = "NSFW content detected"
NOT_FOUND = a_failure(Failure.NOT_FOUND, "HTTP 404")
TIMED_OUT = a_failure()

# --- first sight -----------------------------------------------------------------------------------------------------


@stories(
    Story("starting is the baseline", [Step(0, "starting")], [], "starting"),
    Story("processing is the baseline", [Step(0, "processing")], [], "processing"),
    Story(
        "a final status is told",
        [Step(0, "aborted")],
        [Told(0, "status", None, "aborted", "status aborted")],
        "aborted",
        done=True,
    ),
    Story(
        "a final status with its error text is one notice",
        [Step(0, an_observation("failed", error=NSFW))],
        [Told(0, "status", None, "failed", "status failed error", NSFW)],
        "failed",
        error=NSFW,
        done=True,
    ),
    Story(
        "an unknown status is told, by the word status alone",
        [Step(0, "queued")],
        [Told(0, "status", None, "queued", "status")],
        "queued",
    ),
    Story(
        "an error text of a running prediction is told",
        [Step(0, an_observation("processing", error=NSFW))],
        [Told(0, "error", None, "processing", "error", NSFW)],
        "processing",
        error=NSFW,
    ),
    Story(
        "after failed polls it is still the first sight",
        [Step(0, TIMED_OUT), Step(30, NOT_FOUND), Step(60, "starting")],
        [],
        "starting",
    ),
)
def test_at_first_sight_a_running_prediction_is_the_baseline_and_all_else_is_told(story: Story) -> None:
    assert story.played() == story.promised()


@stories(
    Story("running", [Step(0, "starting")], [], "starting", watch=a_quiet_watch()),
    Story("final", [Step(0, "canceled")], [], "canceled", done=True, watch=a_quiet_watch()),
    Story(
        "final with output",
        [Step(0, an_observation("succeeded", output=(LINK,)))],
        [],
        "succeeded",
        done=True,
        watch=a_quiet_watch(),
    ),
    Story(
        "final with an error text",
        [Step(0, an_observation("failed", error=NSFW))],
        [],
        "failed",
        error=NSFW,
        done=True,
        watch=a_quiet_watch(),
    ),
    Story("unknown", every(30, "queued", times=2), [], "queued", watch=a_quiet_watch()),
    Story(
        "an error text, until it changes",
        [*every(30, an_observation(error="a"), times=2), Step(60, an_observation(error="b"))],
        [Told(60, "error", "processing", "processing", "error", "b")],
        "processing",
        error="b",
        watch=a_quiet_watch(),
    ),
    Story(
        "what comes after it is told",
        [Step(0, "starting"), Step(30, "processing")],
        [Told(30, "status", "starting", "processing", "status processing")],
        "processing",
        watch=a_quiet_watch(),
    ),
)
def test_a_quiet_first_sight_notes_and_tells_nothing(story: Story) -> None:
    assert story.played() == story.promised()


# --- changes of status -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", list(Status))
def test_each_of_the_six_statuses_is_told_by_its_name_and_only_four_are_final(status: Status) -> None:
    before = Status.PROCESSING if status is Status.STARTING else Status.STARTING
    decisions = play(a_watch(), [Step(0, before.value), Step(30, status.value), Step(60, "processing")])
    assert in_short(notices(decisions)[0]) == Told(30, "status", before, status, " ".join(sorted(["status", status])))
    assert decisions[-1].after.status == (status if status in FINAL else "processing")
    assert decisions[1].after.done is (status in (Status.CANCELED, Status.ABORTED))


@stories(
    Story(
        "each change is told once",
        [
            *every(30, "starting", times=3),
            *every(30, "processing", start=90, times=3),
            *every(30, an_observation("succeeded", output=(LINK,)), start=180, times=1),
        ],
        [
            Told(90, "status", "starting", "processing", "status processing"),
            Told(180, "status", "processing", "succeeded", "status succeeded"),
        ],
        "succeeded",
        done=True,
    ),
    Story(
        "a status that passed between two polls is not made up",
        [Step(0, "starting"), Step(30, an_observation("succeeded", output=(LINK,)))],
        [Told(30, "status", "starting", "succeeded", "status succeeded")],
        "succeeded",
        done=True,
    ),
    Story(
        "a requeued prediction is told like any change",
        [Step(0, "processing"), Step(30, "starting")],
        [Told(30, "status", "processing", "starting", "status starting")],
        "starting",
    ),
    Story(
        "logs, metrics, times, partial output and a removal are no change",
        [
            Step(0, an_observation(logs="1%", metrics=(("predict_time", 1.0),), created_at=START)),
            Step(30, an_observation(logs="2%", metrics=(("predict_time", 2.0),), created_at=START - 0.5)),
            Step(60, an_observation(output=("https://example.com/part",), text="Hel", remark="odd", deadline=START)),
            Step(90, an_observation(data_removed=True, started_at=START)),
        ],
        [],
        "processing",
    ),
    Story(
        "failed polls leave the last good state",
        [
            Step(0, an_observation("processing", error="a")),
            *[Step(1 + at, a_failure(failure)) for at, failure in enumerate(Failure) if failure != Failure.NOT_FOUND],
            Step(30, an_observation("processing", error="a")),
        ],
        [Told(0, "error", None, "processing", "error", "a")],
        "processing",
        error="a",
    ),
)
def test_a_change_of_status_is_told_once_with_old_and_new(story: Story) -> None:
    assert story.played() == story.promised()


@stories(
    Story(
        "once however long it lasts",
        [Step(0, "starting"), *every(30, "queued", start=30, times=20)],
        [Told(30, "status", "starting", "queued", "status")],
        "queued",
    ),
    Story(
        "once however often it comes back",
        [Step(0, "starting"), Step(30, "queued"), Step(60, "starting"), Step(90, "queued"), Step(120, "processing")],
        [
            Told(30, "status", "starting", "queued", "status"),
            Told(60, "status", "queued", "starting", "status starting"),
            Told(120, "status", "queued", "processing", "status processing"),
        ],
        "processing",
    ),
    Story(
        "each of several",
        [Step(0, "queued"), Step(30, "paused"), Step(60, "queued"), Step(90, "paused")],
        [Told(0, "status", None, "queued", "status"), Told(30, "status", "queued", "paused", "status")],
        "paused",
    ),
    Story(
        "a word of event lists as a status lets nothing else through",
        [Step(0, "starting"), Step(30, "error"), Step(60, "lost"), Step(90, "all")],
        [
            Told(30, "status", "starting", "error", "status"),
            Told(60, "status", "error", "lost", "status"),
            Told(90, "status", "lost", "all", "status"),
        ],
        "all",
    ),
)
def test_a_status_nobody_knows_is_told_once_as_it_is_and_never_ends_the_watch(story: Story) -> None:
    assert story.played() == story.promised()


# --- final statuses --------------------------------------------------------------------------------------------------


SUCCEEDED = Told(0, "status", None, "succeeded", "status succeeded")
FAILED = Told(0, "status", None, "failed", "status failed")


@stories(
    Story("canceled", [Step(0, "canceled")], [FAILED._replace(status="canceled", names="status canceled")], "canceled",
          done=True),
    Story("succeeded with links", [Step(0, an_observation("succeeded", output=(LINK,)))], [SUCCEEDED], "succeeded",
          done=True),
    Story("succeeded with text", [Step(0, an_observation("succeeded", has_output=True, text="Hi"))], [SUCCEEDED],
          "succeeded", done=True),
    Story("succeeded with its data removed", [Step(0, an_observation("succeeded", data_removed=True))], [SUCCEEDED],
          "succeeded", done=True),
    Story("succeeded without output", [Step(0, "succeeded")], [SUCCEEDED], "succeeded"),
    Story("failed without an error text", [Step(0, "failed")], [FAILED], "failed"),
    Story("failed with an empty error text", [Step(0, an_observation("failed", error=""))], [FAILED], "failed"),
    Story("not before ten minutes", every(599, "succeeded", times=2), [SUCCEEDED], "succeeded"),
    Story("not before ten minutes since it became final", [Step(0, "starting"), Step(700, "succeeded")],
          [SUCCEEDED._replace(at=700, before="starting")], "succeeded"),
    Story("after ten minutes, silently", every(300, "succeeded", times=3), [SUCCEEDED], "succeeded", done=True),
    Story("after ten minutes, though the poll failed", [Step(0, "succeeded"), Step(600, TIMED_OUT)], [SUCCEEDED],
          "succeeded", done=True),
    Story("after ten minutes, though the account is in trouble",
          [Step(0, "succeeded"), Step(600, TIMED_OUT, around(in_trouble=True))], [SUCCEEDED], "succeeded", done=True),
    Story("after ten minutes, though a running status came late", [Step(0, "succeeded"), Step(600, "processing")],
          [SUCCEEDED], "succeeded", done=True),
    Story("after the account's own settle", every(5, "succeeded", times=2), [SUCCEEDED], "succeeded", done=True,
          watch=a_watch(settle=5.0)),
    Story("once the data is removed, silently", [Step(0, "succeeded"), Step(30, an_observation("succeeded",
          data_removed=True))], [SUCCEEDED], "succeeded", done=True),
    Story("once the output is there", [Step(0, "succeeded"), Step(30, an_observation("succeeded", output=(LINK,)))],
          [SUCCEEDED, Told(30, "output", "succeeded", "succeeded", "output")], "succeeded", done=True),
    Story("once the error text is there", [Step(0, "failed"), Step(30, an_observation("failed", error=NSFW))],
          [FAILED, Told(30, "error", "failed", "failed", "error", NSFW)], "failed", error=NSFW, done=True),
)  # fmt: skip
def test_a_watch_is_done_when_its_final_status_has_all_that_can_come_with_it(story: Story) -> None:
    assert story.played() == story.promised()


@stories(
    Story(
        "a running status is not believed",
        [Step(0, "succeeded"), Step(30, "processing"), Step(60, "starting"), Step(90, "succeeded")],
        [SUCCEEDED],
        "succeeded",
    ),
    Story("nor is an error text that comes with it",
          [Step(0, "succeeded"), Step(30, an_observation("processing", error=NSFW))], [SUCCEEDED], "succeeded"),
    Story(
        "output after a running status is told",
        [Step(0, "succeeded"), Step(30, "processing"), Step(60, an_observation("succeeded", output=(LINK,)))],
        [SUCCEEDED, Told(60, "output", "succeeded", "succeeded", "output")],
        "succeeded",
        done=True,
    ),
    Story(
        "another final status before the watch is done is told",
        [Step(0, "succeeded"), Step(30, an_observation("failed", error=NSFW))],
        [SUCCEEDED, Told(30, "status", "succeeded", "failed", "status failed error", NSFW)],
        "failed",
        error=NSFW,
        done=True,
    ),
    Story(
        "another final status with output is one notice",
        [Step(0, "failed"), Step(30, an_observation("succeeded", output=(LINK,)))],
        [FAILED, Told(30, "status", "failed", "succeeded", "status succeeded")],
        "succeeded",
        done=True,
    ),
    Story(
        "two that alternate end after ten minutes all the same",
        [Step(0, "succeeded"), Step(300, "failed"), Step(599, "succeeded"), Step(601, "succeeded")],
        [
            SUCCEEDED,
            Told(300, "status", "succeeded", "failed", "status failed"),
            Told(599, "status", "failed", "succeeded", "status succeeded"),
        ],
        "succeeded",
        done=True,
    ),
)  # fmt: skip
def test_a_final_status_is_never_left_for_a_running_one(story: Story) -> None:
    assert story.played() == story.promised()


def test_partial_output_of_a_running_prediction_is_not_taken_for_its_output() -> None:
    decisions = play(a_watch(), [Step(0, an_observation("processing", output=(LINK,))), Step(30, "succeeded")])
    assert not decisions[-1].after.has_output
    assert not decisions[-1].after.done


# --- error texts -----------------------------------------------------------------------------------------------------


def failing(text: str | None) -> Seen:
    return an_observation("processing", error=text)


@stories(
    Story("an empty text is none", [Step(0, failing("")), Step(30, failing(None)), Step(60, failing(""))], [],
          "processing"),
    Story("once while it lasts", [Step(0, "processing"), *every(30, failing("a"), start=30, times=9)],
          [Told(30, "error", "processing", "processing", "error", "a")], "processing", error="a"),
    Story("when it changes", [Step(0, failing("a")), Step(30, failing("b"))],
          [Told(0, "error", None, "processing", "error", "a"),
           Told(30, "error", "processing", "processing", "error", "b")], "processing", error="b"),
    Story("not when it vanishes", [Step(0, failing("a")), Step(30, failing(None))],
          [Told(0, "error", None, "processing", "error", "a")], "processing"),
    Story("not when it becomes empty, which is none", [Step(0, failing("a")), Step(30, failing(""))],
          [Told(0, "error", None, "processing", "error", "a")], "processing"),
    Story("when it appears again", [Step(0, failing("a")), Step(30, failing(None)), Step(60, failing("a"))],
          [Told(0, "error", None, "processing", "error", "a"),
           Told(60, "error", "processing", "processing", "error", "a")], "processing", error="a"),
    Story("together with a change of status", [Step(0, "starting"), Step(30, failing("a"))],
          [Told(30, "status", "starting", "processing", "status processing error", "a")], "processing", error="a"),
    Story("to those who asked for error, also when the status that brings it repeats the text",
          [Step(0, failing("a")), Step(30, an_observation("failed", error="a"))],
          [Told(0, "error", None, "processing", "error", "a"),
           Told(30, "status", "processing", "failed", "status failed error", "a")], "failed", error="a", done=True),
    Story("with a success, whose status it does not change",
          [Step(0, "starting"), Step(30, an_observation("succeeded", error="a", output=(LINK,)))],
          [Told(30, "status", "starting", "succeeded", "status succeeded error", "a")], "succeeded", error="a",
          done=True),
    Story("not with a success that no longer has it",
          [Step(0, failing("a")), Step(30, an_observation("succeeded", output=(LINK,)))],
          [Told(0, "error", None, "processing", "error", "a"),
           Told(30, "status", "processing", "succeeded", "status succeeded")], "succeeded", done=True),
    Story("and one that is gone does not end the wait for the output",
          [Step(0, failing("a")), Step(30, "succeeded"), Step(60, an_observation("succeeded", output=(LINK,)))],
          [Told(0, "error", None, "processing", "error", "a"),
           Told(30, "status", "processing", "succeeded", "status succeeded"),
           Told(60, "output", "succeeded", "succeeded", "output")], "succeeded", done=True),
)  # fmt: skip
def test_an_error_text_is_told_when_it_appears_or_changes(story: Story) -> None:
    assert story.played() == story.promised()
