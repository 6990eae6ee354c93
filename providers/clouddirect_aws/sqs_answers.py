"""Reading SQS's answers without botocore's parser, which goes through each value by its model.

In the JSON protocol an answer has the names, types and structure that botocore returns, but for binary values, which
are in base64 (API reference, "AWS JSON protocol"). So it is read as JSON and put in the place of what botocore would
find, by its event ``before-parse``. Whatever is not such an answer (an error, another protocol, a page of a proxy) is
left to botocore, and so is everything should the event be no more.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

__all__ = ["read_as_json"]

_OPERATIONS = ("ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
_JSON = "application/x-amz-json-"


def read_as_json(client: SQSClient) -> None:
    """Have the answers to calls of batches and polls of ``client`` read here."""
    for operation in _OPERATIONS:
        client.meta.events.register(f"before-parse.sqs.{operation}", _read)


def _read(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    headers = response_dict["headers"]
    if response_dict["status_code"] != 200 or not headers.get("content-type", "").startswith(_JSON):
        return
    try:
        found = json.loads(response_dict["body"])
        answer = {
            name: [_without_nulls(one) for one in value] for name, value in found.items() if isinstance(value, list)
        }
        for message in answer.get("Messages", ()):
            for attribute in message.get("MessageAttributes", {}).values():
                if attribute.get("BinaryValue") is not None:
                    attribute["BinaryValue"] = base64.b64decode(attribute["BinaryValue"])
    except (ValueError, AttributeError, RecursionError, binascii.Error):
        return  # not what SQS answers: botocore is to say so
    customized_response_dict.update(answer)
    response_dict["body"] = b"{}"


def _without_nulls(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if value is not None}
