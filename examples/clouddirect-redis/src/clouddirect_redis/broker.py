"""`RedisBroker`: queues as streams with one consumer group."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import redis
from clouddirect.errors import CloudDirectError, ConfigurationError, InvalidMessageError, LeaseLostError
from clouddirect.messaging import (
    DEAD_LETTER_DESCRIPTION,
    DEAD_LETTER_REASON,
    Access,
    BrokerRuntime,
    Capabilities,
    CheckResult,
    Message,
    MessageBroker,
    RawDelivery,
    SendReceipt,
)
from clouddirect.retry import Interrupt
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from clouddirect_redis.entries import RESERVED, decode, encode, stored_at
from clouddirect_redis.errors import classify, may_have_arrived
from clouddirect_redis.scripts import BURY, CHANGE, LONGEST, SEND, TAKE

__all__ = ["RedisBroker"]

_MIB = 1024 * 1024

_DEAD = Capabilities(  # of a queue of dead letters, which has none itself
    max_message_bytes=_MIB,  # Redis would carry 512 MiB, in memory; larger content belongs in a file store
    max_send_count=100,
    max_send_bytes=8 * _MIB,
    max_receive_count=100,
    max_settle_count=100,
    ack_is_checked=True,
    settable_lease=True,
    max_lease=LONGEST / 1000,
    max_nack_delay=LONGEST / 1000,
    free_release=True,
    delivery_count=True,
)

#: Attributes of one message: a script can hand no more than some thousand values to one command.
_MOST_ATTRIBUTES = 1000

#: Seconds after which a waiting receiver looks for leases that have ended, and whether it is to stop.
_LOOK_UP = 0.25


class RedisBroker(MessageBroker):
    """Streams of one Redis database; `create_queue` makes them.

    Args:
        url: where Redis is and who logs in, as redis-py reads it; a secret, which shows nowhere.
        group: the consumer group that shares the messages; every queue has it.
        lease: seconds a delivery is on lease where the receiver asks for none.
        runtime: what core hands to a provider.

    Raises:
        ConfigurationError: redis-py cannot read ``url``.
    """

    provider = "redis"

    def __init__(
        self, url: str, *, group: str = "clouddirect", lease: float = 60.0, runtime: BrokerRuntime | None = None
    ) -> None:
        runtime = runtime or BrokerRuntime()
        super().__init__(runtime)
        try:  # without the retries of redis-py: core has its own
            self._client = redis.Redis.from_url(
                url, socket_timeout=runtime.call_timeout, retry=Retry(NoBackoff(), 0), decode_responses=False
            )
        except (ValueError, TypeError):
            # from None: the texts of these quote pieces of the URL, such as a password with a "/" in it
            raise ConfigurationError("redis-py cannot read url; expected redis://host:port/database") from None
        self._group = group
        self._lease = lease

    def create_queue(self, name: str) -> None:
        """Make a stream, and the one for its dead letters, each with the consumer group; what is there stays.

        Raises:
            redis.RedisError: Redis could not be asked, or refused.
        """
        for stream in (name, _dead(name)):
            try:
                self._client.xgroup_create(stream, self._group, id="0", mkstream=True)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    def _capabilities(self, queue: str) -> Capabilities:
        if queue == _dead(queue):
            return _DEAD
        return replace(_DEAD, native_dead_letter=True, dead_letter_queue=_dead(queue))

    def _validate(self, queue: str, message: Message) -> None:
        for name in RESERVED:
            if name in message.attributes:
                raise InvalidMessageError(f"the attribute name {name!r} is taken by this provider; choose another")
        if len(message.attributes) > _MOST_ATTRIBUTES:
            raise InvalidMessageError(f"a message may have {_MOST_ATTRIBUTES} attributes here")

    def _send(self, queue: str, messages: Sequence[Message], timeout: float) -> list[SendReceipt]:
        arguments: list[bytes | int] = []
        for message in messages:
            fields = encode(message)
            arguments += [len(fields), *fields]
        try:
            ids = self._run(SEND, [queue], arguments)
        except redis.RedisError as error:
            classified = classify(error)
            if classified is None:
                raise
            classified.maybe_sent = may_have_arrived(error)
            raise classified from error
        return [SendReceipt(message.id, entry_id.decode()) for message, entry_id in zip(messages, ids, strict=True)]

    def _receive(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> list[RawDelivery]:
        seconds = lease or self._lease
        ends = time.monotonic() + wait
        at_most = min(_LOOK_UP, self.runtime.call_timeout / 2)  # the connection gives up after call_timeout
        while True:
            taken = self._run(TAKE, [queue], [self._group, LONGEST, max_messages, _idle(seconds)])
            if isinstance(taken, list):
                return [self._delivery(entry, count, seconds) for entry, count in taken]
            left = ends - time.monotonic()
            if left <= 0 or interrupt.is_set():
                return []
            # Looks on, and takes nothing: a message is taken by the script alone, with its lease.
            self._client.xread({queue: taken}, count=1, block=max(1, int(min(left, at_most) * 1000)))

    def _delivery(self, entry: tuple[bytes, list[bytes]], count: int, seconds: float) -> RawDelivery:
        entry_id, fields = entry
        return RawDelivery(
            message=decode(entry_id, fields),
            handle=(entry_id, count),
            lease=seconds,
            delivery_count=count,
            enqueued_at=stored_at(entry_id),
            native=entry,
        )

    def _ack(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> Sequence[CloudDirectError | None]:
        return self._change(queue, deliveries, "ack")

    def _nack(
        self, queue: str, deliveries: Sequence[RawDelivery], delay: float, timeout: float
    ) -> Sequence[CloudDirectError | None]:
        return self._change(queue, deliveries, _idle(delay))

    def _release(
        self, queue: str, deliveries: Sequence[RawDelivery], timeout: float
    ) -> Sequence[CloudDirectError | None]:
        return self._change(queue, deliveries, _idle(0), recount=-1)

    def _extend(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: float, timeout: float
    ) -> Sequence[float | CloudDirectError]:
        return [lost or seconds for lost in self._change(queue, deliveries, _idle(seconds))]

    def _dead_letter(
        self, queue: str, delivery: RawDelivery, reason: str, description: str | None, timeout: float
    ) -> None:
        attributes = dict(delivery.message.attributes) | {DEAD_LETTER_REASON: reason}
        if description is not None:
            attributes[DEAD_LETTER_DESCRIPTION] = description
        fields = encode(replace(delivery.message, attributes=attributes))
        if not self._run(BURY, [queue, _dead(queue)], [self._group, *_handle(delivery), *fields]):
            raise _lost()

    def _check(self, queue: str, access: Access, timeout: float) -> CheckResult:
        if access == "receive":
            self._run(TAKE, [queue], [self._group, LONGEST, 0, 0])  # takes nothing, and fails where taking would
            self._client.xack(queue, self._group, "0-0")  # the id of no entry
            return CheckResult(
                access, "likely", "the group is there; EVAL and XACK are permitted, XCLAIM was not tried"
            )
        self._run(SEND, [queue], [])
        try:
            self._client.xadd(queue, {"probe": ""}, id="0-0", nomkstream=True)
        except NoPermissionError:
            raise
        except redis.ResponseError as error:
            if "greater than 0-0" not in str(error):
                raise
        return CheckResult(access, "ok", "the stream is there, EVAL and XADD are permitted; nothing was added")

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return classify(error)

    def _native(self) -> redis.Redis:
        return self._client

    def _close(self, timeout: float) -> None:
        self._client.close()

    def _change(
        self, queue: str, deliveries: Sequence[RawDelivery], idle: str | int, recount: int = 0
    ) -> list[LeaseLostError | None]:
        handles = [part for delivery in deliveries for part in _handle(delivery)]
        held = self._run(CHANGE, [queue], [self._group, idle, recount, *handles])
        return [None if one else _lost() for one in held]

    def _run(self, script: str, keys: list[str], arguments: Sequence[bytes | str | int]) -> Any:
        return self._client.eval(script, len(keys), *keys, *arguments)


def _dead(queue: str) -> str:
    """Return the name of the stream for the dead letters of ``queue``; dead letters have none of their own."""
    return queue if queue.endswith(":dead") else f"{queue}:dead"


def _handle(delivery: RawDelivery) -> tuple[bytes, int]:
    return cast(tuple[bytes, int], delivery.handle)


def _idle(seconds: float) -> int:
    """Return the idle time, in milliseconds, of an entry that can be taken in ``seconds``."""
    return max(0, LONGEST - round(seconds * 1000))


def _lost() -> LeaseLostError:
    return LeaseLostError("the lease has ended; the message is, or will be, delivered again")
