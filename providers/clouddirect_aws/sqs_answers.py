"""Reading SQS's answers without botocore's parser, which goes through each value by its model.

In the JSON protocol an answer has the names, types and structure that botocore returns, but for binary values, which
are in base64 (API reference, "AWS JSON protocol"). So it is read as JSON and put in the place of what botocore would
find, by its event ``before-parse``. Whatever is not such an answer (an error, another protocol, a page of a proxy) is
left to botocore, and so is everything should the event be no more.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

__all__ = ["read_as_json"]

_OPERATIONS = ("ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
#: What their answers consist of.
_LISTS = ("Messages", "Successful", "Failed")
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
        answer = {name: list(map(_without_nulls, found[name])) for name in _LISTS if found.get(name) is not None}
        for message in answer.get("Messages", ()):
            attributes = message.get("MessageAttributes", {})
            for name, attribute in attributes.items():
                attributes[name] = known = _without_nulls(attribute)
                if "BinaryValue" in known:
                    known["BinaryValue"] = base64.b64decode(known["BinaryValue"])
    except (ValueError, TypeError, AttributeError, RecursionError):
        return  # not what SQS answers: botocore is to say so
    customized_response_dict.update(answer)
    response_dict["body"] = b"{}"


def _without_nulls(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if value is not None}
