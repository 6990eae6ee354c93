"""Answers that are errors, in the three forms of the service: JSON, XML and plain text.

Sources: "HTTP status and error codes for JSON", "HTTP status and error codes for XML" of the Cloud Storage reference.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from xml.sax.saxutils import escape

from .http import Response

__all__ = [
    "HttpError",
    "bad_request",
    "no_such_bucket",
    "no_such_key",
    "no_such_upload",
    "precondition_failed",
]

_XML_CODES = {
    400: "InvalidArgument",
    401: "AuthenticationRequired",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
    503: "ServiceUnavailable",
}


class HttpError(Exception):
    """An error that answers a request.

    Args:
        status: HTTP status.
        reason: the JSON API's word for it.
        message: for the reader.
        xml_code: the XML API's word for it, where the status has several.
    """

    def __init__(self, status: int, reason: str, message: str, xml_code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.xml_code = xml_code or _XML_CODES.get(status, HTTPStatus(status).phrase.replace(" ", ""))

    def json(self) -> Response:
        """The answer of the JSON API."""
        error = {"message": self.message, "domain": "global", "reason": self.reason}
        body = {"error": {"code": self.status, "message": self.message, "errors": [error]}}
        return Response(self.status, {"Content-Type": "application/json; charset=UTF-8"}, json.dumps(body).encode())

    def text(self) -> Response:
        """The answer to a media download and to a resumable upload: the message alone."""
        return Response(self.status, {"Content-Type": "text/html; charset=UTF-8"}, self.message.encode())

    def xml(self) -> Response:
        """The answer of the XML API."""
        text = (
            "<?xml version='1.0' encoding='UTF-8'?>"
            f"<Error><Code>{self.xml_code}</Code><Message>{escape(self.message)}</Message></Error>"
        )
        return Response(self.status, {"Content-Type": "application/xml; charset=UTF-8"}, text.encode())


def bad_request(message: str, reason: str = "invalid", xml_code: str = "") -> HttpError:
    """400."""
    return HttpError(400, reason, message, xml_code)


def no_such_bucket() -> HttpError:
    """404 for a bucket."""
    return HttpError(404, "notFound", "The specified bucket does not exist.", "NoSuchBucket")


def no_such_key(bucket: str, name: str) -> HttpError:
    """404 for an object."""
    return HttpError(404, "notFound", f"No such object: {bucket}/{name}", "NoSuchKey")


def no_such_upload() -> HttpError:
    """404 for an upload that is unknown."""
    return HttpError(404, "notFound", "The requested upload was not found.", "NoSuchUpload")


def precondition_failed() -> HttpError:
    """412."""
    return HttpError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
