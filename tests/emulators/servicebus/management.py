"""What an entity's management node does ("AMQP request-response-based operations", Service Bus documentation).

Bodies are maps with the keys given there. Rules of subscriptions cannot be changed here: tests say them when they
make one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from .access import Claims
from .codec import Array, DecodeError, Int
from .message import State, StoredMessage, milliseconds
from .namespace import Namespace
from .protocol import AmqpError, Condition
from .queue import Queue
from .settings import LISTEN, SEND

__all__ = ["MANAGEMENT", "Management", "Result"]

MANAGEMENT = "/$management"
_VENDOR = "com.microsoft:"
_LONGS, _TIMESTAMPS = 0x81, 0x83  # constructors of array elements
_CODES = {
    Condition.NOT_FOUND: 404,
    Condition.MESSAGE_NOT_FOUND: 404,
    Condition.UNAUTHORIZED: 401,
    Condition.NOT_IMPLEMENTED: 501,
    Condition.SERVER_BUSY: 503,
    Condition.NOT_ALLOWED: 400,
    Condition.DECODE_ERROR: 400,
    Condition.QUOTA_EXCEEDED: 403,
    Condition.INTERNAL_ERROR: 500,
}
_NO_CONTENT = 204
_RECEIVE_AND_DELETE = 0  # of the receiver settle modes


@dataclass(frozen=True)
class Result:
    """An answer: status code and text, the error's condition if it failed, and the body if there is one."""

    code: int
    text: str
    condition: str | None = None
    body: dict[str, Any] | None = None


class Management:
    """One entity's operations, for one connection with its claims."""

    def __init__(self, namespace: Namespace, claims: Claims, path: str) -> None:
        self._namespace = namespace
        self._claims = claims
        self._path = path
        self._operations: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any] | None]]] = {
            "renew-lock": (LISTEN, self._renew_lock),
            "peek-message": (LISTEN, self._peek),
            "receive-by-sequence-number": (LISTEN, self._receive_deferred),
            "update-disposition": (LISTEN, self._update_disposition),
            "schedule-message": (SEND, self._schedule),
            "cancel-scheduled-message": (SEND, self._cancel_scheduled),
            "renew-session-lock": (LISTEN, self._renew_session),
            "get-session-state": (LISTEN, self._get_session_state),
            "set-session-state": (LISTEN, self._set_session_state),
            "get-message-sessions": (LISTEN, self._sessions),
        }

    def perform(self, operation: str, body: Any, refusal: AmqpError | None = None) -> Result:
        """Do an operation, or refuse it with the error given."""
        try:
            if refusal is not None:
                raise refusal
            right, act = self._find(operation)
            self._claims.require(self._path, right)
            done = act(body if isinstance(body, dict) else {})
        except AmqpError as error:
            return Result(_CODES.get(error.condition, 410), error.text, error.condition)
        except (KeyError, TypeError, DecodeError) as error:
            return Result(400, f"{operation}: a field is missing or malformed: {error}", "com.microsoft:argument-error")
        return Result(200, "OK", body=done) if done is not None else Result(_NO_CONTENT, "No content")

    def _find(self, operation: str) -> tuple[str, Callable[[dict[str, Any]], dict[str, Any] | None]]:
        found = self._operations.get(operation.removeprefix(_VENDOR))
        if found is None:
            raise AmqpError(Condition.NOT_IMPLEMENTED, f"This server has no operation {operation}.")
        return found

    @property
    def _queue(self) -> Queue:
        return self._namespace.queue(self._path)

    # ---- locks

    def _renew_lock(self, body: dict[str, Any]) -> dict[str, Any]:
        ends = [self._queue.renew_lock(token) for token in body["lock-tokens"]]
        return {"expirations": Array(_TIMESTAMPS, [milliseconds(end) for end in ends])}

    def _update_disposition(self, body: dict[str, Any]) -> dict[str, Any]:
        """Settle without the link: a client does so when the link on which the message came is gone."""
        queue, status = self._queue, body["disposition-status"]
        reason, description = body.get("deadletter-reason"), body.get("deadletter-description")
        actions: dict[str, Callable[[UUID], None]] = {
            "completed": queue.complete,
            "abandoned": queue.abandon,
            "defered": queue.defer,  # so it is spelt on the wire
            "suspended": lambda token: queue.dead_letter(token, reason, description),
        }
        for token in body["lock-tokens"]:
            actions[status](token)
        return {}

    # ---- looking, and receiving by number

    def _peek(self, body: dict[str, Any]) -> dict[str, Any] | None:
        first, count, session = body["from-sequence-number"], body["message-count"], body.get("session-id")
        found = []
        for number, message in sorted(self._queue.messages.items()):
            if number >= first and (session is None or message.session_id == session):
                found.append({"message": message.encode()})
                if len(found) == count:
                    break
        return {"messages": found} if found else None

    def _receive_deferred(self, body: dict[str, Any]) -> dict[str, Any]:
        queue = self._queue
        messages = [self._deferred(queue, number) for number in body["sequence-numbers"]]
        received = []
        for message in messages:
            token = queue.lock(message, None).token
            received.append({"lock-token": token, "message": message.encode()})
            if body["receiver-settle-mode"] == _RECEIVE_AND_DELETE:
                queue.complete(token)
        return {"messages": received}

    def _deferred(self, queue: Queue, number: int) -> StoredMessage:
        message = queue.messages.get(number)
        if message is None or message.state is not State.DEFERRED or message.lock is not None:
            raise AmqpError(
                Condition.MESSAGE_NOT_FOUND,
                f"Failed to lock one or more specified messages. The message does not exist: {number}.",
            )
        if queue.sessions:
            queue.lanes.held_session(message.session_id)
        return message

    # ---- schedule

    def _schedule(self, body: dict[str, Any]) -> dict[str, Any]:
        messages = [StoredMessage(each["message"]) for each in body["messages"]]
        numbers = self._namespace.publish(self._namespace.find(self._path), messages)
        return {"sequence-numbers": Array(_LONGS, numbers)}

    def _cancel_scheduled(self, body: dict[str, Any]) -> dict[str, Any]:
        entity = self._namespace.find(self._path)
        for number in body["sequence-numbers"]:
            if not self._namespace.cancel_scheduled(entity, number):
                raise AmqpError(Condition.MESSAGE_NOT_FOUND, f"The scheduled message {number} was not found.")
        return {}

    # ---- sessions

    def _renew_session(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"expiration": milliseconds(self._queue.lanes.renew(body["session-id"]))}

    def _get_session_state(self, body: dict[str, Any]) -> dict[str, Any]:
        """Only who holds a session may read and write its state ("Message sessions", session state)."""
        return {"session-state": self._queue.lanes.held_session(body["session-id"]).state}

    def _set_session_state(self, body: dict[str, Any]) -> dict[str, Any]:
        self._queue.lanes.held_session(body["session-id"]).state = body["session-state"]
        return {}

    def _sessions(self, body: dict[str, Any]) -> dict[str, Any] | None:
        queue, skip, top = self._queue, body["skip"], body["top"]
        ids = {message.session_id for message in queue.messages.values()}
        ids |= queue.lanes.sessions_with_state()
        found = sorted(each for each in ids if each is not None)[skip : skip + top]
        return {"skip": Int(skip + len(found)), "sessions-ids": found} if found else None
