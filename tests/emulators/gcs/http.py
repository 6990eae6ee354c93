"""Requests and responses, between the connection and the APIs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["Body", "Request", "Response"]


@dataclass
class Body:
    """What came of a request's body. ``complete`` is False where the connection broke before its end.

    A view, for memory is what a transfer of hundreds of megabytes costs: who keeps the data need not copy them.
    """

    data: memoryview = field(default_factory=lambda: memoryview(b""))
    complete: bool = True


@dataclass
class Request:
    """One request.

    Attributes:
        method: in capitals.
        target: as it came: path and query, still encoded.
        headers: with lower-case names.
        body: what was sent with it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: Body = field(default_factory=Body)

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        self.path = parts.path
        #: The path's segments, decoded; an object's name may hold encoded slashes.
        self.segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))

    def number(self, name: str) -> int | None:
        """Return a query parameter that is a number, None where it is absent."""
        return int(self.query[name]) if name in self.query else None

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; an empty body is an empty object."""
        found = json.loads(bytes(self.body.data) or b"{}")
        return found if isinstance(found, dict) else {}


@dataclass
class Response:
    """One response. Without its body where the request was a HEAD."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""

    @classmethod
    def of_json(cls, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
        """A JSON answer with status 200."""
        merged = {"Content-Type": "application/json; charset=UTF-8", **(headers or {})}
        return cls(200, merged, json.dumps(content).encode())

    @classmethod
    def of_xml(cls, content: str, headers: Mapping[str, str] | None = None) -> Response:
        """An XML answer with status 200."""
        text = f"<?xml version='1.0' encoding='UTF-8'?>{content}"
        return cls(200, {"Content-Type": "application/xml; charset=UTF-8", **(headers or {})}, text.encode())
