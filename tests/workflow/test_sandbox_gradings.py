"""Gradings that a program submits, and the silences where they do not fit."""

from __future__ import annotations

import pytest

from clouddirect.clock import ManualClock
from clouddirect.orders.models import EyeSideGrading, Finding, GradingSubmission
from workflow.sandbox_messages import OTHER_GUID, UnderWay, kinds, results, run, submission


def test_an_order_waits_for_its_grading(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(9, auto_grade=False)
    assert kinds(rehearsal) == ["OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent"]
    rehearsal.send("gradings", submission())
    run(sandbox, clock, 4)
    assert kinds(rehearsal) == ["GradingReceipt", "OrderGradedEvent"]
    (result,) = results(rehearsal)
    assert result.gradings is not None
    assert result.gradings.od == EyeSideGrading(gradable=True, findings=[Finding(finding="Suspected Vein Occlusion")])
    assert result.gradings.os is None
    assert result.gradings.pathology is True
    assert rehearsal.drain("gradings") == []


def test_a_submitted_grading_comes_before_the_sandbox_s_own(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(2)
    ungradable = EyeSideGrading(gradable=False, ungradable_reasons=["Small Pupil"])
    rehearsal.send("gradings", submission(od=ungradable))
    run(sandbox, clock, 6)
    (result,) = results(rehearsal)
    assert result.gradings is not None
    assert result.gradings.od == ungradable


def test_a_grading_comes_again_with_its_order_after_a_crash(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(3, auto_grade=False)
    rehearsal.send("gradings", submission())
    sandbox.step()
    sandbox.close()
    again = rehearsal.sandbox()
    run(again, clock, 8)
    assert len(results(rehearsal)) == 1


@pytest.mark.parametrize(
    "message",
    [
        submission("another"),
        submission(guid=OTHER_GUID),
        submission(od=EyeSideGrading(gradable=False)),
        submission(od=EyeSideGrading(gradable=False, ungradable_reasons=["a", "b"])),
    ],
    ids=["another order", "of others", "no reason", "two reasons"],
)
def test_a_grading_that_fits_no_order_or_is_wrong_is_ignored(
    message: GradingSubmission, under_way: UnderWay, clock: ManualClock
) -> None:
    rehearsal, sandbox = under_way(4, auto_grade=False)
    kinds(rehearsal)
    rehearsal.send("gradings", message)
    run(sandbox, clock, 3)
    assert kinds(rehearsal) == []
    assert rehearsal.drain("gradings") == []
    assert rehearsal.drain("gradings/$dead") == []


def test_a_grading_that_cannot_be_read_is_dead_lettered(under_way: UnderWay) -> None:
    rehearsal, sandbox = under_way(4, auto_grade=False)
    rehearsal.send("gradings", b"not json")
    sandbox.step()
    (dead,) = rehearsal.drain("gradings/$dead")
    assert dead.body == b"not json"


SMALL_PUPIL = EyeSideGrading(gradable=False, ungradable_reasons=["Small Pupil"])


def test_a_grading_that_comes_before_the_images_is_ignored(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(1, auto_grade=False)
    rehearsal.send("gradings", submission())
    run(sandbox, clock, 6)  # it is taken at the start of the first turn, and the images at its end
    assert kinds(rehearsal) == ["OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent"]
    sandbox.close()
    assert rehearsal.drain("gradings") == []


def test_a_grading_after_grading_is_ignored(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(4)
    rehearsal.send("gradings", submission(od=SMALL_PUPIL))
    run(sandbox, clock, 4)
    (result,) = results(rehearsal)
    assert result.gradings is not None
    assert result.gradings.od != SMALL_PUPIL
    rehearsal.send("gradings", submission(od=SMALL_PUPIL))
    sandbox.step()
    assert results(rehearsal) == []
    sandbox.close()
    assert rehearsal.drain("gradings") == []


def test_of_two_gradings_the_first_counts(under_way: UnderWay, clock: ManualClock) -> None:
    rehearsal, sandbox = under_way(3, auto_grade=False)
    rehearsal.send("gradings", submission())
    rehearsal.send("gradings", submission(od=SMALL_PUPIL))
    run(sandbox, clock, 4)
    (result,) = results(rehearsal)
    assert result.gradings is not None
    assert result.gradings.od != SMALL_PUPIL
    sandbox.close()
    assert rehearsal.drain("gradings") == []
