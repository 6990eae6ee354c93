"""SQS's error codes, in one table, for answers as a whole and for single entries of a batch.

From the API reference of each action. A code may come with the prefix of the old query protocol, or under its old name:
``AWS.SimpleQueueService.NonExistentQueue`` is the JSON protocol's ``QueueDoesNotExist``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from clouddirect.errors import (
    AuthenticationError,
    CloudDirectError,
    InvalidMessageError,
    LeaseLostError,
    NotFoundError,
    PermissionDeniedError,
    ThrottledError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from clouddirect_aws.session_errors import Kind, of_service

__all__ = ["CODES", "RECEIPT_CODES", "entry_outcomes", "of_entry", "see_that_it_is_sqs"]

T = TypeVar("T")

_MISSING = Kind(NotFoundError, "the queue does not exist, or its account hides it from this credential; check its name "
                "or URL and the region")  # fmt: skip
_LOST = Kind(LeaseLostError, "the message's visibility timeout has ended; it is, or will be, delivered again")
_KEY_DENIED = Kind(PermissionDeniedError, "the credential may not use the queue's KMS key; allow kms:GenerateDataKey "
                   "to senders and kms:Decrypt to senders and receivers")  # fmt: skip
_KEY_UNUSABLE = Kind(UnavailableError, "the queue's KMS key is disabled, missing or unusable", retryable=False)
_BATCH = Kind(CloudDirectError, "SQS refused the make-up of the batch; this is a bug in the provider")

_NAMES: Mapping[str, Kind] = {
    **dict.fromkeys(("NonExistentQueue", "QueueDeletedRecently", "QueueDoesNotExist", "ResourceNotFoundException"),
                    _MISSING),
    "InvalidAddress": Kind(NotFoundError, "the queue's URL is not one that SQS knows"),
    "InvalidMessageContents": Kind(InvalidMessageError, "SQS refused the message's characters"),
    "InvalidAttributeValue": Kind(InvalidMessageError, "SQS refused an attribute of the message"),
    "InvalidParameterValue": Kind(InvalidMessageError, "SQS refused a value of the message; see the queue's settings, "
                                  "such as its MaximumMessageSize"),
    "MissingParameter": Kind(InvalidMessageError, "SQS misses a value of the message"),
    "BatchRequestTooLong": Kind(TooLargeError, "the batch is larger than SQS takes"),
    "UnsupportedOperation": Kind(UnsupportedError, "SQS does not support this on the queue"),
    "InvalidSecurity": Kind(AuthenticationError, "SQS asks for HTTPS and a signature of version 4"),
    "OverLimit": Kind(ThrottledError, "too many of the queue's messages are in flight; settle some first"),
    **dict.fromkeys(("InvalidIdFormat", "MessageNotInflight", "ReceiptHandleIsInvalid"), _LOST),
    **dict.fromkeys(("KmsAccessDenied", "KMS.AccessDeniedException", "KmsOptInRequired", "KMS.OptInRequired"),
                    _KEY_DENIED),
    **dict.fromkeys(("KmsDisabled", "KMS.DisabledException", "KmsInvalidKeyUsage", "KMS.InvalidKeyUsageException",
                     "KmsInvalidState", "KMS.InvalidStateException", "KmsNotFound", "KMS.NotFoundException"),
                    _KEY_UNUSABLE),
    **dict.fromkeys(("KmsThrottled", "KMS.ThrottlingException"),
                    Kind(ThrottledError, "KMS asked to slow down; a data key is used longer with a higher "
                         "KmsDataKeyReusePeriodSeconds")),
    **dict.fromkeys(("BatchEntryIdsNotDistinct", "EmptyBatchRequest", "InvalidBatchEntryId",
                     "TooManyEntriesInBatchRequest"), _BATCH),
}  # fmt: skip

_PREFIX = "AWS.SimpleQueueService."

#: SQS's own codes, with and without the query protocol's prefix.
CODES: Mapping[str, Kind] = {**_NAMES, **{_PREFIX + code: kind for code, kind in _NAMES.items()}}
#: What they mean where a receipt handle is the only value that could be wrong: an expired one is an invalid value.
RECEIPT_CODES: Mapping[str, Kind] = {**CODES, "InvalidParameterValue": _LOST}

_SENDERS_FAULT = Kind(InvalidMessageError, "SQS refused this entry of the batch")
_SERVICES_FAULT = Kind(UnavailableError, "SQS failed on this entry of the batch")


def see_that_it_is_sqs(answer: Mapping[str, Any]) -> None:
    """Refuse a page that a proxy or a network's login gives with status 200: it would read as an empty queue.

    Raises:
        UnavailableError: it is no answer of SQS, whose answers are JSON (XML in its older protocol).
    """
    kind = str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("content-type", "json")).lower()
    if "html" in kind or not ("json" in kind or "xml" in kind):
        raise UnavailableError(
            "something that is not SQS has answered, such as a proxy or the login page of a network; check the network "
            "and endpoint_url"
        )


def of_entry(failed: Mapping[str, Any], codes: Mapping[str, Kind]) -> CloudDirectError:
    """Return the error for one entry of a batch's ``Failed``; its message may quote content and is not repeated.

    ``SenderFault`` decides where no table knows the code: a fault of the sender's does not pass by itself.
    """
    code = str(failed.get("Code", ""))
    if code == "InvalidParameterValue" and "must be shorter than" in str(failed.get("Message", "")):
        return TooLargeError(f"the message is larger than the queue's MaximumMessageSize ({code})", code=code)
    fault = _SENDERS_FAULT if failed.get("SenderFault") else _SERVICES_FAULT
    return of_service(code, None, codes, otherwise=fault)


def entry_outcomes(
    answer: Mapping[str, Any], count: int, codes: Mapping[str, Kind], success: Callable[[int, Mapping[str, Any]], T]
) -> list[T | CloudDirectError]:
    """Read a batch's answer: one outcome for each of the ``count`` entries, which have their places as ids."""
    outcomes: dict[str, T | CloudDirectError] = {}
    for failed in answer.get("Failed", ()):
        outcomes[failed["Id"]] = of_entry(failed, codes)
    for successful in answer.get("Successful", ()):
        outcomes[successful["Id"]] = success(int(successful["Id"]), successful)
    silent = {str(place) for place in range(count)} - outcomes.keys()
    for place in silent:
        outcomes[place] = UnavailableError("SQS said nothing about this entry of the batch")
    return [outcomes[str(place)] for place in range(count)]
