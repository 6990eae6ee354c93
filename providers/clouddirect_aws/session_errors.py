"""The errors that every AWS service has in common, in one table; each half adds its own codes to it.

Codes: "Common Errors" in each service's API reference, and what botocore's standard retry mode calls throttling. They
are read from the answer's body, so that a 403 stays a 403: it is never taken for something missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from botocore import exceptions as sdk

from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    ConfigurationError,
    IntegrityError,
    PermissionDeniedError,
    ThrottledError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
)

__all__ = ["Kind", "classify", "is_ambiguous", "of_service", "operation_of", "scrub"]


class Kind(NamedTuple):
    """What an error code means: the class to raise, what to tell, and whether to try again (None: the class's way)."""

    error: type[CloudDirectError]
    text: str
    retryable: bool | None = None


_CREDENTIAL = Kind(AuthenticationError, "AWS does not accept the credential; check the access key and its secret")
_EXPIRED = Kind(AuthenticationError, "the AWS credential has expired; get a new one, or let a role be assumed")
_CLOCK = Kind(AuthenticationError, "AWS refused the signature's time; set this machine's clock right")
_DENIED = Kind(PermissionDeniedError, "the AWS credential may not do this; add the action to its IAM policy")
_SLOW_DOWN = Kind(ThrottledError, "AWS asked to slow down")
_FAILED = Kind(UnavailableError, "AWS failed on its side")
_REFUSED = Kind(CloudDirectError, "AWS refused the request")
_ROLE_DENIED = Kind(
    PermissionDeniedError,
    "the credential may not assume the role; check role_arn, the role's trust policy and role_external_id, and that "
    "the credential's own policy allows sts:AssumeRole",
)
_TIMEOUT = Kind(TimeoutError, "AWS gave up waiting for the request")

_COMMON: Mapping[str, Kind] = {
    **dict.fromkeys(
        ("AuthFailure", "IncompleteSignature", "IncompleteSignatureException", "InvalidAccessKeyId",
         "InvalidClientTokenId", "InvalidSignatureException", "InvalidToken", "MissingAuthenticationToken",
         "MissingAuthenticationTokenException", "SignatureDoesNotMatch", "UnrecognizedClientException"),
        _CREDENTIAL,
    ),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), _EXPIRED),
    **dict.fromkeys(("RequestExpired", "RequestTimeTooSkewed"), _CLOCK),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "AccountProblem", "AllAccessDisabled", "NotAuthorized",
         "OptInRequired", "UnauthorizedOperation"),
        _DENIED,
    ),
    **dict.fromkeys(
        ("BandwidthLimitExceeded", "EC2ThrottledException", "LimitExceededException", "PriorRequestNotComplete",
         "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled",
         "RequestThrottledException", "SlowDown", "ThrottledException", "Throttling", "ThrottlingException",
         "TooManyRequestsException", "TransactionInProgressException"),
        _SLOW_DOWN,
    ),
    **dict.fromkeys(
        ("InternalError", "InternalFailure", "InternalServerError", "InternalServiceError", "ServiceUnavailable",
         "ServiceUnavailableException"),
        _FAILED,
    ),
    **dict.fromkeys(("RequestTimeout", "RequestTimeoutException"), _TIMEOUT),
}  # fmt: skip

#: The operation of STS that may come before one of the service's own.
_ASSUME_ROLE = "AssumeRole"

#: The action of IAM behind each operation, where it has another name. A batch needs the right to the single action.
_ACTIONS: Mapping[str, str] = {
    "SendMessageBatch": "sqs:SendMessage",
    "ReceiveMessage": "sqs:ReceiveMessage",
    "DeleteMessageBatch": "sqs:DeleteMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    **dict.fromkeys(
        ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"), "s3:PutObject on the objects"
    ),
    "AbortMultipartUpload": "s3:AbortMultipartUpload on the objects",
    "DeleteObject": "s3:DeleteObject on the objects",
    "ListObjectsV2": "s3:ListBucket on the bucket",
}

_BY_STATUS: Mapping[int, Kind] = {
    401: _CREDENTIAL,
    403: _DENIED,
    408: _TIMEOUT,
    413: Kind(TooLargeError, "AWS refused the request as too large"),
    429: _SLOW_DOWN,
}

#: Exceptions of the SDK itself, in this order: the first that fits. The texts of botocore's own are not repeated, as
#: they may quote parameters.
_SDK: tuple[tuple[tuple[type[Exception], ...], Kind], ...] = (
    ((sdk.ReadTimeoutError, sdk.ConnectTimeoutError), Kind(TimeoutError, "AWS did not answer in time")),
    ((sdk.SSLError,), Kind(UnavailableError, "no trusted TLS connection to AWS could be made; check the endpoint's "
                           "certificate and ca_bundle", retryable=False)),
    ((sdk.ProxyConnectionError, sdk.InvalidProxiesConfigError),
     Kind(UnavailableError, "the proxy could not be used; check proxy, HTTPS_PROXY and NO_PROXY")),
    ((sdk.EndpointConnectionError,),
     Kind(UnavailableError, "no connection to AWS could be made; check the network, the region and endpoint_url")),
    ((sdk.NoCredentialsError, sdk.NoAuthTokenError),
     Kind(AuthenticationError, "no AWS credential was found; give access_key_id and secret_access_key, a profile, or "
          "one of boto3's own sources")),
    ((sdk.PartialCredentialsError, sdk.SSOError, sdk.LoginError, sdk.TokenRetrievalError),
     Kind(AuthenticationError, "the AWS credential is incomplete or its login has expired; log in again")),
    ((sdk.CredentialRetrievalError, sdk.MetadataRetrievalError),
     Kind(AuthenticationError, "the AWS credential could not be fetched from its source", retryable=True)),
    ((sdk.ProfileNotFound, sdk.ConfigNotFound, sdk.ConfigParseError),
     Kind(ConfigurationError, "the profile is not in the AWS configuration files, or they cannot be read")),
    ((sdk.NoRegionError, sdk.InvalidRegionError, sdk.UnknownRegionError, sdk.BaseEndpointResolverError,
      sdk.EndpointProviderError),
     Kind(ConfigurationError, "no usable AWS region or endpoint is known; set region (and endpoint_url where needed)")),
    ((sdk.ChecksumError, sdk.FlexibleChecksumError),
     Kind(IntegrityError, "bytes were damaged on their way from AWS", retryable=True)),
    ((sdk.HTTPClientError, sdk.ConnectionError, sdk.IncompleteReadError),
     Kind(UnavailableError, "the connection to AWS broke")),
)  # fmt: skip

#: Exceptions after which the service has surely not seen the request.
_NEVER_ARRIVED = (
    sdk.ConnectTimeoutError,
    sdk.EndpointConnectionError,
    sdk.ProxyConnectionError,
    sdk.SSLError,
)


def classify(error: Exception, own: Mapping[str, Kind], secrets: Iterable[str] = ()) -> CloudDirectError | None:
    """Translate an exception of botocore; None for what is none of the service's doing.

    Args:
        error: what was raised.
        own: codes of the service in question; they win over the common ones.
        secrets: texts to take out of ``error`` itself, which stays in the traceback as the cause.
    """
    if isinstance(error, sdk.ClientError):
        scrub(error, secrets)
        response: Mapping[str, Any] = error.response
        meta = response.get("ResponseMetadata", {})
        code = str(response.get("Error", {}).get("Code", ""))
        if error.operation_name == _ASSUME_ROLE:
            own = {"AccessDenied": _ROLE_DENIED}
        return of_service(
            code, meta.get("HTTPStatusCode"), own, retry_after=meta.get("HTTPHeaders", {}).get("retry-after"),
            action=_ACTIONS.get(error.operation_name),
        )  # fmt: skip
    for kinds, kind in _SDK:
        if isinstance(error, kinds):
            return kind.error(kind.text, code=type(error).__name__, retryable=kind.retryable)
    return None


def of_service(
    code: str,
    status: int | None,
    own: Mapping[str, Kind],
    *,
    retry_after: str | None = None,
    otherwise: Kind = _REFUSED,
    action: str | None = None,
) -> CloudDirectError:
    """Return the error for a service's ``code`` and HTTP ``status``: by code, else by status, else ``otherwise``.

    ``action`` is what IAM would have had to allow.
    """
    kind = own.get(code) or _COMMON.get(code) or _BY_STATUS.get(status or 0)
    if kind is None:
        kind = _FAILED if (status or 0) >= 500 else otherwise
    if kind is _DENIED and action is not None:
        kind = kind._replace(text=f"the AWS credential may not do this; allow {action} in its IAM policy")
    told = code or (str(status) if status else None)
    text = f"{kind.text} ({told})" if told else kind.text
    error = kind.error(text, code=told, retryable=kind.retryable)
    if error.retryable and retry_after is not None and retry_after.isdigit():
        error.retry_after = float(retry_after)
    return error


def is_ambiguous(error: Exception) -> bool:
    """Whether a request that failed with ``error`` may have been carried out nevertheless."""
    if operation_of(error) == _ASSUME_ROLE:
        return False  # a request is signed before it is sent, and there was nothing to sign it with
    if isinstance(error, sdk.ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)) >= 500
    if isinstance(error, _NEVER_ARRIVED):
        return False
    return isinstance(error, sdk.HTTPClientError | sdk.ConnectionError | sdk.IncompleteReadError)


def operation_of(error: Exception) -> str | None:
    """Return the name of the operation that a service refused, which may be STS's; None if no service answered."""
    return error.operation_name if isinstance(error, sdk.ClientError) else None


def scrub(error: sdk.ClientError, secrets: Iterable[str]) -> None:
    """Take secrets out of what the service wrote: it quotes the signed request, with a temporary credential's token,
    when a signature does not match.
    """
    text = str(error)
    clean = text.split(" The Canonical String", 1)[0]
    for secret in secrets:
        clean = clean.replace(secret, "***")
    if clean != text:
        error.args = (clean,)
        error.response.get("Error", {})["Message"] = "(taken out: it quoted a secret)"
