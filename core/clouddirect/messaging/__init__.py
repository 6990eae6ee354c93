"""Messages over any broker: `Message`, `Delivery`, `MessageBroker`, `Consumer`."""

from clouddirect.messaging.broker import MessageBroker
from clouddirect.messaging.capabilities import Access, Capabilities, CheckResult
from clouddirect.messaging.consumer import Consumer, Handler
from clouddirect.messaging.delivery import Delivery
from clouddirect.messaging.message import (
    DEAD_LETTER_DESCRIPTION,
    DEAD_LETTER_QUEUE,
    DEAD_LETTER_REASON,
    Message,
    SendReceipt,
    SendResult,
)
from clouddirect.messaging.options import ConsumerOptions
from clouddirect.messaging.primitives import BrokerRuntime, RawDelivery
from clouddirect.messaging.quarantine import Quarantine, QuarantinedMessage
from clouddirect.messaging.quarantine_queue import QuarantineQueue
from clouddirect.messaging.settlement import SettleResult

__all__ = [
    "Access",
    "BrokerRuntime",
    "Capabilities",
    "CheckResult",
    "Consumer",
    "ConsumerOptions",
    "DEAD_LETTER_DESCRIPTION",
    "DEAD_LETTER_QUEUE",
    "DEAD_LETTER_REASON",
    "Delivery",
    "Handler",
    "Message",
    "MessageBroker",
    "Quarantine",
    "QuarantineQueue",
    "QuarantinedMessage",
    "RawDelivery",
    "SendReceipt",
    "SendResult",
    "SettleResult",
]
