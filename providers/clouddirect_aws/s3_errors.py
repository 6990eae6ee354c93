"""What S3's error codes mean, in one table; "Error responses" in the S3 API Reference has the codes.

The same code can mean two things: a precondition that failed is "already there" when writing and "replaced" when
reading. So the operation is looked at, too.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any

from botocore import exceptions as sdk

from clouddirect.errors import (
    AlreadyExistsError,
    ChangedError,
    CloudDirectError,
    ConfigurationError,
    ContainerNotFoundError,
    IntegrityError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    TimeoutError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect_aws.session_errors import Kind, classify

__all__ = ["classify_s3", "code_of", "status_of"]

_WRITES = ("PutObject", "CompleteMultipartUpload")
_READS = ("GetObject", "HeadObject")

_NOT_TOLD = Kind(
    PermissionDeniedError,
    "the credential may not read this, or the key is missing and the credential may not know: allow s3:GetObject on "
    "the objects, and s3:ListBucket on the bucket",
)
_MOVED = ("PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed",
          "IllegalLocationConstraintException", "301", "307")  # fmt: skip
_NOT_AS_ASKED = Kind(
    UnsupportedError,
    "the service does not hand the object out as asked; one that is encrypted with a customer's own key (SSE-C) cannot "
    "be read",
)
_ANOTHER_REGION = Kind(ConfigurationError, "the bucket is in another region; set region to the bucket's own")
_DAMAGED = Kind(IntegrityError, "the service received other bytes than were sent", retryable=True)
_DROPPED = Kind(PreconditionFailedError, "S3 has dropped this upload; put again", retryable=True)
_REFUSED_HEADER = Kind(
    UnsupportedError,
    'the server does not know something that was asked for; if it refuses checksums, set checksum = "off"',
)
_REFUSED_VALUE = Kind(
    ConfigurationError,
    "the service refuses a value of the request; check storage_class and kms_key_id, and with a server that is not "
    'AWS\'s own try checksum = "off"',
)
_KMS = Kind(ConfigurationError, "the KMS key cannot be used; check kms_key_id, the key's state and its region")

_S3: Mapping[str, Kind] = {
    "NoSuchBucket": Kind(ContainerNotFoundError, "the bucket does not exist; check its name, or make it"),
    **dict.fromkeys(("NoSuchKey", "NoSuchVersion", "404"), Kind(NotFoundError, "there is no object of this key")),
    **dict.fromkeys(_MOVED, _ANOTHER_REGION),
    **dict.fromkeys(
        ("BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"), _DAMAGED
    ),
    **dict.fromkeys(("NoSuchUpload", "InvalidPart", "InvalidPartOrder"), _DROPPED),
    **dict.fromkeys(
        ("ConditionalRequestConflict", "409"),
        Kind(PreconditionFailedError, "another write to this key was under way; put again", retryable=True),
    ),
    "OperationAborted": Kind(UnavailableError, "another operation on the bucket was under way"),
    "IncompleteBody": Kind(UnavailableError, "the connection broke while the content was being sent"),
    "EntityTooLarge": Kind(TooLargeError, "the content is larger than the service takes"),
    "EntityTooSmall": Kind(ConfigurationError, "the service wants larger parts; raise part_size"),
    "MetadataTooLarge": Kind(TooLargeError, "the metadata is larger than the 2 KB that S3 keeps"),
    "KeyTooLongError": Kind(InvalidKeyError, "the key is longer than S3 takes"),
    "InvalidObjectState": Kind(UnavailableError, "the object is archived; restore it before reading", retryable=False),
    "InvalidBucketName": Kind(ConfigurationError, "no bucket can have this name"),
    "InvalidStorageClass": Kind(ConfigurationError, "S3 does not know this storage_class"),
    **dict.fromkeys(("NotImplemented", "501"), _REFUSED_HEADER),
    **dict.fromkeys(("InvalidArgument", "InvalidRequest"), _REFUSED_VALUE),
    **dict.fromkeys(
        ("KMS.DisabledException", "KMS.InvalidKeyUsageException", "KMS.KMSInvalidStateException",
         "KMS.NotFoundException"),
        _KMS,
    ),
}  # fmt: skip

_ALREADY_THERE = Kind(AlreadyExistsError, "something is stored under this key already")
_REPLACED = Kind(ChangedError, "the object was replaced while it was being read; read it again")


def classify_s3(error: Exception, secrets: Iterable[str] = ()) -> CloudDirectError | None:
    """Translate what botocore raised for a request to S3; None for what is not the service's doing."""
    if isinstance(error, sdk.ParamValidationError):
        return ConfigurationError(
            "the SDK refuses the request; container is a bucket's name alone, without s3:// and path, or the ARN of an "
            "access point",
            code="ParamValidation",
        )
    if isinstance(error, sdk.ClientError):
        own = dict(_S3)
        own["PreconditionFailed"] = own["412"] = _ALREADY_THERE if error.operation_name in _WRITES else _REPLACED
        if error.operation_name in _READS:
            own["AccessDenied"] = own["403"] = _NOT_TOLD
            own["InvalidRequest"] = _NOT_AS_ASKED
        found = classify(error, own, secrets)
        if isinstance(found, ConfigurationError) and found.code in _MOVED and (region := _region_of(error.response)):
            found.message = f"the bucket is in {region}; set region to that ({found.code})"
        return found
    if type(error) in (sdk.HTTPClientError, sdk.ConnectionClosedError) and _timed_out(error):
        return TimeoutError("no byte of the content could be sent for too long", code=type(error).__name__)
    return classify(error, {}, secrets)


def code_of(error: sdk.ClientError) -> str:
    """Return the service's code; that of a HEAD, whose answer has no body, is the status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: sdk.ClientError) -> int:
    """Return the HTTP status."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _region_of(response: Mapping[str, Any]) -> str | None:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    return str(region) if region else None


def _timed_out(error: BaseException) -> bool:
    """Whether a socket's timeout is at the bottom: urllib3 reports one while sending as a broken connection."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, builtins.TimeoutError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
