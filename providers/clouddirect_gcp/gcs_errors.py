"""What Cloud Storage's answers, and the failures on the way to it, mean: one table.

After https://cloud.google.com/storage/docs/json_api/v1/status-codes and
https://cloud.google.com/storage/docs/xml-api/reference-status.
"""

from __future__ import annotations

import builtins
import json
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

import requests
import urllib3
from google.api_core.exceptions import from_http_status

from clouddirect.errors import (
    AlreadyExistsError,
    AuthenticationError,
    CloudDirectError,
    ConfigurationError,
    ContainerNotFoundError,
    IntegrityError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    ThrottledError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
)

__all__ = ["About", "Refusal", "broken_line", "read_refusal", "refused"]

#: What a request is about: the bucket, one object, an upload that has begun, or the account that signs.
About = Literal["account", "bucket", "object", "upload"]

# Reasons (JSON) and codes (XML) that decide where the status alone does not; by status and reason in lower case.
_BY_REASON: dict[tuple[int, str], type[CloudDirectError]] = {
    (400, "baddigest"): IntegrityError,
    (400, "crcmismatch"): IntegrityError,
    (400, "invaliddigest"): IntegrityError,
    (403, "dailylimitexceeded"): ThrottledError,
    (403, "quotaexceeded"): ThrottledError,
    (403, "ratelimitexceeded"): ThrottledError,
    (403, "userratelimitexceeded"): ThrottledError,
    (404, "nosuchbucket"): ContainerNotFoundError,
    (404, "nosuchkey"): NotFoundError,
    (404, "nosuchupload"): PreconditionFailedError,
    (503, "slowdown"): ThrottledError,
}
_BY_STATUS: dict[int, type[CloudDirectError]] = {
    400: ConfigurationError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    408: UnavailableError,
    409: UnavailableError,
    412: PreconditionFailedError,
    413: TooLargeError,
    429: ThrottledError,
    500: UnavailableError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
_TEXTS: dict[type[CloudDirectError], str] = {
    AlreadyExistsError: "there is an object of this key; nothing was written",
    AuthenticationError: "Cloud Storage does not accept the credential: it may be expired, revoked or missing",
    ConfigurationError: "Cloud Storage refused the request as malformed; see the cause, and check container, kms_key "
    "and signing_account",
    ContainerNotFoundError: "the bucket does not exist; check its name, or create it",
    IntegrityError: "Cloud Storage received other bytes than were sent; nothing was stored",
    NotFoundError: "there is no such object",
    PermissionDeniedError: "the credential may not do this (or, without storage.objects.list, may not be told that the "
    "object is missing); grant it the permission that the cause names",
    PreconditionFailedError: "a condition of the bucket, or a policy of the organisation, refused this; see the cause",
    ThrottledError: "Cloud Storage asked to slow down",
    TooLargeError: "Cloud Storage refused the content as too large",
    UnavailableError: "Cloud Storage failed on its side, or asks to try again",
}
_DROPPED = "Cloud Storage has nothing left of this upload; put again"

# The JSON API says what was wrong with a checksum in its message alone.
_CHECKSUM = re.compile(r"(crc32c|md5|hash|checksum).{0,200}match", re.IGNORECASE | re.DOTALL)
# Nor does it answer with a page for people: that is a proxy's, and says nothing of the object.
_PAGE = re.compile(r"<(!doctype\s+)?html", re.IGNORECASE)
_TIMEOUTS = (builtins.TimeoutError, urllib3.exceptions.TimeoutError)
_NO_TIMEOUT = urllib3.exceptions.NewConnectionError  # a refused connection, although it derives from one


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none of those hoped for.

    Attributes:
        status: the HTTP status.
        reason: the JSON API's reason or the XML API's code; empty if it told none.
        message: the service's own words; they may quote bucket, key, account and, for uploads, the session.
        retry_after: seconds that it asked to wait, or None.
    """

    status: int
    reason: str
    message: str
    retry_after: float | None = None


def read_refusal(response: requests.Response) -> Refusal:
    """Read the body of an answer that refuses something."""
    try:
        body = response.content
    except (requests.RequestException, urllib3.exceptions.HTTPError):
        body = b""  # the status says enough
    reason, message = _explanation(body)
    wait = response.headers.get("Retry-After", "")
    return Refusal(response.status_code, reason, message, float(wait) if wait.isdecimal() else None)


def refused(refusal: Refusal, about: About, if_absent: bool = False) -> CloudDirectError:
    """Return the error that a refusal means, with the SDK's exception as its cause.

    Args:
        refusal: what the service answered.
        about: what the request was about.
        if_absent: it carried the condition that there is no such object.
    """
    kind = _kind(refusal, about)
    # policies of an organisation are refused with the same status and reason, and "constraint" in the words
    if refusal.status == 412 and if_absent and "constraint" not in refusal.message.lower():
        kind = AlreadyExistsError
    dropped = about == "upload" and kind is PreconditionFailedError and refusal.status in (404, 410)
    error = kind(
        _DROPPED if dropped else _TEXTS.get(kind, f"Cloud Storage refused the request (HTTP {refusal.status})"),
        code=f"{refusal.status} {refusal.reason}".strip(),
        retryable=True if dropped or kind is IntegrityError else None,  # damage on the way is not there twice
        retry_after=refusal.retry_after,
    )
    # a session's address lets anybody write, so words about one, which may quote it, are not repeated
    message = refusal.reason if about == "upload" else refusal.message
    error.__cause__ = from_http_status(refusal.status, message or "no explanation")  # type: ignore[no-untyped-call]
    return error


def broken_line(error: Exception) -> CloudDirectError | None:
    """Return the error that a failed connection means, or None if ``error`` is none of the HTTP library's.

    Its cause is the first exception inside that quotes no address, for those of sessions are secrets.
    """
    if not isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError):
        return None
    inner = list(_inside(error))
    translated = _meaning(error, inner)
    quoting = requests.RequestException | urllib3.exceptions.MaxRetryError
    translated.__cause__ = next((one for one in inner if not isinstance(one, quoting)), None)
    return translated


def _meaning(error: Exception, inner: list[BaseException]) -> CloudDirectError:
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in inner):
        return ConfigurationError(
            "the certificate of Cloud Storage, or of a proxy before it, is not trusted here: name its authority in "
            "REQUESTS_CA_BUNDLE"
        )
    if any(isinstance(one, _TIMEOUTS) and not isinstance(one, _NO_TIMEOUT) for one in inner):
        return TimeoutError("no byte moved between Cloud Storage and this program for too long")
    if isinstance(error, requests.exceptions.InvalidURL):
        return ConfigurationError("the endpoint is not a URL that can be used; check it")
    return UnavailableError("Cloud Storage could not be reached, or the connection broke")


def _inside(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it wraps: the libraries keep them as arguments."""
    yield error
    held = [*error.args, getattr(error, "reason", None)]
    for one in held:
        if isinstance(one, BaseException) and one is not error:
            yield from _inside(one)


def _kind(refusal: Refusal, about: About) -> type[CloudDirectError]:
    status, reason = refusal.status, refusal.reason.lower()
    if (status, reason) in _BY_REASON:
        return _BY_REASON[status, reason]
    if status == 400 and _CHECKSUM.search(refusal.message):
        return IntegrityError
    if status in (404, 410):
        return _missing(refusal, about)
    return _BY_STATUS.get(status, UnavailableError if status > 504 else CloudDirectError)


def _missing(refusal: Refusal, about: About) -> type[CloudDirectError]:
    """What a 404 says is missing: the JSON API gives one reason for everything and tells it in words."""
    if _PAGE.match(refusal.message):
        return UnavailableError
    if about == "upload":
        return PreconditionFailedError
    if about == "account":
        return ConfigurationError
    if about == "bucket" or ("bucket" in refusal.message.lower() and "object" not in refusal.message.lower()):
        return ContainerNotFoundError
    return NotFoundError


def _explanation(body: bytes) -> tuple[str, str]:
    """Reason and message, from JSON, XML or plain text, as uploads are answered; a proxy may answer anything."""
    try:
        if body.lstrip().startswith(b"<"):
            root = ElementTree.fromstring(body)  # noqa: S314 - the service's own answer
            if root.tag == "Error":
                return root.findtext("Code") or "", " ".join(filter(None, map(root.findtext, ("Message", "Details"))))
        error = json.loads(body)["error"]
        reasons = [str(one.get("reason") or "") for one in error.get("errors") or []]
        return (reasons or [""])[0], str(error.get("message") or "")
    except (ValueError, KeyError, TypeError, AttributeError, ElementTree.ParseError):
        return "", body[:500].decode(errors="replace").strip()
