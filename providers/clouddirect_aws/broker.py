"""`AwsBroker`: SQS queues."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from clouddirect.errors import (
    CloudDirectError,
    IntegrityError,
    NotFoundError,
    PermissionDeniedError,
    TimeoutError,
    UnavailableError,
)
from clouddirect.messaging import (
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
from clouddirect_aws.broker_options import MAX_MESSAGE_BYTES, AwsBrokerOptions
from clouddirect_aws.session_errors import classify, is_ambiguous, operation_of
from clouddirect_aws.sqs_check import describe_queue, read_attributes, unverified
from clouddirect_aws.sqs_clients import Side, SqsClients
from clouddirect_aws.sqs_content import encode
from clouddirect_aws.sqs_errors import CODES, RECEIPT_CODES, entry_outcomes, see_that_it_is_sqs
from clouddirect_aws.sqs_messages import Receipt, confirmation, delivery, is_intact, receipt, send_entry
from clouddirect_aws.sqs_places import Place, is_fifo
from clouddirect_aws.sqs_polls import Polls

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import MessageSystemAttributeNameType

__all__ = ["AwsBroker"]

log = logging.getLogger("clouddirect.aws")

#: Longest visibility timeout, counted from the moment of receiving (API reference of ChangeMessageVisibility).
MAX_LEASE = 43_200
#: Longest delay of a message on a standard queue; FIFO queues have none for single messages (SendMessage).
MAX_DELAY = 900.0
#: Seconds that a busy consumer may gather deletes, if a tenth of a lease is no less: every call is billed, and a batch
#: of ten costs as much as one.
ACK_LINGER = 1.0
#: What is asked for beside body and attributes: no more than is read, for it is sent with every message.
_SYSTEM_ATTRIBUTES: tuple[MessageSystemAttributeNameType, ...] = (
    "ApproximateReceiveCount",
    "SentTimestamp",
    "MessageGroupId",
)


class AwsBroker(MessageBroker):
    """Queues of Amazon SQS, named by URL or by name; those whose names end in ``.fifo`` keep the order of keys."""

    provider = "aws"

    def __init__(self, options: AwsBrokerOptions, runtime: BrokerRuntime | None = None) -> None:
        """Keep the options; no I/O."""
        super().__init__(runtime)
        self._options = options
        self._secrets = options.secrets()
        self._clients = SqsClients(options)
        self._busy: set[str] = set()  # queues whose last answer was full
        self._polls: Polls[tuple[str, list[dict[str, Any]]]] = Polls(self.runtime.clock, self._give_back_left)
        common: dict[str, Any] = {
            "max_message_bytes": options.max_message_bytes,
            "max_send_count": 10,
            "max_send_bytes": MAX_MESSAGE_BYTES,
            "atomic_send": False,
            "send_concurrency": options.send_concurrency,
            "max_receive_count": 10,
            "max_receive_wait": float(options.poll_seconds),
            # a short poll asks a sample of SQS's servers and misses messages; a long one of a second asks all
            "min_receive_wait": 1.0,
            "max_settle_count": 10,
            "ack_linger": min(ACK_LINGER, options.lease / 10),
            "settable_lease": True,
            "max_lease": float(MAX_LEASE),
            "max_nack_delay": float(MAX_LEASE),
            "delivery_count": True,
        }
        self._standard = Capabilities(**common, max_delay=MAX_DELAY)
        self._fifo = Capabilities(**common, ordering=True, deduplication=True)

    def _capabilities(self, queue: str) -> Capabilities:
        return self._fifo if is_fifo(queue) else self._standard

    def _size(self, queue: str, message: Message) -> int:
        return encode(message).size

    # -- sending --------------------------------------------------------------------------------------------

    def _send(
        self, queue: str, messages: Sequence[Message], timeout: float
    ) -> Sequence[SendReceipt | CloudDirectError]:
        fifo = is_fifo(queue)
        entries = [send_entry(place, message, fifo) for place, message in enumerate(messages)]

        def send(client: SQSClient, url: str) -> Any:
            return client.send_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]

        def confirmed(place: int, answer: Mapping[str, Any]) -> SendReceipt | CloudDirectError:
            return confirmation(messages[place], entries[place], answer)

        outcomes = entry_outcomes(self._call("send", queue, timeout, send), len(entries), CODES, confirmed)
        for outcome in outcomes:
            if isinstance(outcome, UnavailableError) and outcome.retryable:
                outcome.maybe_sent = True  # an entry of which nothing is known, or that SQS failed on half-way
        return outcomes

    # -- receiving ------------------------------------------------------------------------------------------

    def _receive(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> Sequence[RawDelivery]:
        clock, call_timeout = self.runtime.clock, self.runtime.call_timeout
        seconds = math.ceil(self._options.lease if lease is None else lease)
        # after a full answer the next one comes at once, as a rule: a thread that could be left is not worth its cost
        busy = queue in self._busy
        waiting = 1 if busy else max(1, int(wait))
        began = clock.monotonic()
        ask = partial(self._poll, queue, max_messages, waiting, seconds)
        found = ask() if busy else self._polls.run(ask, waiting + call_timeout, interrupt)
        if found is None:
            if interrupt.is_set():
                return []
            raise TimeoutError(f"SQS did not answer a poll within {waiting + call_timeout:g} s")
        (self._busy.add if len(found[1]) == max_messages else self._busy.discard)(queue)
        now = clock.monotonic()
        # the poll ended after `waiting` seconds at the latest: what it took beyond them has run off the lease
        left = max(0.0, seconds - max(0.0, now - began - waiting))
        return self._intact(queue, found[1], left, now)

    def _poll(self, queue: str, max_messages: int, waiting: int, seconds: int) -> tuple[str, list[dict[str, Any]]]:
        def receive(client: SQSClient, url: str) -> Any:
            return client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=max_messages,
                WaitTimeSeconds=waiting,
                VisibilityTimeout=seconds,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=_SYSTEM_ATTRIBUTES,
            )

        answer = self._call("poll", queue, self.runtime.call_timeout, receive)
        return queue, answer.get("Messages", [])

    def _intact(self, queue: str, found: Sequence[dict[str, Any]], lease: float, now: float) -> list[RawDelivery]:
        """Make deliveries of what is as SQS has stored it; give the rest back.

        On a FIFO queue that is also what came behind a damaged message of its group: it must not overtake.

        Raises:
            IntegrityError: nothing arrived undamaged.
        """
        fifo = is_fifo(queue)
        intact, back, broken = list[dict[str, Any]](), list[dict[str, Any]](), set[str]()
        for one in found:
            group = one.get("Attributes", {}).get("MessageGroupId") if fifo else None
            if group not in broken and is_intact(one):
                intact.append(one)
                continue
            back.append(one)
            if group is not None:
                broken.add(group)
        if back:
            log.warning("%d messages of %r arrived damaged, or behind one that did; they are given back",
                        len(back), queue)  # fmt: skip
            self._give_back_left((queue, back))
            if not intact:
                raise IntegrityError(
                    "a message arrived with another digest than SQS has computed; it was given back", retryable=True
                )
        return [delivery(one, fifo, lease, now) for one in intact]

    def _give_back_left(self, found: tuple[str, list[dict[str, Any]]]) -> None:
        """Make messages visible again that nobody was given; what fails costs the time until their lease ends."""
        queue, messages = found
        if not messages:
            return
        try:
            outcomes = self._change_visibility(
                queue, [(one["ReceiptHandle"], 0) for one in messages], self.runtime.call_timeout
            )
            failed = sum(outcome is not None for outcome in outcomes)
        except Exception as error:  # noqa: BLE001 - nobody is there to be told, and nothing is lost
            failed = len(messages)
            log.info("giving back on %r failed (%s)", queue, type(error).__name__)
        if failed:
            log.warning("%d messages of %r come again only when their lease ends", failed, queue)

    # -- settling -------------------------------------------------------------------------------------------

    def _ack(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> Sequence[CloudDirectError | None]:
        entries = [{"Id": str(place), "ReceiptHandle": receipt(one).handle} for place, one in enumerate(deliveries)]

        def delete(client: SQSClient, url: str) -> Any:
            return client.delete_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]

        return entry_outcomes(
            self._call("settle", queue, timeout, delete), len(entries), RECEIPT_CODES, lambda place, answer: None
        )

    def _nack(
        self, queue: str, deliveries: Sequence[RawDelivery], delay: float, timeout: float
    ) -> Sequence[CloudDirectError | None]:
        wanted = [(receipt(one).handle, self._within_limit(receipt(one), delay)) for one in deliveries]
        return self._change_visibility(queue, wanted, timeout)

    def _extend(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: float, timeout: float
    ) -> Sequence[float | CloudDirectError]:
        wanted = [(receipt(one).handle, self._within_limit(receipt(one), seconds)) for one in deliveries]
        outcomes = self._change_visibility(queue, wanted, timeout)
        return [float(granted) if outcome is None else outcome
                for outcome, (_, granted) in zip(outcomes, wanted, strict=True)]  # fmt: skip

    def _within_limit(self, receipt: Receipt, seconds: float) -> int:
        """Return whole seconds, no fewer than asked for, but within twelve hours of receiving: SQS refuses more."""
        passed = math.ceil(self.runtime.clock.monotonic() - receipt.at)
        return max(0, min(math.ceil(seconds), MAX_LEASE - passed))

    def _change_visibility(
        self, queue: str, wanted: Sequence[tuple[str, int]], timeout: float
    ) -> list[CloudDirectError | None]:
        entries = [
            {"Id": str(place), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
            for place, (handle, seconds) in enumerate(wanted)
        ]

        def change(client: SQSClient, url: str) -> Any:
            return client.change_message_visibility_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]

        answer = self._call("settle", queue, timeout, change)
        return entry_outcomes(answer, len(entries), RECEIPT_CODES, lambda place, answer: None)

    # -- the rest -------------------------------------------------------------------------------------------

    def _call(
        self, side: Side, queue: str, timeout: float, call: Callable[[SQSClient, str], Mapping[str, Any]]
    ) -> Mapping[str, Any]:
        """Make one call with the side's client; say of an ambiguous failure to send that it is one."""
        place = self._place(queue, side, timeout)
        client = self._clients.get(side, place, timeout)
        try:
            answer = call(client, place.url)
        except Exception as error:
            translated = self._classify(error)
            if translated is None:
                raise
            if isinstance(translated, NotFoundError):
                self._clients.forget(queue)
            translated.maybe_sent = side == "send" and is_ambiguous(error)
            raise translated from error
        see_that_it_is_sqs(answer)
        return answer

    def _place(self, queue: str, side: Side, timeout: float) -> Place:
        try:
            return self._clients.place(queue, side, timeout)
        except Exception as error:
            translated = self._classify(error)
            if isinstance(translated, PermissionDeniedError) and operation_of(error) == "GetQueueUrl":
                raise PermissionDeniedError(
                    "the credential may not look up the queue's URL (sqs:GetQueueUrl); name the queue by its URL",
                    code=translated.code,
                ) from error
            raise

    def _classify(self, error: Exception) -> CloudDirectError | None:
        return classify(error, CODES, self._secrets)

    def _check(self, queue: str, access: Access, timeout: float) -> CheckResult:
        side: Side = "send" if access == "send" else "settle"
        self._place(queue, side, timeout)  # without it nothing works, so that its refusal is a failure
        try:
            found = self._call(side, queue, timeout, read_attributes)
        except PermissionDeniedError as denied:
            return unverified(access, denied)
        return describe_queue(access, found.get("Attributes", {}), self._options.max_message_bytes)

    def _native(self) -> object:
        """boto3's client, for the options' region or that of a queue used before."""
        return self._clients.native()

    def _close(self, timeout: float) -> None:
        if not self._polls.close(timeout):
            log.info("a long poll is still under way; what it brings comes again when its lease ends")
        self._clients.close()
