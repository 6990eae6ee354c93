"""`GcpBroker`: topics and subscriptions of Google Cloud Pub/Sub."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import grpc

from clouddirect.errors import CloudDirectError, PermissionDeniedError, UnsupportedError
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
from clouddirect_gcp.broker_options import GcpBrokerOptions
from clouddirect_gcp.credentials import classify_credential_error
from clouddirect_gcp.pubsub_channel import PubSubChannel
from clouddirect_gcp.pubsub_errors import classify_rpc_error
from clouddirect_gcp.pubsub_names import Collection, resource_name
from clouddirect_gcp.pubsub_native import PubSubNative
from clouddirect_gcp.pubsub_receive import receive
from clouddirect_gcp.pubsub_rpc import (
    PUBLISH,
    TEST_PUBLISH,
    TEST_SUBSCRIBE,
    PublishRequest,
    TestIamPermissionsRequest,
)
from clouddirect_gcp.pubsub_settle import MAX_ACK_IDS, MAX_DEADLINE, acknowledge, modify_ack_deadlines
from clouddirect_gcp.pubsub_wire import MAX_REQUEST_BYTES, MAX_REQUEST_MESSAGES, check, encode_into, measure

__all__ = ["GcpBroker"]

_CAPABILITIES = Capabilities(
    max_message_bytes=MAX_REQUEST_BYTES,
    max_send_count=MAX_REQUEST_MESSAGES,
    max_send_bytes=MAX_REQUEST_BYTES,
    atomic_send=True,
    one_key_per_send=True,
    max_receive_count=1000,
    max_receive_wait=30.0,
    # a pull that is not given time to cross the network brings nothing, whatever is there
    min_receive_wait=1.0,
    max_settle_count=MAX_ACK_IDS,
    settable_lease=True,
    max_lease=float(MAX_DEADLINE),
    max_nack_delay=float(MAX_DEADLINE),
    # https://cloud.google.com/pubsub/docs/handling-failures, "How dead-letter topics work"
    dead_letter_count="CloudPubSubDeadLetterSourceDeliveryCount",
)


class GcpBroker(MessageBroker):
    """Pub/Sub in one project, or in several if full resource names are used.

    A queue's name means a topic where it is sent to, and a subscription where it is received from.

    - Sending calls Publish, and needs ``roles/pubsub.publisher`` on the topic. Receiving calls Pull,
      ModifyAckDeadline and Acknowledge, and needs ``roles/pubsub.subscriber`` on the subscription.
    - Leases and the delays of nacks are acknowledgement deadlines, in whole seconds, rounded up. A subscription's
      retry policy can delay a message further.
    - Giving back counts as a delivery, where deliveries are counted.
    - With exactly-once delivery a settlement that came too late raises `LeaseLostError`, on the service's word. Without
      it the service takes late acknowledgements without a word, so our own clock decides.
    - ``native`` is a `PubSubNative`, which makes the SDK's own clients.
    """

    provider = "gcp"

    def __init__(self, options: GcpBrokerOptions, runtime: BrokerRuntime | None = None) -> None:
        """Open nothing yet; the credential and the connection are opened by the first call."""
        super().__init__(runtime)
        self._lease = float(options.lease)
        self._channel = PubSubChannel(options)
        self._names: dict[tuple[str, Collection], str] = {}
        self._can = replace(
            _CAPABILITIES,
            send_concurrency=options.send_concurrency,
            ack_is_checked=options.exactly_once,
            ordering=options.ordered,
            delivery_count=options.counted,
            max_delivery_count=options.max_delivery_count,
        )

    def _capabilities(self, queue: str) -> Capabilities:
        return self._can

    def _size(self, queue: str, message: Message) -> int:
        return measure(message)

    def _validate(self, queue: str, message: Message) -> None:
        check(message)

    # -- sending --------------------------------------------------------------------------------------------

    def _send(
        self, queue: str, messages: Sequence[Message], timeout: float
    ) -> Sequence[SendReceipt | CloudDirectError]:
        request = PublishRequest(topic=self._name(queue, "topics"))
        for message in messages:
            encode_into(request.messages, message)
        answer = self._channel.translated(PUBLISH, request, timeout)
        return [
            SendReceipt(message.id, broker_id) for message, broker_id in zip(messages, answer.message_ids, strict=True)
        ]

    # -- receiving ------------------------------------------------------------------------------------------

    def _receive(
        self, queue: str, max_messages: int, wait: float, lease: float | None, interrupt: Interrupt
    ) -> Sequence[RawDelivery]:
        name = self._name(queue, "subscriptions")
        return receive(self._channel, name, max_messages, wait, lease or self._lease, interrupt)

    def _ack(self, queue: str, deliveries: Sequence[RawDelivery], timeout: float) -> Sequence[CloudDirectError | None]:
        name = self._name(queue, "subscriptions")
        return acknowledge(self._channel, name, _ack_ids(deliveries), timeout).outcomes()

    def _nack(
        self, queue: str, deliveries: Sequence[RawDelivery], delay: float, timeout: float
    ) -> Sequence[CloudDirectError | None]:
        return self._modify(queue, deliveries, math.ceil(delay), timeout)

    def _extend(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: float, timeout: float
    ) -> Sequence[float | CloudDirectError]:
        whole = math.ceil(seconds)
        outcomes = self._modify(queue, deliveries, whole, timeout)
        return [float(whole) if outcome is None else outcome for outcome in outcomes]

    def _modify(
        self, queue: str, deliveries: Sequence[RawDelivery], seconds: int, timeout: float
    ) -> list[CloudDirectError | None]:
        name = self._name(queue, "subscriptions")
        return modify_ack_deadlines(self._channel, name, _ack_ids(deliveries), seconds, timeout).outcomes()

    # -- the rest -------------------------------------------------------------------------------------------

    def _check(self, queue: str, access: Access, timeout: float) -> CheckResult:
        collection: Collection = "topics" if access == "send" else "subscriptions"
        permission = "pubsub.topics.publish" if access == "send" else "pubsub.subscriptions.consume"
        name = self._name(queue, collection)
        request = TestIamPermissionsRequest(resource=name, permissions=[permission])
        rpc = TEST_PUBLISH if access == "send" else TEST_SUBSCRIBE
        try:
            granted = self._channel.translated(rpc, request, timeout).permissions
        except UnsupportedError:
            return CheckResult(access, "unverified", "this endpoint, an emulator perhaps, cannot say what is permitted")
        if permission not in granted:
            raise PermissionDeniedError(
                f"the credential does not have the permission {permission} on {name!r}, or there is no such resource: "
                f"grant it roles/pubsub.{'publisher' if access == 'send' else 'subscriber'} there",
                code="testIamPermissions",
            )
        return CheckResult(
            access,
            "likely",
            f"the credential has the permission {permission} on {name!r}; nothing was sent or taken, so a network "
            "perimeter, a quota, an encryption key or a schema may still stand in the way",
        )

    def _classify(self, error: Exception) -> CloudDirectError | None:
        if isinstance(error, grpc.RpcError):
            return classify_rpc_error(error, "receive", "?")
        return classify_credential_error(error)

    def _native(self) -> PubSubNative:
        return PubSubNative(self._channel)

    def _close(self, timeout: float) -> None:
        self._channel.close()

    def _name(self, queue: str, collection: Collection) -> str:
        name = self._names.get((queue, collection))
        if name is None:
            # a full name needs no project, and asking for one may mean looking for a credential
            project = None if queue.startswith("projects/") else self._channel.project()
            name = self._names[queue, collection] = resource_name(queue, collection, project)
        return name


def _ack_ids(deliveries: Sequence[RawDelivery]) -> list[str]:
    return [str(delivery.handle) for delivery in deliveries]
