"""`CheckResult`: what asking a broker or a store about a credential found out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from clouddirect.errors import CloudDirectError

__all__ = ["CheckResult"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What `MessageBroker.check` or `FileStore.check` found out about one access.

    Attributes:
        access: what was checked.
        status: ``ok`` (seen to work), ``likely`` (a read-only probe says so), ``unverified`` (nothing could be asked
        without
            sending, taking or creating something) or ``failed``.
        detail: one sentence on what was looked at and what could not be verified.
        error: the error behind ``failed``, else None.
    """

    access: str
    status: Literal["ok", "likely", "unverified", "failed"]
    detail: str
    error: CloudDirectError | None = None
