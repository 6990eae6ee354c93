"""Every error that clouddirect raises on purpose.

::

    CloudDirectError
    ├── AlreadyExistsError (FileExistsError)       if_absent found something there
    ├── AlreadySettledError                        a delivery was settled before, in another way
    ├── AuthenticationError (PermissionError)      the credential itself was refused
    ├── ChangedError                               an object was replaced while it was being read
    ├── ClosedError                                the broker, store or consumer is closed
    ├── ConfigurationError (ValueError)            settings or options are missing or wrong
    ├── ContainerNotFoundError (FileNotFoundError) the container or bucket does not exist
    ├── IntegrityError                             bytes differ from what was sent or stored
    ├── InvalidKeyError (ValueError)               a storage key that cannot be stored exactly as given
    ├── InvalidMessageError (ValueError)           a message that is malformed or cannot be read
    ├── LeaseLostError                             the lease ended before the message was settled
    ├── MissingExtraError (ImportError)            a provider's SDK is not installed
    ├── NotFoundError (FileNotFoundError)          the queue or object does not exist
    ├── PermissionDeniedError (PermissionError)    the credential may not do this
    ├── PreconditionFailedError                    a condition on a write no longer held
    ├── ProviderConflictError                      two installed distributions claim one provider name
    ├── ProviderLoadError (ImportError)            an installed provider is broken
    ├── ProviderNotFoundError (LookupError)        no installed provider has this name
    ├── ThrottledError                             the service asked to slow down
    ├── TimeoutError (builtins.TimeoutError)       a deadline passed or a transfer stalled
    ├── TooLargeError (ValueError)                 over the service's size limit
    ├── UnavailableError (ConnectionError)         the service could not be reached or failed
    └── UnsupportedError                           the provider does not declare this capability

Texts name the provider, the resource and what to do next. They never hold a secret, a message body or patient data; the
SDK's own exception, where there was one, is the ``__cause__``.
"""

from __future__ import annotations

import builtins
from typing import Any, ClassVar, Self

__all__ = [
    "AlreadyExistsError",
    "AlreadySettledError",
    "AuthenticationError",
    "ChangedError",
    "ClosedError",
    "CloudDirectError",
    "ConfigurationError",
    "ContainerNotFoundError",
    "IntegrityError",
    "InvalidKeyError",
    "InvalidMessageError",
    "LeaseLostError",
    "MissingExtraError",
    "NotFoundError",
    "PermissionDeniedError",
    "PreconditionFailedError",
    "ProviderConflictError",
    "ProviderLoadError",
    "ProviderNotFoundError",
    "ThrottledError",
    "TimeoutError",
    "TooLargeError",
    "UnavailableError",
    "UnsupportedError",
]


class CloudDirectError(Exception):
    """The root of all errors that clouddirect raises.

    Attributes:
        provider: name of the provider that was used (``"local"``, ``"azure"``, …), or None.
        operation: the public operation that failed (``"send"``, ``"download"``, …), or None.
        resource: the queue, key or container concerned; never a secret.
        code: the service's own error code or status, as text, or None.
        retryable: whether the same call may succeed later without any change.
        retry_after: seconds that the service asked to wait before the next attempt, or None.
        maybe_sent: the message may have been accepted although the confirmation did not arrive.
        maybe_own_write: the conflicting object may be our own earlier, unconfirmed write; where none was found, this
            call's object may have been stored although the confirmation did not arrive.
    """

    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        operation: str | None = None,
        resource: str | None = None,
        code: str | None = None,
        retryable: bool | None = None,
        retry_after: float | None = None,
        maybe_sent: bool = False,
        maybe_own_write: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.operation = operation
        self.resource = resource
        self.code = code
        self.retryable = self.default_retryable if retryable is None else retryable
        self.retry_after = retry_after
        self.maybe_sent = maybe_sent
        self.maybe_own_write = maybe_own_write

    def __str__(self) -> str:
        notes = []
        if self.maybe_sent:
            notes.append("the message may have been sent nevertheless")
        if self.maybe_own_write and isinstance(self, (TimeoutError, UnavailableError)):
            notes.append("the object may have been stored nevertheless")
        elif self.maybe_own_write:
            notes.append("the object found there may be this call's own, unconfirmed write")
        return self.message + (f" ({'; '.join(notes)})" if notes else "")

    def copy(self) -> Self:
        """Return an equal error with the same cause, to be marked on its own."""
        twin = type(self)(self.message)
        twin.__dict__.update(self.__dict__)
        if hasattr(self, "__notes__"):
            twin.__notes__ = list(self.__notes__)
        twin.__cause__ = self.__cause__
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        # keyword-only arguments do not survive the default pickling of exceptions
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(kind: type[CloudDirectError], message: str, state: dict[str, Any]) -> CloudDirectError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class AlreadyExistsError(CloudDirectError, FileExistsError):
    """``if_absent`` was asked for and something is stored under the key; see ``maybe_own_write``."""


class AlreadySettledError(CloudDirectError):
    """The delivery was settled before in another way; the first settlement stands."""


class AuthenticationError(CloudDirectError, PermissionError):
    """The service does not accept the credential: unknown, expired or wrongly signed."""


class ChangedError(CloudDirectError):
    """The object was replaced while it was being read; nothing was written to the destination."""


class ClosedError(CloudDirectError):
    """The broker, store or consumer has been closed."""


class ConfigurationError(CloudDirectError, ValueError):
    """Settings or options are missing, unknown or do not fit together."""


class ContainerNotFoundError(CloudDirectError, FileNotFoundError):
    """The store's container or bucket does not exist."""


class IntegrityError(CloudDirectError):
    """Bytes differ from what was sent or stored (wrong digest or size)."""


class InvalidKeyError(CloudDirectError, ValueError):
    """A storage key that cannot be stored exactly as given."""


class InvalidMessageError(CloudDirectError, ValueError):
    """A message that is malformed, refused by the service as such, or cannot be read.

    Attributes:
        problems: all that is wrong with an order that was refused, each with its path; empty elsewhere.
    """

    problems: tuple[object, ...] = ()


class LeaseLostError(CloudDirectError):
    """The lease on the delivery ended; the message is, or will be, delivered to somebody again."""


class MissingExtraError(CloudDirectError, ImportError):
    """The provider's SDK is not installed; the text holds the pip command that installs it."""


class NotFoundError(CloudDirectError, FileNotFoundError):
    """The queue or the object does not exist."""


class PermissionDeniedError(CloudDirectError, PermissionError):
    """The credential is valid but may not do this."""


class PreconditionFailedError(CloudDirectError):
    """A condition attached to a write did not hold when the service carried it out."""


class ProviderConflictError(CloudDirectError):
    """Two installed distributions register a provider of the same name."""


class ProviderLoadError(CloudDirectError, ImportError):
    """An installed provider could not be loaded: it is broken, its SDK is not the cause."""


class ProviderNotFoundError(CloudDirectError, LookupError):
    """No installed distribution registers a provider of this name."""


class ThrottledError(CloudDirectError):
    """The service asked to slow down; ``retry_after`` holds its wish in seconds, if it said."""

    default_retryable = True


class TimeoutError(CloudDirectError, builtins.TimeoutError):
    """A deadline passed, or a transfer made no progress for the stall timeout."""

    default_retryable = True


class TooLargeError(CloudDirectError, ValueError):
    """Over the size that the service or its queue accepts; nothing was sent."""


class UnavailableError(CloudDirectError, ConnectionError):
    """The service could not be reached, closed the connection, or failed on its side."""

    default_retryable = True


class UnsupportedError(CloudDirectError):
    """The provider does not declare the capability that the call needs; nothing was sent."""
