"""The request/response nodes: ``$cbs`` takes tokens, ``<entity>/$management`` operations.

Source: "AMQP request-response-based operations", Service Bus documentation.

A client attaches two links to a node. A request that comes on the one is answered on the other: the answer's
correlation-id is the request's message-id, and status code and text are application properties.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from .access import TokenRefusedError
from .codec import Encoded, Int, Symbol, decode
from .faults import Point
from .link import Endpoint, Link
from .management import MANAGEMENT, Management
from .message import StoredMessage
from .protocol import ACCEPTED, AmqpError, outcome, section

__all__ = ["CBS", "CbsNode", "ManagementNode", "ReplyEndpoint", "RequestEndpoint"]

CBS = "$cbs"
_PROPERTIES, _APPLICATION, _VALUE = 0x73, 0x74, 0x77

#: Application properties and body of a request, or of an answer.
Parts = tuple[dict[str, Any], Any]


class ReplyEndpoint(Endpoint):
    """The link on which a node answers."""

    def __init__(self, link: Link, node: str) -> None:
        self._keys = [(node, link.target[0]), (node, None)]
        self._replies = link.connection.replies
        for key in self._keys:
            self._replies[key] = link
        self._link = link

    def detached(self) -> None:
        """Answer nowhere any more."""
        for key in self._keys:
            if self._replies.get(key) is self._link:
                del self._replies[key]


class RequestEndpoint(Endpoint):
    """The link on which a node is asked."""

    def __init__(self, link: Link, node: str, respond: Callable[[Parts, Callable[[Parts], None]], None]) -> None:
        self._link = link
        self._node = node
        self._respond = respond

    def incoming(self, delivery: int, message_format: int, payload: bytes, settled: bool) -> None:
        """Take a request and answer it."""
        request = StoredMessage(payload)
        if not settled:
            self._link.answer(delivery, outcome(ACCEPTED))

        def answer(parts: Parts) -> None:
            replies = self._link.connection.replies
            link = replies.get((self._node, request.field("reply_to"))) or replies.get((self._node, None))
            if link is not None:
                properties = [None] * 5 + [request.id]  # correlation-id
                body = section(_PROPERTIES, properties) + section(_APPLICATION, parts[0]) + section(_VALUE, parts[1])
                link.deliver(uuid.uuid4().bytes, body)

        self._respond((request.application_properties(), _value(request)), answer)


class CbsNode:
    """Claims-based security: put-token adds what a token allows to the connection's claims."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def respond(self, request: Parts, answer: Callable[[Parts], None]) -> None:
        """Check a token: 202, or 401 and why not."""
        properties, token = request
        connection = self._link.connection

        def operation(refusal: AmqpError | None) -> None:
            code, text = 202, "Accepted"
            if refusal is not None:
                code, text = 401, refusal.text
            elif properties.get("operation") != "put-token":
                code, text = 400, "BadRequest: unknown operation"
            else:
                try:
                    claim = connection.service.authority.check(str(properties.get("name", "")), token)
                    connection.add_claim(claim)
                except TokenRefusedError as error:
                    code, text = 401, str(error)
            answer(({"status-code": Int(code), "status-description": text}, None))

        connection.guarded(Point.TOKEN, self._link, operation)


class ManagementNode:
    """An entity's management node."""

    def __init__(self, link: Link, node: str) -> None:
        self._link = link
        self._path = node[: -len(MANAGEMENT)]
        service, claims = link.connection.service, link.connection.claims
        self._management = Management(service.namespace, claims, self._path)

    def respond(self, request: Parts, answer: Callable[[Parts], None]) -> None:
        """Do an operation and answer with its result, or with the error's condition and text."""
        properties, body = request

        def operation(refusal: AmqpError | None) -> None:
            result = self._management.perform(str(properties.get("operation")), body, refusal)
            said: dict[str, Any] = {"statusCode": Int(result.code), "statusDescription": result.text}
            if result.condition is not None:
                said["errorCondition"] = Symbol(result.condition)
            answer((said, result.body))

        self._link.connection.guarded(Point.MANAGEMENT, self._link, operation, self._path)


def _value(message: StoredMessage) -> Any:
    """Return the AmqpValue body of a request."""
    for code, part in message.rest:
        if code == _VALUE:
            value = decode(part)[0].value
            return None if isinstance(value, Encoded) else value
    return None
