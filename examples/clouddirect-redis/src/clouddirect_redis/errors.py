"""From the errors of redis-py and Redis to those of clouddirect: one table by class, one by the server's code."""

from __future__ import annotations

import redis.exceptions as sdk
from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    TimeoutError,
    UnavailableError,
)

__all__ = ["classify", "may_have_arrived"]

_AWAY = "Redis could not be reached, or closed the connection; see that it runs and that the URL is right"

_LACKS = "this user lacks a permission; the README lists what each side needs"

#: The first class that fits counts: redis-py derives refused credentials from lost connections.
_CLASSES: tuple[tuple[type[Exception], type[CloudDirectError], str], ...] = (
    (sdk.AuthenticationError, AuthenticationError, "Redis refused the user name or the password in the URL"),
    (sdk.NoPermissionError, PermissionDeniedError, _LACKS),
    (sdk.OutOfMemoryError, UnavailableError, "Redis has no memory left for writes; raise maxmemory or empty queues"),
    (sdk.TimeoutError, TimeoutError, "Redis did not answer in time"),
    (sdk.ConnectionError, UnavailableError, _AWAY),
    (sdk.ReadOnlyError, UnavailableError, "this Redis is a replica and takes no writes; name the primary in the URL"),
    (sdk.ClusterError, UnavailableError, "this Redis is without its cluster or its primary at the moment"),
)

#: What the text of any other answer begins with or, where a script was refused a command, holds: Redis 6 and 7 differ.
_TEXTS: tuple[tuple[str, type[CloudDirectError], str], ...] = (
    ("NOGROUP", NotFoundError, "there is no such stream, or it lacks the consumer group; make it with create_queue"),
    ("WRONGTYPE", ConfigurationError, "the key is there and is no stream; choose another name for the queue"),
    ("MISCONF", UnavailableError, "Redis refuses writes because it cannot save them; see its log"),
    ("NOREPLICAS", UnavailableError, "Redis refuses writes because too few replicas are there"),
    ("BUSY ", UnavailableError, "Redis is busy with somebody's script"),
    ("can't run this command", PermissionDeniedError, _LACKS),
    ("ACL failure", PermissionDeniedError, _LACKS),
    ("can't access", PermissionDeniedError, _LACKS),
)


def classify(error: Exception) -> CloudDirectError | None:
    """Translate an error of redis-py; None if it says nothing about the service."""
    for kind, ours, text in _CLASSES:
        if isinstance(error, kind):
            return ours(text, code=type(error).__name__)
    if isinstance(error, sdk.ResponseError):
        for part, ours, text in _TEXTS:
            if part in str(error):
                return ours(text, code=part.strip())
    return None


def may_have_arrived(error: Exception) -> bool:
    """Whether Redis may have carried out a command that ended in this error: not if there never was a connection."""
    lost = isinstance(error, (sdk.ConnectionError, sdk.TimeoutError)) and not isinstance(error, sdk.AuthenticationError)
    return lost and "connecting to" not in str(error)
