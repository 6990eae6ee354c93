"""What the sandbox does with orders that are wrong, and when something fails."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import ConfigurationError, NotFoundError, UnavailableError
from clouddirect.orders.models import read_result, to_wire_dict
from clouddirect.sandbox import Sandbox, demo_image
from clouddirect.settings import Settings
from workflow.sandbox_messages import LONG, NewOrder, Rehearse, events, image_file, with_site


def test_a_receipt_says_everything_that_is_wrong_with_an_order(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    order = to_wire_dict(with_site(new_order()))
    del order["Order"]["LocalId"], order["Patient"]["Dob"], order["Version"]
    rehearsal.send("orders", json.dumps(order).encode())
    rehearsal.sandbox().step()
    (receipt,) = events(rehearsal)
    assert receipt["Success"] is False
    for path in ("Version", "Order.LocalId", "Patient.Dob"):
        assert path in receipt["ErrorMessage"]
    assert rehearsal.drain("orders") == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"OrderControlCode": "NW", "Patient": 7}'])
def test_what_cannot_be_read_is_dead_lettered_whole_with_the_reason(
    body: bytes, rehearse: Rehearse, clock: ManualClock
) -> None:
    rehearsal = rehearse(clock, LONG)
    rehearsal.send("orders", body)
    rehearsal.sandbox().step()
    (dead,) = rehearsal.drain("orders/$dead")
    assert dead.body == body
    assert dead.attributes["DeadLetterReason"] == "unreadable"
    assert dead.attributes["DeadLetterErrorDescription"]
    assert events(rehearsal) == []


def test_one_order_that_breaks_the_sandbox_is_put_aside_and_the_others_go_on(
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    pictures: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clouddirect.sandbox import stages

    make_result = stages.make_result

    def make(order: Any, *args: Any, **options: Any) -> Any:
        if order.request.order_local_id == "odd":
            raise RuntimeError("Jane Roe")
        return make_result(order, *args, **options)

    monkeypatch.setattr(stages, "make_result", make)
    rehearsal = rehearse(clock, LONG)
    client = rehearsal.client()
    for name in ("odd", "even"):
        client.submit(new_order(name), [image_file(pictures["OD"])])
    rehearsal.sandbox().step()
    (dead,) = rehearsal.drain("orders/$dead")
    assert dead.correlation_id == "odd"
    assert dead.attributes["DeadLetterReason"] == "sandbox-failed"
    assert "RuntimeError" in dead.attributes["DeadLetterErrorDescription"]
    assert "Jane" not in dead.attributes["DeadLetterErrorDescription"]
    assert [message.correlation_id for message in rehearsal.drain("results")] == ["even"]


@pytest.mark.parametrize(
    ("error", "raised"), [(UnavailableError("down"), None), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_an_order_that_could_not_go_on_begins_again(
    error: BaseException,
    raised: type[BaseException] | None,
    rehearse: Rehearse,
    new_order: NewOrder,
    clock: ManualClock,
    pictures: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clouddirect.sandbox import stages

    rehearsal = rehearse(clock, LONG)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    sandbox = rehearsal.sandbox()

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patched, pytest.raises(raised) if raised else nullcontext():
        patched.setattr(stages, "make_result", fail)
        sandbox.step()
    assert sandbox.step() == 0
    assert rehearsal.drain("results") == []
    clock.advance(10.0)
    sandbox.step()
    assert len(rehearsal.drain("results")) == 1
    assert len({event["TransactionId"] for event in events(rehearsal)}) == 5
    assert rehearsal.drain("orders") == []


def test_a_result_fits_a_small_queue(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG | {"max_message_bytes": 128 << 10})
    rehearsal.client().submit(new_order(), [image_file(demo_image(n, "OD")) for n in range(4)])
    rehearsal.sandbox().step()
    (result,) = rehearsal.drain("results")
    assert len(result.body) < 128 << 10
    report = read_result(result.body).report()
    assert report is not None
    assert report.data.count(b"/Subtype /Image") == 4


def test_a_queue_that_is_missing_ends_the_sandbox_and_loses_nothing(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    events_endpoint = rehearsal.settings.sandbox.endpoints.events
    events_endpoint.create, events_endpoint.queue = False, "no-such-queue"
    with pytest.raises(NotFoundError), rehearsal.sandbox() as sandbox:
        sandbox.run()
    clock.advance(10.0)
    events_endpoint.queue = "events"
    events_endpoint.create = True
    rehearsal.sandbox().step()
    assert len(rehearsal.drain("results")) == 1


def test_close_raises_what_ended_the_thread(
    rehearse: Rehearse, new_order: NewOrder, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse()
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    rehearsal.settings.sandbox.endpoints.results.create = False
    rehearsal.settings.sandbox.endpoints.results.queue = "no-such-queue"
    sandbox = Sandbox(rehearsal.settings)
    sandbox.start()
    assert sandbox._thread is not None
    sandbox._thread.join(20.0)
    assert not sandbox.running
    with pytest.raises(NotFoundError):
        sandbox.close()
    sandbox.close()


def test_what_the_caller_raises_ends_the_turn_and_not_the_order(
    rehearse: Rehearse, new_order: NewOrder, clock: ManualClock, pictures: dict[str, bytes]
) -> None:
    rehearsal = rehearse(clock, LONG, stage_delay=1.0)
    rehearsal.client().submit(new_order(), [image_file(pictures["OD"])])
    told: list[str] = []

    def tell(message: Any) -> None:
        told.append(str(message.result_object_type))
        if len(told) == 1:
            raise BrokenPipeError

    sandbox = rehearsal.sandbox(on_sent=tell)
    with pytest.raises(BrokenPipeError):
        sandbox.run()
    for _ in range(6):
        sandbox.step()
        clock.advance(1.0)
    assert told == [
        "OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent", "GradingReceipt", "OrderGradedEvent",
        "OrderResult",
    ]  # fmt: skip
    assert rehearsal.drain("orders/$dead") == []


def test_stop_ends_an_idle_run_soon(rehearse: Rehearse) -> None:
    sandbox = rehearse().sandbox()
    sandbox.start()
    sandbox.stop()
    assert sandbox._thread is not None
    sandbox._thread.join(10.0)
    assert not sandbox.running


def test_settings_that_do_not_suffice_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="ClientGuid"):
        Sandbox(Settings.of({}))
    with pytest.raises(ConfigurationError, match=r"sandbox\.endpoints\.orders"):
        Sandbox(Settings.of({"client_guid": "63E3C9EF-66AC-4154-B0C2-494515EB99A7"}))
