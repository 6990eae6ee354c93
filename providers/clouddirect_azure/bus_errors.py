"""One table from what Service Bus and its SDK report to clouddirect's errors.

The conditions are those of AMQP 1.0, section 2.8.15, and of Microsoft's "AMQP errors in Azure Service Bus"
(learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-troubleshoot).
"""

from __future__ import annotations

import builtins
import re
import socket
import ssl
import traceback
from collections.abc import Iterable, Iterator

from azure.core.exceptions import ClientAuthenticationError
from azure.servicebus._pyamqp.error import AMQPConnectionError, AuthenticationException, TokenAuthFailure, TokenExpired
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageSizeExceededError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusError,
    SessionLockLostError,
)
from websocket import WebSocketAddressException, WebSocketBadStatusException, WebSocketProxyException

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

__all__ = ["from_condition", "translate"]

_LOST = "the lock on the message is gone: it ended, or the message was settled or given to somebody else"
_CLOSED = "Service Bus closed the connection or the link"
_REFUSED = "Service Bus refused a part of the message"
_KINDS: dict[str, tuple[type[CloudDirectError], bool, str]] = {
    "amqp:connection:forced": (UnavailableError, True, _CLOSED),
    "amqp:connection:framing-error": (UnavailableError, True, _CLOSED),
    "amqp:decode-error": (InvalidMessageError, False, _REFUSED),
    "amqp:internal-error": (UnavailableError, True, "Service Bus failed on its side"),
    "amqp:invalid-field": (InvalidMessageError, False, _REFUSED),
    "amqp:link:detach-forced": (UnavailableError, True, _CLOSED),
    "amqp:link:message-size-exceeded": (TooLargeError, False, "the message is larger than the queue permits"),
    "amqp:link:stolen": (UnavailableError, True, _CLOSED),
    "amqp:not-allowed": (
        UnsupportedError, False,
        "Service Bus does not allow this on the queue; does it use sessions? (option sessions)",
    ),
    "amqp:not-found": (NotFoundError, False, "there is no such queue, topic or subscription; check the name"),
    "amqp:not-implemented": (UnsupportedError, False, "Service Bus does not implement this for the queue"),
    "amqp:precondition-failed": (InvalidMessageError, False, _REFUSED),
    "amqp:resource-deleted": (NotFoundError, False, "the queue, topic or subscription has been deleted"),
    "amqp:resource-limit-exceeded": (
        ThrottledError, False, "a quota is used up: the queue is full, or the namespace has too many connections",
    ),
    "amqp:resource-locked": (UnavailableError, True, "somebody else holds the resource"),
    "amqp:unauthorized-access": (
        PermissionDeniedError, False, "the credential may not do this here; it needs the Send or the Listen right",
    ),
    "com.microsoft:argument-error": (InvalidMessageError, False, _REFUSED),
    "com.microsoft:argument-out-of-range": (InvalidMessageError, False, _REFUSED),
    "com.microsoft:auth-failed": (AuthenticationError, False, "the credential was not accepted"),
    "com.microsoft:container-close": (UnavailableError, True, _CLOSED),
    "com.microsoft:entity-disabled": (UnavailableError, True, "the queue is disabled; its owner must enable it"),
    "com.microsoft:message-lock-lost": (LeaseLostError, False, _LOST),
    "com.microsoft:message-not-found": (LeaseLostError, False, _LOST),
    "com.microsoft:operation-cancelled": (UnavailableError, True, "Service Bus gave the call up; it is being updated"),
    "com.microsoft:server-busy": (ThrottledError, True, "Service Bus is busy and asks to slow down"),
    "com.microsoft:session-cannot-be-locked": (UnavailableError, True, "the session is held by another receiver"),
    "com.microsoft:session-lock-lost": (LeaseLostError, False, "the lock on the session is gone"),
    "com.microsoft:timeout": (TimeoutError, True, "Service Bus did not finish the call in time"),
}  # fmt: skip


def from_condition(condition: object, description: object = None) -> CloudDirectError:
    """Return the error for an AMQP condition; an unknown one is taken for a passing failure of the service."""
    code = _text(condition)
    kind, retryable, text = _KINDS.get(code, (UnavailableError, True, "Service Bus reported a failure"))
    waits = re.search(r"wait (\d+) seconds", _text(description)) if kind is ThrottledError else None
    return kind(
        f"{text} ({code})", code=code, retryable=retryable, retry_after=float(waits.group(1)) if waits else None
    )


def translate(error: BaseException, secrets: Iterable[str] = ()) -> CloudDirectError:
    """Return the error for whatever the SDK raised, with it as the cause unless that would show a secret."""
    if isinstance(error, CloudDirectError):
        return error
    translated = _translate(list(_chain(error)))
    shown = "".join(traceback.format_exception(error))
    if not any(secret in shown for secret in secrets):
        translated.__cause__ = error
    return translated


def _translate(chain: list[BaseException]) -> CloudDirectError:
    for error in chain:
        if isinstance(error, TokenAuthFailure):
            return _from_status(error.status_code)
        if isinstance(error, TokenExpired):
            return UnavailableError("the connection's token ended before it could be renewed", code="token-expired")
        if isinstance(error, ssl.SSLCertVerificationError):
            return UnavailableError(
                "the server's certificate is not trusted, or is for another host; see the options ca_file and endpoint",
                code="certificate", retryable=False,
            )  # fmt: skip
        if isinstance(error, ClientAuthenticationError):
            return AuthenticationError(
                "no usable Microsoft Entra credential was found, or it was refused; see DefaultAzureCredential",
                code="entra",
            )
    for error in chain:
        if isinstance(error, (MessageLockLostError, SessionLockLostError)):
            return LeaseLostError(_LOST, code="lock-lost")
        if isinstance(error, MessageSizeExceededError):
            return TooLargeError("the message is larger than the queue permits", code="message-size-exceeded")
        if isinstance(error, (socket.gaierror, WebSocketAddressException)):
            return UnavailableError(
                "the host name of the namespace, or of the proxy, cannot be resolved; check it and the network",
                code="name",
            )
        if isinstance(error, WebSocketProxyException):
            return _from_proxy(str(error))
        if isinstance(error, WebSocketBadStatusException):
            return UnavailableError(
                "something on the way, a proxy or a firewall, answered in place of Service Bus, with status "
                f"{error.status_code}", code=f"websocket-{error.status_code}",
            )  # fmt: skip
        if isinstance(error, (OperationTimeoutError, builtins.TimeoutError)):
            return TimeoutError("Service Bus did not answer in time", code="timeout")
    for error in chain:
        condition = _condition(error)
        if condition in _KINDS and not (
            # a connection is closed with it when it was idle; only on a link does it mean a quota
            isinstance(error, AMQPConnectionError) and condition == "amqp:resource-limit-exceeded"
        ):
            return from_condition(condition, str(error))
    for error in chain:
        if isinstance(error, (ServiceBusAuthenticationError, AuthenticationException)):
            return AuthenticationError("the credential was not accepted", code="authentication")
    name = type(chain[0]).__name__
    if any(isinstance(error, (ServiceBusError, OSError, AMQPConnectionError)) or _condition(error) for error in chain):
        return UnavailableError(f"Service Bus could not be reached, or the connection was lost ({name})", code=name)
    return UnavailableError(f"the SDK gave the connection up ({name})", code=name)


def _from_status(status: object) -> CloudDirectError:
    """The answer to putting a token (claims-based security, AMQP management 1.0: HTTP status codes)."""
    code = str(status)
    if code == "404":
        return NotFoundError("there is no such queue, topic or subscription; check the name", code=code)
    if code in ("401", "403"):
        return AuthenticationError(
            "Service Bus does not accept the credential: a wrong or expired key or signature, or one of another queue",
            code=code,
        )
    return UnavailableError(f"Service Bus did not take the token (status {code})", code=code)


def _from_proxy(text: str) -> CloudDirectError:
    """What a proxy answers to CONNECT; ``text`` is that of websocket-client, which ends with the status."""
    found = re.search(r"status: (\d{3})", text)
    status = int(found.group(1)) if found else 0
    code = f"proxy-{status}" if found else "proxy"
    if status == 407:
        return AuthenticationError(
            "the proxy asks for a user and password, or refuses those of the option proxy", code=code
        )
    return UnavailableError(
        f"the proxy did not connect ({code}); it must allow CONNECT to the namespace's host, port 443", code=code,
        retryable=not 400 <= status < 500,
    )  # fmt: skip


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        error = waiting.pop(0)
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        inner = getattr(error, "inner_exception", None)
        waiting += [error.__cause__, inner if isinstance(inner, BaseException) else None]


def _condition(error: BaseException) -> str:
    return _text(getattr(error, "condition", None) or getattr(error, "_condition", None))


def _text(value: object) -> str:
    value = getattr(value, "value", value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    return "" if value is None else str(value)
