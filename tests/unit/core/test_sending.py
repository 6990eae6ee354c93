"""send and send_many: batches within limits, bad messages alone, retries for what failed, nothing overtakes."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    ClosedError,
    CloudDirectError,
    InvalidMessageError,
    NotFoundError,
    ThrottledError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.messaging import Message, SendResult
from clouddirect.retry import RetryPolicy
from unit.core.conftest import NO_WAIT, OpenBroker
from unit.core.memory_broker import POOR, RICH, Call, Hang, MemoryBroker, after, ok, partial
from unit.core.memory_service import SECRET, SdkError

ATOMIC = replace(RICH, atomic_send=True)


def messages(count: int, **fields: Any) -> list[Message]:
    return [Message(body=str(number).encode(), id=f"m{number}", **fields) for number in range(count)]


def stored(broker: MemoryBroker) -> list[str]:
    return [one.message.id for one in broker.service.queues["q"].stored]


def states(results: list[SendResult]) -> list[str]:
    return [result.status for result in results]


def sizes(broker: MemoryBroker) -> list[int]:
    return [len(call.ids) for call in broker.named("send")]


# -- send ---------------------------------------------------------------------------------------------------


def test_send_returns_the_brokers_confirmation(open_broker: OpenBroker) -> None:
    broker = open_broker()
    receipt = broker.send("q", Message(body=b"x", id="m"))
    assert receipt.message_id == "m"
    assert receipt.broker_id


def test_send_retries_with_the_same_id(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.script("send", SdkError("Down"), ThrottledError("slow"))
    broker.send("q", Message(body=b"x", id="m"))
    assert broker.named("send") == [Call("send", "q", ("m",))] * 3


def test_send_remembers_an_ambiguous_attempt(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.script("send", after(UnavailableError("cut", maybe_sent=True)), NotFoundError("gone"))
    with pytest.raises(NotFoundError) as caught:
        broker.send("q", Message(body=b"x"))
    assert caught.value.maybe_sent


def test_an_outcome_that_is_an_error_is_raised_and_described(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.refuse = lambda message: True
    with pytest.raises(InvalidMessageError) as caught:
        broker.send("q", Message(body=b"x"))
    error = caught.value
    assert (error.provider, error.operation, error.resource) == ("memory", "send", "q")


def test_a_bug_in_a_provider_is_named_as_one_and_sent_stays_open(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.script("send", KeyError(SECRET))
    with pytest.raises(CloudDirectError, match=r"KeyError.*bug in the provider") as caught:
        broker.send("q", Message(body=b"x"))
    assert type(caught.value) is CloudDirectError
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.maybe_sent
    assert not caught.value.retryable
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "capability"),
    [({"ordering_key": "k"}, "ordering"), ({"delay": 1.0}, "max_delay"), ({"time_to_live": 1.0}, "time_to_live")],
)
def test_what_is_not_declared_is_refused_before_sending(
    open_broker: OpenBroker, fields: dict[str, Any], capability: str
) -> None:
    broker = open_broker(POOR)
    with pytest.raises(UnsupportedError, match=f"memory.*'q'.*{capability}") as caught:
        broker.send("q", Message(body=b"x", **fields))
    assert caught.value.code == capability
    assert broker.calls == []


def test_limits_are_inclusive(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.send("q", Message(body=b"x", delay=900.0))
    with pytest.raises(UnsupportedError, match="at most 900 s"):
        broker.send("q", Message(body=b"x", delay=900.5))
    exact = Message(body=b"", id="m")
    room = RICH.max_message_bytes - broker._size("q", exact)
    broker.send("q", replace(exact, body=b"x" * room))
    with pytest.raises(TooLargeError, match=r"262,145 bytes.*262,144"):
        broker.send("q", replace(exact, body=b"x" * (room + 1)))
    assert len(broker.named("send")) == 2


# -- batches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("can", [RICH, ATOMIC, POOR, replace(ATOMIC, send_concurrency=4)])
def test_any_number_in_full_batches_with_results_in_input_order(open_broker: OpenBroker, can: Any) -> None:
    broker = open_broker(can)
    sent = messages(95)
    results = broker.send_many("q", iter(sent))
    assert [result.message for result in results] == sent
    assert all(result.receipt and result.receipt.message_id == result.message.id for result in results)
    assert sorted(sizes(broker)) == [5] + [10] * 9
    assert sorted(stored(broker)) == sorted(message.id for message in sent)


def test_nothing_to_send_sends_nothing(open_broker: OpenBroker) -> None:
    broker = open_broker()
    assert broker.send_many("q", []) == []
    assert broker.calls == []


def test_batches_are_filled_by_bytes_too(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(RICH, max_send_bytes=1000))
    mixed = [Message(body=b"x" * size, id=f"m{place}") for place, size in enumerate([400, 400, 400, 2000, 10, 10])]
    assert states(broker.send_many("q", mixed)) == ["sent"] * 6
    assert sizes(broker) == [2, 1, 1, 2]  # the broker itself notes a batch over the limit


@pytest.mark.parametrize("can", [RICH, ATOMIC])
@pytest.mark.parametrize("bad", [0, 17, 249])
def test_one_bad_message_among_250_fails_alone(open_broker: OpenBroker, can: Any, bad: int) -> None:
    broker = open_broker(can)
    broker.refuse = lambda message: message.id == f"m{bad}"
    results = broker.send_many("q", messages(250))
    assert [place for place, result in enumerate(results) if not result.ok] == [bad]
    assert isinstance(results[bad].error, InvalidMessageError)
    assert sorted(stored(broker)) == sorted(f"m{number}" for number in range(250) if number != bad)


def test_bisection_finds_several_bad_messages_in_few_calls(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(ATOMIC, max_send_count=64))
    broker.refuse = lambda message: message.id in ("m5", "m40")
    results = broker.send_many("q", messages(64))
    assert [result.message.id for result in results if not result.ok] == ["m5", "m40"]
    assert len(broker.named("send")) <= 2 * 2 * 6 + 1  # two paths down a tree of six levels


def test_messages_refused_beforehand_do_not_reach_the_broker(open_broker: OpenBroker) -> None:
    broker = open_broker(POOR)
    results = broker.send_many("q", [Message(body=b"1"), Message(body=b"2", subject=""), Message(body=b"3", delay=5)])
    assert states(results) == ["sent", "failed", "failed"]
    assert [type(result.error) for result in results] == [type(None), InvalidMessageError, UnsupportedError]
    assert results[1].error is not None
    assert results[1].error.resource == "q"
    assert sizes(broker) == [1]


def test_only_what_failed_is_tried_again(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.script("send", partial({1: ThrottledError("busy"), 3: UnavailableError("down")}))
    assert states(broker.send_many("q", messages(5))) == ["sent"] * 5
    assert [call.ids for call in broker.named("send")] == [("m0", "m1", "m2", "m3", "m4"), ("m1", "m3")]


def test_a_batch_that_fails_for_a_passing_reason_is_not_bisected(open_broker: OpenBroker) -> None:
    broker = open_broker(ATOMIC)
    broker.script("send", SdkError("Down"), SdkError("Down"))
    assert states(broker.send_many("q", messages(10))) == ["sent"] * 10
    assert sizes(broker) == [10, 10, 10]


def test_attempts_are_bounded_and_other_batches_go_on(open_broker: OpenBroker) -> None:
    broker = open_broker(ATOMIC)
    real = MemoryBroker._send

    def down_for_the_first_batch(queue: str, batch: Any, timeout: float) -> Any:
        if batch[0].id == "m0":
            broker.calls.append(Call("send", queue, ("m0",)))
            raise SdkError("Down")
        return real(broker, queue, batch, timeout)

    broker._send = down_for_the_first_batch  # type: ignore[method-assign]
    results = broker.send_many("q", messages(30))
    assert states(results) == ["failed"] * 10 + ["sent"] * 20
    assert len([call for call in broker.named("send") if call.ids[0] == "m0"]) == NO_WAIT.max_attempts
    assert isinstance(results[0].error, UnavailableError)


def test_a_refused_credential_fails_all_without_retries(open_broker: OpenBroker) -> None:
    broker = open_broker(ATOMIC)
    broker.script("send", *[SdkError("BadKey")] * 9)
    results = broker.send_many("q", messages(20))
    assert states(results) == ["failed"] * 20
    assert len(broker.named("send")) == 2


def test_maybe_sent_is_carried_across_retries_message_by_message(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(ATOMIC, deduplication=False))
    cut = after(UnavailableError("cut", maybe_sent=True))
    broker.script("send", cut, ok, *[SdkError("Down")] * 2, NotFoundError("deleted"))
    results = broker.send_many("q", messages(15))
    assert states(results) == ["failed"] * 10 + ["sent"] * 5
    assert all(result.error and result.error.maybe_sent for result in results[:10])
    assert type(results[0].error) is NotFoundError


def test_an_error_shared_by_a_batch_is_not_marked_for_those_it_does_not_concern(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(RICH, max_send_count=2))
    final = NotFoundError("deleted")
    broker.script("send", partial({0: UnavailableError("cut", maybe_sent=True), 1: ThrottledError("busy")}), final)
    first, second = broker.send_many("q", messages(2))
    assert first.error is not None
    assert second.error is not None
    assert first.error.maybe_sent
    assert not second.error.maybe_sent


def test_a_bug_in_a_provider_costs_only_its_own_batch(open_broker: OpenBroker) -> None:
    broker = open_broker(ATOMIC)
    broker.script("send", ok, RuntimeError("bug"))
    results = broker.send_many("q", messages(30))
    assert states(results) == ["sent"] * 10 + ["failed"] * 10 + ["sent"] * 10
    assert results[10].error is not None
    assert results[10].error.maybe_sent


def test_a_wrong_number_of_outcomes_is_a_bug_of_the_provider(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.script("send", lambda call: call()[:-1])
    results = broker.send_many("q", messages(3))
    assert states(results) == ["failed"] * 3
    assert "bug in the provider" in str(results[0].error)


def test_batches_go_out_concurrently_where_declared(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(ATOMIC, send_concurrency=3))
    hangs = [Hang(), Hang(), Hang()]
    broker.script("send", *hangs)
    got: list[SendResult] = []
    thread = threading.Thread(target=lambda: got.extend(broker.send_many("q", messages(30))), daemon=True)
    thread.start()
    assert all(hang.begun.wait(10) for hang in hangs)
    for hang in hangs:
        hang.go.set()
    thread.join(10)
    assert states(got) == ["sent"] * 30


# -- ordering keys ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "can", [RICH, ATOMIC, replace(ATOMIC, one_key_per_send=True), replace(RICH, send_concurrency=4)]
)
def test_each_key_is_stored_in_order(open_broker: OpenBroker, can: Any) -> None:
    broker = open_broker(can)
    sent = [Message(body=b"", id=f"{number % 3}-{number:03}", ordering_key=str(number % 3)) for number in range(60)]
    sent.insert(30, Message(body=b"", id="free"))
    assert states(broker.send_many("q", sent)) == ["sent"] * 61
    for key in "012":
        own = [name for name in stored(broker) if name.startswith(f"{key}-")]
        assert own == sorted(own)
        assert len(own) == 20


def test_outcomes_of_their_own_mean_one_message_a_key_in_a_batch(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.send_many("q", [Message(body=b"", id=f"{key}{turn}", ordering_key=key) for turn in (1, 2) for key in "ab"])
    assert [call.ids for call in broker.named("send")] == [("a1", "b1"), ("a2", "b2")]


def test_one_key_per_send(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(ATOMIC, one_key_per_send=True))
    sent = [Message(body=b"", id=f"{number}", ordering_key="ab"[number % 2]) for number in range(6)]
    assert states(broker.send_many("q", [*sent, Message(body=b"", id="free")])) == ["sent"] * 7
    assert sorted(call.ids for call in broker.named("send")) == [("0", "2", "4"), ("1", "3", "5"), ("free",)]


@pytest.mark.parametrize("can", [RICH, ATOMIC])
def test_after_a_failure_the_later_ones_of_the_key_are_not_sent(open_broker: OpenBroker, can: Any) -> None:
    broker = open_broker(can)
    broker.refuse = lambda message: message.id == "a2"
    sent = [Message(body=b"", id=f"{key}{turn}", ordering_key=key) for turn in (1, 2, 3, 4) for key in "ab"]
    outcome = {result.message.id: result for result in broker.send_many("q", sent)}
    assert {name: result.status for name, result in outcome.items()} == {
        "a1": "sent", "a2": "failed", "a3": "not_sent", "a4": "not_sent",
        "b1": "sent", "b2": "sent", "b3": "sent", "b4": "sent",
    }  # fmt: skip
    assert outcome["a4"].error is outcome["a2"].error
    assert "a3" not in stored(broker)


def test_a_message_refused_beforehand_holds_back_its_key(open_broker: OpenBroker) -> None:
    broker = open_broker()
    sent = [Message(body=b"", id=name, ordering_key="k", subject=subject) for name, subject in
            [("1", None), ("2", ""), ("3", None)]]  # fmt: skip
    assert states(broker.send_many("q", sent)) == ["sent", "failed", "not_sent"]
    assert stored(broker) == ["1"]


def test_nothing_overtakes_a_message_that_is_tried_again(open_broker: OpenBroker) -> None:
    broker = open_broker()
    broker.script("send", lambda call: [ThrottledError("busy")])
    assert states(broker.send_many("q", messages(4, ordering_key="k"))) == ["sent"] * 4
    assert stored(broker) == ["m0", "m1", "m2", "m3"]
    assert [call.ids for call in broker.named("send")][:2] == [("m0",), ("m0",)]


# -- time ---------------------------------------------------------------------------------------------------


def test_the_longest_wish_of_the_service_is_honoured(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock, retry=RetryPolicy(base_delay=0.0))
    broker.script("send", partial({0: ThrottledError("busy", retry_after=3), 1: ThrottledError("busy", retry_after=9)}))
    got: list[SendResult] = []
    thread = threading.Thread(target=lambda: got.extend(broker.send_many("q", messages(2))), daemon=True)
    thread.start()
    assert clock.wait_for_sleepers()
    clock.advance(8.5)
    assert clock.wait_for_sleepers()
    assert len(broker.named("send")) == 1
    clock.advance(0.5)
    thread.join(10)
    assert states(got) == ["sent", "sent"]


def test_no_attempt_begins_after_the_deadline(open_broker: OpenBroker, clock: ManualClock) -> None:
    broker = open_broker(clock=clock, retry=RetryPolicy(base_delay=0.0, deadline=60.0))
    broker.script("send", partial({1: ThrottledError("busy", retry_after=61.0)}))
    assert states(broker.send_many("q", messages(3))) == ["sent", "failed", "sent"]
    assert len(broker.named("send")) == 1


def test_closing_ends_the_retries_with_what_is_known(open_broker: OpenBroker) -> None:
    broker = open_broker(replace(ATOMIC, max_send_count=1), retry=RetryPolicy(base_delay=600.0, deadline=None))
    down = threading.Event()

    def refuse(call: Any) -> Any:
        down.set()
        raise SdkError("Down")

    broker.script("send", ok, refuse)
    got: list[SendResult] = []
    sent = messages(2, ordering_key="k") + messages(1)
    thread = threading.Thread(target=lambda: got.extend(broker.send_many("q", sent)), daemon=True)
    thread.start()
    assert down.wait(10)
    broker.close(timeout=0.0)
    thread.join(10)
    assert not thread.is_alive()
    assert "sent" in states(got)
    assert {type(result.error) for result in got if not result.ok} <= {UnavailableError, ClosedError}
    assert len(got) == 3
