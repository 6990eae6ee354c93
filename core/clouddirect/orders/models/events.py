"""Events: what IRIS tells on the ``events`` queue while an order is processed, one object a message.

All are known from the IRIS integration guide. New kinds appear without notice (OrderCancelled was added in 2026); one
that is unknown here is read as ``UnknownEvent`` and holds everything that came.
"""

from typing import ClassVar

from pydantic import Field

from clouddirect.orders.models.base import WireModel
from clouddirect.orders.models.order import WIRE_VERSION
from clouddirect.orders.models.values import DateTime, Flag, Guid, Integer, Text, Version

__all__ = [
    "EVENT_KINDS",
    "Event",
    "GradingReceipt",
    "ImageReceipt",
    "OrderCancelled",
    "OrderCreationReceipt",
    "OrderEvent",
    "OrderGradedEvent",
    "ReadyForGradingEvent",
    "ResultsDeliveryReceipt",
    "UnknownEvent",
]


class Event(WireModel):
    """What all events have in common. ``result_object_type`` names the kind on the wire.

    The two ids of the order are not among the common fields of the guide, but every kind it describes has them.
    """

    required_fields: ClassVar[frozenset[str]] = frozenset({"result_object_type"})
    safe_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "transaction_id",
            "timestamp",
            "success",
            "result_object_type",
            "version",
            "iris_order_id",
            "order_local_id",
            "iris_image_id",
            "time_delivered",
        }
    )
    repr_fields: ClassVar[tuple[str, ...]] = (
        "transaction_id",
        "iris_order_id",
        "order_local_id",
        "iris_image_id",
        "success",
    )

    transaction_id: Guid = Field(default=None, description="Identifies the message.")
    timestamp: DateTime = Field(default=None, description="When the message was put on the queue.")
    success: Flag = Field(default=None, description="Whether the operation succeeded.")
    error_message: Text = Field(default=None, description="What went wrong, when Success is false.")
    iris_order_id: Integer = Field(default=None, description="IRIS's own id of the order.")
    order_local_id: Text = Field(default=None, description="Order.LocalId of the request: the only link to it.")
    result_object_type: Text = Field(default=None, description="Kind of the event.")
    version: Version = Field(default=WIRE_VERSION, description="Version of the object model.")


class OrderEvent(Event):
    """What events about the processing of an order have in common."""

    patient_local_id: Text = Field(default=None, description="Patient.LocalId of the request.")


class OrderCreationReceipt(OrderEvent):
    """IRIS has taken an order, or has refused it (``success`` False)."""

    result_object_type: Text = Field(default="OrderCreationReceipt", description="Kind of the event.")


class OrderCancelled(OrderEvent):
    """An order was cancelled. ``success`` and ``error_message`` mean nothing here and are to be ignored."""

    result_object_type: Text = Field(default="OrderCancelled", description="Kind of the event.")


class ImageReceipt(OrderEvent):
    """IRIS has taken an image, or has refused it (``success`` False)."""

    image_local_id: Text = Field(default=None, description="LocalId of the image in the request.")
    iris_image_id: Integer = Field(default=None, description="IRIS's own id of the image.")
    result_object_type: Text = Field(default="ImageReceipt", description="Kind of the event.")


class ReadyForGradingEvent(OrderEvent):
    """The order's images suffice: it waits to be graded. An order not cancelled before it is graded is billed."""

    result_object_type: Text = Field(default="ReadyForGradingEvent", description="Kind of the event.")


class GradingReceipt(OrderEvent):
    """Grading of the order has been taken in."""

    result_object_type: Text = Field(default="GradingReceipt", description="Kind of the event.")


class OrderGradedEvent(OrderEvent):
    """The order is graded; its result is being made."""

    result_object_type: Text = Field(default="OrderGradedEvent", description="Kind of the event.")


class ResultsDeliveryReceipt(Event):
    """A result was delivered to a recipient other than the ``results`` queue, or could not be."""

    time_delivered: DateTime = Field(default=None, description="When it was delivered.")
    delivery_type: Text = Field(default=None, description="By which way.")
    endpoint: Text = Field(default=None, description="To where.")
    transmission_status: Text = Field(default=None, description="How the transmission ended.")
    result_object_type: Text = Field(default="ResultsDeliveryReceipt", description="Kind of the event.")


class UnknownEvent(OrderEvent):
    """An event of a kind that this library does not know. All that came is here: the common fields as attributes, the
    ids of the order where given, and the rest in ``unknown_fields``."""

    repr_fields: ClassVar[tuple[str, ...]] = ("result_object_type", *Event.repr_fields)


EVENT_KINDS: dict[str, type[Event]] = {
    cls.__name__: cls
    for cls in (
        OrderCreationReceipt,
        OrderCancelled,
        ImageReceipt,
        ReadyForGradingEvent,
        GradingReceipt,
        OrderGradedEvent,
        ResultsDeliveryReceipt,
    )
}
"""The known kinds by their ``ResultObjectType``."""
