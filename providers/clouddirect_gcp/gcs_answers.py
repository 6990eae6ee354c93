"""Reading the answers that were hoped for, and telling them from those that are none of Cloud Storage's.

A proxy, or a network's page for logging in, may answer anything with status 200. That is no confirmation, no object and
no empty listing.
"""

from __future__ import annotations

from typing import Any

import requests

from clouddirect.errors import UnavailableError

__all__ = ["header_of", "json_of", "not_understood"]


def not_understood(response: requests.Response, missing: str) -> UnavailableError:
    """Return the error for an answer that lacks something which Cloud Storage always says."""
    return UnavailableError(
        f"the answer lacks {missing}, so it is none of Cloud Storage's: look for a proxy, or a network's page for "
        "logging in, in between, and at the endpoint",
        code=str(response.status_code),
    )


def json_of(response: requests.Response, *fields: str) -> dict[str, Any]:
    """Return an answer's JSON object, which has these fields.

    Raises:
        UnavailableError: the answer is something else.
    """
    try:
        found = response.json()
    except ValueError:
        found = None
    # raised out here: the parser's exception holds the whole page
    if not isinstance(found, dict):
        raise not_understood(response, "a JSON object")
    for name in fields:
        if name not in found:
            raise not_understood(response, f"the field {name}")
    return found


def header_of(response: requests.Response, name: str) -> str:
    """Return one of an answer's headers.

    Raises:
        UnavailableError: it is not there.
    """
    value = response.headers.get(name)
    if not value:
        raise not_understood(response, f"the header {name}")
    return value
