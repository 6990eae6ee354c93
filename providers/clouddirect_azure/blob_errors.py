"""One table from what the service answers, and one function from what the line does, to clouddirect's errors.

Codes and their meaning: https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes and
https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
"""

from __future__ import annotations

import builtins
import re
import ssl
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from azure.core.exceptions import AzureError, ClientAuthenticationError
from requests.exceptions import RequestException
from requests.exceptions import Timeout as RequestsTimeout
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

from clouddirect.errors import (
    AlreadyExistsError,
    AuthenticationError,
    CloudDirectError,
    ConfigurationError,
    ContainerNotFoundError,
    IntegrityError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    ThrottledError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)

__all__ = ["failure", "refusal"]


@dataclass(frozen=True, slots=True)
class _Verdict:
    kind: type[CloudDirectError]
    text: str
    retryable: bool | None = None  # None: as the kind is by default


_DENIED = "the credential may not do this; ask the owner of the account for a SAS or role that permits it"
_FIREWALL = (
    "the account lets this client not in, by its firewall, network rules or policy; ask the owner of the account"
)
_UNKNOWN_CREDENTIAL = "the credential is not accepted: it is wrong, has expired, or this computer's clock is off"
_LEASED = "somebody holds a lease on the blob; have it released"
_BUSY = _Verdict(ThrottledError, "the account is over its limits for the moment")
_BROKEN = _Verdict(UnavailableError, "the service failed on its side")
_NO_CONTAINER = _Verdict(ContainerNotFoundError, "the container does not exist; check its name, or have it made")

#: By the header x-ms-error-code, or the body's ``Code``.
_BY_CODE: dict[str, _Verdict] = {
    "AccountBeingCreated": _Verdict(UnavailableError, "the account is still being made"),
    "AccountIsDisabled": _Verdict(PermissionDeniedError, "the account is disabled; ask its owner"),
    "AuthenticationFailed": _Verdict(AuthenticationError, _UNKNOWN_CREDENTIAL),
    "AuthorizationFailure": _Verdict(PermissionDeniedError, _FIREWALL),
    "AuthorizationPermissionMismatch": _Verdict(PermissionDeniedError, _DENIED),
    "AuthorizationProtocolMismatch": _Verdict(PermissionDeniedError, "the SAS permits https only"),
    "AuthorizationResourceTypeMismatch": _Verdict(PermissionDeniedError, "the SAS is for another type of resource"),
    "AuthorizationServiceMismatch": _Verdict(PermissionDeniedError, "the SAS is for another service than Blob Storage"),
    "AuthorizationSourceIPMismatch": _Verdict(PermissionDeniedError, "the SAS is for other IP addresses than this one"),
    "BlobAlreadyExists": _Verdict(AlreadyExistsError, "something is stored under this key already"),
    "BlobArchived": _Verdict(PreconditionFailedError, "the blob is in the archive tier; have it rehydrated first"),
    "BlobBeingRehydrated": _Verdict(PreconditionFailedError, "the blob is still coming back from the archive tier"),
    "BlobImmutableDueToPolicy": _Verdict(PermissionDeniedError, "a retention policy keeps the blob as it is"),
    "BlobNotFound": _Verdict(NotFoundError, "there is no such blob"),
    "BlockCountExceedsLimit": _Verdict(TooLargeError, "the blob has too many blocks; use a larger part_size"),
    "ContainerBeingDeleted": _NO_CONTAINER,
    "ContainerDisabled": _Verdict(PermissionDeniedError, "the container is disabled; ask the owner of the account"),
    "ContainerNotFound": _NO_CONTAINER,
    "InsufficientAccountPermissions": _Verdict(PermissionDeniedError, _DENIED),
    "InternalError": _BROKEN,
    "InvalidAuthenticationInfo": _Verdict(AuthenticationError, _UNKNOWN_CREDENTIAL),
    "InvalidBlobOrBlock": _Verdict(
        PreconditionFailedError,
        "somebody has left blocks under this key with names of another length; Azure discards them after a week, "
        "use another key until then",
    ),
    "InvalidBlobType": _Verdict(
        PreconditionFailedError, "what is stored there is an append or page blob, which cannot be overwritten in blocks"
    ),
    # somebody else's write to the same key has discarded this upload's blocks, or they are over a week old
    "InvalidBlockList": _Verdict(PreconditionFailedError, "the service no longer has all of the upload's blocks", True),
    "InvalidResourceName": _Verdict(InvalidKeyError, "Azure does not take this name"),
    "KeyBasedAuthenticationNotPermitted": _Verdict(
        PermissionDeniedError, "the account refuses account keys and SAS made with them; use Entra credentials"
    ),
    "LeaseIdMissing": _Verdict(PreconditionFailedError, _LEASED),
    "Md5Mismatch": _Verdict(IntegrityError, "the service received other bytes than were sent", True),
    "MetadataTooLarge": _Verdict(TooLargeError, "the metadata is larger than Azure keeps"),
    "NoAuthenticationInformation": _Verdict(AuthenticationError, "the request carried no credential"),
    "OperationTimedOut": _Verdict(UnavailableError, "the service did not finish in its own time"),
    "PublicAccessNotPermitted": _Verdict(PermissionDeniedError, "the account permits no access without a credential"),
    "RequestBodyTooLarge": _Verdict(TooLargeError, "the request is too large; use a smaller part_size"),
    "ResourceNotFound": _Verdict(NotFoundError, "there is no such blob"),
    "ServerBusy": _BUSY,
    "UnauthorizedBlobOverwrite": _Verdict(
        PermissionDeniedError, "something is stored under this key, and the SAS permits to create, not to overwrite"
    ),
    "UnsupportedHeader": _Verdict(UnsupportedError, "the service does not know a header that this library sends"),
}  # fmt: skip

_BY_STATUS: dict[int, _Verdict] = {
    401: _Verdict(AuthenticationError, _UNKNOWN_CREDENTIAL),
    403: _Verdict(PermissionDeniedError, _DENIED),
    404: _Verdict(NotFoundError, "there is no such blob"),
    407: _Verdict(AuthenticationError, "the proxy asks for a user and password; give them in the option proxy"),
    408: _Verdict(TimeoutError, "the service waited too long for the request"),
    412: _Verdict(PreconditionFailedError, "the condition on the request does not hold"),
    413: _BY_CODE["RequestBodyTooLarge"],
    429: _BUSY,
    503: _BUSY,
}

#: Azurite answers a wrong key or signature with the code that Azure has for a firewall; the text tells them apart.
_NOT_AUTHENTICATED = "Server failed to authenticate the request"
#: Azurite answers a wrong Content-MD5 with the code InvalidOperation.
_MD5_DIFFERS = "contentMD5 doesn't match"


def refusal(status: int, headers: Mapping[str, str], body: bytes, container: str) -> CloudDirectError:
    """Return the error for an answer that is none of those hoped for. ``headers`` tell lower and upper case alike."""
    code, message = headers.get("x-ms-error-code"), ""
    if body:
        told, message = _read_body(body)
        code = code or told
    verdict = _verdict(status, code, message)
    names = [code or f"status {status}"]
    if "x-ms-request-id" in headers:
        names.append(f"request id {headers['x-ms-request-id']}")
    elif code is None:
        names.append("not from Azure Storage, perhaps from a proxy on the way")
    return verdict.kind(
        f"container {container!r}: {verdict.text} ({', '.join(names)})",
        code=code or str(status), retryable=verdict.retryable, retry_after=_seconds(headers.get("retry-after")),
    )  # fmt: skip


def _verdict(status: int, code: str | None, message: str) -> _Verdict:
    if code == "AuthorizationFailure" and message.startswith(_NOT_AUTHENTICATED):
        code = "AuthenticationFailed"
    elif code == "InvalidOperation" and _MD5_DIFFERS in message:
        code = "Md5Mismatch"
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code is not None and code.startswith("Lease"):
        return _BY_CODE["LeaseIdMissing"]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500 and status not in (501, 505):
        return _BROKEN
    return _Verdict(UnavailableError, f"the service refused the request with status {status}", False)


def _read_body(body: bytes) -> tuple[str | None, str]:
    """Return code and message of an error's body, as far as it is one of the service's."""
    try:
        root = ElementTree.fromstring(body.decode("utf-8-sig"))  # noqa: S314 - expat bounds entities; see blob_listing
    except (ElementTree.ParseError, UnicodeDecodeError):
        return None, ""
    return root.findtext("Code"), root.findtext("Message") or ""


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and re.fullmatch(r"\d{1,4}", value) else None


def failure(error: Exception, host: str) -> CloudDirectError | None:
    """Return the error for an exception of the SDK, or None for what neither the line nor the service has done."""
    if not isinstance(error, (AzureError, RequestException, HTTPError, OSError)):
        return None
    chain = list(_chain(error))
    if any(isinstance(one, ClientAuthenticationError) for one in chain):
        return AuthenticationError(
            f"no Entra token for {host} was to be had; sign in (az login), run where an identity is assigned, or set "
            "AZURE_CLIENT_ID and the variables that go with it"
        )
    if any(isinstance(one, (ssl.SSLCertVerificationError, ssl.CertificateError)) for one in chain):
        return UnavailableError(
            f"{host} has not proved who it is: its certificate is not trusted. If a proxy that inspects TLS is on the "
            "way, name its certificate authority in the option ca_file",
            retryable=False,
        )
    # by the names of OpenSSL's own parts: those that read certificates, not those that speak TLS
    if any(isinstance(one, ssl.SSLError) and one.library in ("ASN1", "PEM", "X509") for one in chain) or (
        "TLS CA certificate" in str(error)  # requests has this in an OSError of its own
    ):
        return ConfigurationError("the file named by ca_file cannot be read as certificates in PEM format")
    if any(isinstance(one, NewConnectionError) for one in chain):
        return UnavailableError(f"{host} cannot be reached; check the network, its DNS, the firewall and the proxy")
    if any(isinstance(one, (builtins.TimeoutError, Urllib3Timeout, RequestsTimeout)) for one in chain):
        return TimeoutError(f"no byte moved to or from {host} within the stall timeout")
    return UnavailableError(f"the connection to {host} broke")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and all that it was made from: its causes, and what its arguments wrap."""
    seen: set[int] = set()
    open_ends: list[object] = [error]
    while open_ends:
        one = open_ends.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            open_ends += [one.__cause__, one.__context__, *one.args]
            open_ends += [getattr(one, name, None) for name in ("inner_exception", "reason")]
