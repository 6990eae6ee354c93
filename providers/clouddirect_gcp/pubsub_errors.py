"""What Pub/Sub's answers mean: one table by gRPC status.

Sources: https://cloud.google.com/pubsub/docs/reference/error-codes and, for lost leases under exactly-once delivery,
https://cloud.google.com/pubsub/docs/exactly-once-delivery
"""

from __future__ import annotations

from typing import Any, Literal

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo  # type: ignore[import-untyped]
from grpc_status import rpc_status

from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    ConfigurationError,
    InvalidMessageError,
    LeaseLostError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    ThrottledError,
    TimeoutError,
    UnavailableError,
    UnsupportedError,
)

__all__ = ["Side", "classify_rpc_error", "settle_outcomes"]

#: What a call was for; it decides what a status means.
Side = Literal["send", "receive", "settle"]

_Code = grpc.StatusCode
_KINDS: dict[grpc.StatusCode, type[CloudDirectError]] = {
    _Code.ABORTED: UnavailableError,
    _Code.CANCELLED: UnavailableError,
    _Code.DATA_LOSS: UnavailableError,
    _Code.DEADLINE_EXCEEDED: TimeoutError,
    _Code.FAILED_PRECONDITION: PreconditionFailedError,
    _Code.INTERNAL: UnavailableError,
    _Code.INVALID_ARGUMENT: ConfigurationError,  # of a message: InvalidMessageError
    _Code.NOT_FOUND: NotFoundError,
    _Code.PERMISSION_DENIED: PermissionDeniedError,
    _Code.RESOURCE_EXHAUSTED: ThrottledError,
    _Code.UNAUTHENTICATED: AuthenticationError,
    _Code.UNAVAILABLE: UnavailableError,
    _Code.UNIMPLEMENTED: UnsupportedError,
    _Code.UNKNOWN: UnavailableError,
}
_RESOURCE = {"send": "topic", "receive": "subscription", "settle": "subscription"}
_ROLE = {"send": "roles/pubsub.publisher", "receive": "roles/pubsub.subscriber", "settle": "roles/pubsub.subscriber"}
_TEXTS: dict[grpc.StatusCode, str] = {
    _Code.DEADLINE_EXCEEDED: "Pub/Sub did not answer in time about the {kind} {name}",
    _Code.FAILED_PRECONDITION: (
        "Pub/Sub refused because of the state of the {kind} {name}: look for a detached or push subscription, a "
        "schema, or a disabled encryption key"
    ),
    _Code.INVALID_ARGUMENT: "Pub/Sub refused the request on the {kind} {name} as malformed: see the cause",
    _Code.NOT_FOUND: "the {kind} {name} does not exist: create it, or mend the name or the project",
    _Code.PERMISSION_DENIED: (
        "the credential may not use the {kind} {name}: grant it {role} there, and see that the project has the Pub/Sub "
        "API enabled"
    ),
    _Code.RESOURCE_EXHAUSTED: "a quota of Pub/Sub is used up for the {kind} {name}: slow down, or ask for more",
    _Code.UNAUTHENTICATED: "Pub/Sub does not accept the credential: it is unknown, expired or for another service",
    _Code.UNIMPLEMENTED: "this endpoint does not offer what is asked of it for the {kind} {name}",
}
_UNAVAILABLE = "Pub/Sub could not be reached or failed on its side, for the {kind} {name}"
#: What gRPC says, in words alone, of a certificate that it does not take.
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
#: Statuses after which a message may have been stored nevertheless.
_MAYBE_SENT = frozenset(
    {
        _Code.ABORTED,
        _Code.CANCELLED,
        _Code.DATA_LOSS,
        _Code.DEADLINE_EXCEEDED,
        _Code.INTERNAL,
        _Code.UNAVAILABLE,
        _Code.UNKNOWN,
    }
)
#: In place of the service's word for an id of which it says nothing.
_UNNAMED = "TRANSIENT_FAILURE (of others in the request)"


def classify_rpc_error(error: grpc.RpcError, side: Side, name: str) -> CloudDirectError:
    """Translate a failed call on the topic or subscription ``name``, a full resource name."""
    code = _code(error)
    if code is _Code.UNAVAILABLE and _UNTRUSTED in (error.details() or "" if isinstance(error, grpc.Call) else ""):
        return ConfigurationError(
            f"the certificate of the endpoint, or of a proxy before it, is not trusted here, so the {_RESOURCE[side]} "
            f"{name!r} was not asked for: name its authority in ca_file",
            code=code.name,
        )
    kind = _KINDS.get(code, CloudDirectError)
    if side == "send" and code is _Code.INVALID_ARGUMENT:
        kind = InvalidMessageError
    text = _TEXTS.get(code, _UNAVAILABLE).format(kind=_RESOURCE[side], name=repr(name), role=_ROLE[side])
    return kind(
        text,
        code=code.name,
        retry_after=_retry_after(error) if kind is ThrottledError else None,
        maybe_sent=side == "send" and code in _MAYBE_SENT,
    )


def settle_outcomes(
    error: grpc.RpcError, ack_ids: list[str], name: str, *, repeatable: bool
) -> list[CloudDirectError | None]:
    """Tell what became of each acknowledgement id in a request that failed, as a whole or for some of them.

    With exactly-once delivery the error's ErrorInfo names the ids that failed and says for each whether that passes.
    The documentation is silent about the others. Google's emulator has settled them, and its clients for Java, .NET
    and Node.js take them as settled, as we do: at worst such a message comes again. A second acknowledgement would
    prove nothing, as it is refused after one that counted. But where the same can be asked for twice, ``repeatable``,
    it had better be.
    """
    failures = _failures(error)
    if not failures:
        whole = classify_rpc_error(error, "settle", name)
        whole.__cause__ = error
        return [whole.copy() for _ in ack_ids]
    unnamed = _UNNAMED if repeatable else None
    return [_settle_outcome(failures.get(ack_id, unnamed), error, name) for ack_id in ack_ids]


def _settle_outcome(failure: str | None, error: grpc.RpcError, name: str) -> CloudDirectError | None:
    if failure is None:
        return None
    outcome: CloudDirectError
    if failure.startswith("TRANSIENT_FAILURE"):
        outcome = UnavailableError(
            f"Pub/Sub could not settle a message of the subscription {name!r} just now", code=failure
        )
    else:
        outcome = LeaseLostError(
            f"Pub/Sub says that the lease on a message of {name!r} had ended; unless an earlier attempt to settle it "
            "counted, it is, or will be, delivered again",
            code=failure,
        )
    outcome.__cause__ = error
    return outcome


def _failures(error: grpc.RpcError) -> dict[str, str]:
    """The ids that failed, each with the service's word for it; empty where the request failed as a whole."""
    found = {}
    for info in _details(error, ErrorInfo):
        found.update({ack_id: word for ack_id, word in info.metadata.items() if "_FAILURE_" in word})
    return found


def _retry_after(error: grpc.RpcError) -> float | None:
    for info in _details(error, RetryInfo):
        return float(info.retry_delay.ToTimedelta().total_seconds())
    return None


def _details(error: grpc.RpcError, kind: Any) -> list[Any]:
    """The details of one kind that came with a status."""
    if not isinstance(error, grpc.Call):
        return []
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        return []  # a status that contradicts itself
    found = []
    for detail in status.details if status else ():
        message = kind()
        if detail.Is(kind.DESCRIPTOR) and detail.Unpack(message):
            found.append(message)
    return found


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    code = error.code() if isinstance(error, grpc.Call) else None
    return code if isinstance(code, grpc.StatusCode) else _Code.UNKNOWN
