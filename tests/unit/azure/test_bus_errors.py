"""The table of errors: what the service reports, as the SDK hands it on, becomes clouddirect's error."""

from __future__ import annotations

import traceback

import pytest
from azure.servicebus.exceptions import ServiceBusError

from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    InvalidMessageError,
    LeaseLostError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect.messaging import Message
from clouddirect.retry import RetryPolicy
from clouddirect_azure.bus_delivery import Held, Settlement
from clouddirect_azure.bus_errors import from_condition, translate
from emulators.servicebus import Condition, Point, Refuse, ServiceBusServer
from unit.azure.bus_fixtures import BrokerMaker

TABLE: list[tuple[str, type[CloudDirectError], bool]] = [
    ("amqp:connection:forced", UnavailableError, True),
    ("amqp:decode-error", InvalidMessageError, False),
    ("amqp:internal-error", UnavailableError, True),
    ("amqp:link:detach-forced", UnavailableError, True),
    ("amqp:link:message-size-exceeded", TooLargeError, False),
    ("amqp:not-allowed", UnsupportedError, False),
    ("amqp:not-found", NotFoundError, False),
    ("amqp:not-implemented", UnsupportedError, False),
    ("amqp:precondition-failed", InvalidMessageError, False),
    ("amqp:resource-limit-exceeded", ThrottledError, False),
    ("amqp:unauthorized-access", PermissionDeniedError, False),
    ("com.microsoft:argument-error", InvalidMessageError, False),
    ("com.microsoft:argument-out-of-range", InvalidMessageError, False),
    ("com.microsoft:auth-failed", AuthenticationError, False),
    ("com.microsoft:container-close", UnavailableError, True),
    ("com.microsoft:entity-disabled", UnavailableError, True),
    ("com.microsoft:operation-cancelled", UnavailableError, True),
    ("com.microsoft:server-busy", ThrottledError, True),
    ("com.microsoft:session-cannot-be-locked", UnavailableError, True),
    ("com.microsoft:timeout", TimeoutError, True),
    ("com.microsoft:something-new", UnavailableError, True),
]


@pytest.mark.parametrize(("condition", "kind", "retryable"), TABLE, ids=[row[0] for row in TABLE])
@pytest.mark.parametrize("point", [Point.TRANSFER, Point.ATTACH])
def test_a_refusal_by_its_condition(
    bus: ServiceBusServer,
    bus_brokers: BrokerMaker,
    point: Point,
    condition: str,
    kind: type[CloudDirectError],
    retryable: bool,
) -> None:
    bus.faults.add(point, Refuse(condition, "Refused."))
    with pytest.raises(CloudDirectError) as caught:
        bus_brokers({"retry": RetryPolicy(max_attempts=1)}).send("q", Message(body=b"x"))
    assert type(caught.value) is kind
    assert caught.value.retryable is retryable
    assert caught.value.resource == "q"
    assert isinstance(caught.value.__cause__, Exception)


@pytest.mark.parametrize("condition", ["com.microsoft:message-lock-lost", "com.microsoft:session-lock-lost"])
def test_a_settlement_that_is_refused(bus: ServiceBusServer, bus_brokers: BrokerMaker, condition: str) -> None:
    broker = bus_brokers()
    broker.send("q", Message(body=b"x"))
    (delivery,) = broker.receive("q", wait=5)
    bus.faults.add(Point.DISPOSITION, Refuse(condition, "Lost."))
    with pytest.raises(LeaseLostError) as caught:
        delivery.ack()
    assert caught.value.code == condition


@pytest.mark.parametrize("sessions", [False, True])
@pytest.mark.parametrize("settle", ["ack", "dead_letter"])
def test_a_settlement_that_a_busy_service_refused_is_made_by_its_lock_token(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, settle: str, sessions: bool
) -> None:
    """With the refusal the link has forgotten the delivery; the lock and the connection stay."""
    queue = "ordered" if sessions else "q"
    broker = bus_brokers(sessions=sessions)
    broker.send(queue, Message(body=b"x", ordering_key="a" if sessions else None))
    (delivery,) = broker.receive(queue, wait=5)
    held = delivery._raw.handle
    assert isinstance(held, Held)
    fault = bus.faults.add(Point.DISPOSITION, Refuse(Condition.SERVER_BUSY, "Too many requests."))
    delivery.ack() if settle == "ack" else delivery.dead_letter("odd")
    assert fault.struck == 1
    bus.wait_for_counts(queue, active=0, locked=0, dead=int(settle == "dead_letter"))
    assert held.receiver._line is not None
    assert held.receiver._line.link is held.link
    assert not delivery.lease_lost.is_set()


@pytest.mark.parametrize(
    ("condition", "kind"),
    [("com.microsoft:message-lock-lost", LeaseLostError), ("com.microsoft:server-busy", ThrottledError)],
)
def test_a_renewal_that_is_refused(
    bus: ServiceBusServer, bus_brokers: BrokerMaker, condition: str, kind: type[CloudDirectError]
) -> None:
    broker = bus_brokers({"retry": RetryPolicy(max_attempts=1)})
    broker.send("q", Message(body=b"x"))
    (delivery,) = broker.receive("q", wait=5)
    bus.faults.add(Point.MANAGEMENT, Refuse(condition, "Refused."))
    with pytest.raises(kind):
        delivery.extend(30)


def test_an_answer_that_does_not_confirm_what_was_asked(bus: ServiceBusServer, bus_brokers: BrokerMaker) -> None:
    """The service answers a settlement with the outcome that it applied; another one is no confirmation."""
    broker = bus_brokers()
    broker.send("q", Message(body=b"x"))
    (delivery,) = broker.receive("q", wait=5)
    held = delivery._raw.handle
    assert isinstance(held, Held)
    read = held.receiver._read_answer
    assert read(held, Settlement("complete"), {"accepted": []}) is None
    assert read(held, Settlement("abandon"), {"modified": [True, False, None]}) is None
    assert read(held, Settlement("dead_letter"), {"rejected": []}) is None
    for how, answer in (("complete", {"modified": []}), ("abandon", {"accepted": []}), ("complete", {"released": []})):
        error = read(held, Settlement(how), answer)  # type: ignore[arg-type]
        assert error is not None
        assert error.retryable


def test_the_wait_that_a_throttled_service_asks_for() -> None:
    assert from_condition(b"com.microsoft:server-busy", "Please wait 10 seconds and try again.").retry_after == 10
    assert from_condition("com.microsoft:server-busy", "Busy.").retry_after is None
    assert from_condition("com.microsoft:timeout", "Please wait 10 seconds").retry_after is None


def test_an_error_of_the_sdk_that_shows_a_secret_is_not_kept_as_the_cause() -> None:
    inner = ValueError("the token SharedAccessSignature sig=c2VjcmV0")
    outer = ServiceBusError("Handler failed.", error=inner)
    outer.__cause__ = inner
    kept, dropped = translate(outer, ["another"]), translate(outer, ["c2VjcmV0"])
    assert kept.__cause__ is outer
    assert "c2VjcmV0" not in "".join(traceback.format_exception(dropped))
    assert type(kept) is type(dropped) is UnavailableError
