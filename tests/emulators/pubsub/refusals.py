"""Answers that are errors: raised anywhere in the server, sent by the RPC layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

__all__ = ["Refusal", "already_exists", "failed_precondition", "invalid", "missing"]


class Refusal(Exception):
    """A gRPC status that answers a call.

    Args:
        code: the status.
        message: what the caller reads.
        ack_ids: for exactly-once subscriptions: what became of each ack id that failed, sent as
            ``google.rpc.ErrorInfo`` in the status details.
    """

    def __init__(self, code: grpc.StatusCode, message: str, ack_ids: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.ack_ids = ack_ids or {}

    async def send(self, context: Any) -> None:
        """End the call with this status; never returns."""
        if not self.ack_ids:
            await context.abort(self.code, self.message)
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        information = error_details_pb2.ErrorInfo(
            reason="EXACTLY_ONCE_ACKID_FAILURE", domain="pubsub.googleapis.com", metadata=self.ack_ids
        )
        status.details.add().Pack(information)
        await context.abort_with_status(rpc_status.to_status(status))


def invalid(message: str) -> Refusal:
    """INVALID_ARGUMENT."""
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)


def missing(name: str) -> Refusal:
    """NOT_FOUND for a topic, a subscription or a snapshot."""
    return Refusal(grpc.StatusCode.NOT_FOUND, f"Resource not found (resource={name.rsplit('/', 1)[-1]}).")


def already_exists(message: str) -> Refusal:
    """ALREADY_EXISTS."""
    return Refusal(grpc.StatusCode.ALREADY_EXISTS, message)


def failed_precondition(message: str) -> Refusal:
    """FAILED_PRECONDITION."""
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, message)
