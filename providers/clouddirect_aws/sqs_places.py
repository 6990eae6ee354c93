"""Where a queue is: by URL without asking anybody, by name with one GetQueueUrl."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from clouddirect.errors import ConfigurationError

__all__ = ["Place", "check_name", "is_fifo", "is_url", "place_of_url"]

#: Hosts of the service itself, with the region where it is named: today's names, dual-stack and FIPS ones, the legacy
#: ones ("Amazon SQS endpoints and quotas" in the AWS General Reference).
_HOSTS = (
    re.compile(r"sqs(?:-fips)?\.(?P<region>[a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)"),
    re.compile(r"(?P<region>[a-z0-9-]+)\.queue\.amazonaws\.com(?:\.cn)?"),
    re.compile(r"(?P<region>)queue\.amazonaws\.com"),
)  # fmt: skip
_VPC_ENDPOINT = re.compile(r"[a-z0-9-]+\.sqs\.(?P<region>[a-z0-9-]+)\.vpce\.amazonaws\.com(?:\.cn)?")

#: "Queue name" in "Amazon SQS standard queue quotas" and "FIFO queue quotas": 80 characters, the ending included.
_NAME = re.compile(r"(?=.{1,80}\Z)[A-Za-z0-9_-]+(?:\.fifo)?\Z")


class Place(NamedTuple):
    """A queue's URL, and what it tells about whom to ask: a region, and an endpoint that is not the region's own."""

    url: str
    region: str | None = None
    endpoint: str | None = None


def is_url(queue: str) -> bool:
    """Whether a queue is given by URL rather than by name."""
    return queue.startswith(("https://", "http://"))


def is_fifo(queue: str) -> bool:
    """Whether it is a FIFO queue: their names must end so, and no other's can (it would hold a dot)."""
    return queue.endswith(".fifo")


def check_name(queue: str) -> None:
    """Refuse what can be no queue's name.

    Raises:
        ConfigurationError: it is an ARN, a URL without its scheme, or the like.
    """
    if not _NAME.match(queue):
        raise ConfigurationError(
            "a queue is named by its URL, such as https://sqs.us-east-1.amazonaws.com/123456789012/orders, or by its "
            "name, such as orders: up to 80 letters, digits, '-' and '_'; an ARN is neither"
        )


def place_of_url(url: str, region: str | None) -> Place:
    """Read a queue's URL; ``region`` is what the options say, if anything.

    Raises:
        ConfigurationError: it is no queue's URL, or one of another region than the options'.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if "@" in parts.netloc:
        raise ConfigurationError("a queue's URL holds no user and no password; give access_key_id and its secret")
    if not parts.path.strip("/") or parts.path.endswith("/") or parts.query or parts.fragment:
        raise ConfigurationError("a queue's URL ends in its account and name, such as /123456789012/orders")
    own = next((found for pattern in _HOSTS if (found := pattern.fullmatch(host))), None)
    found = own or _VPC_ENDPOINT.fullmatch(host)
    told = (found["region"] or "us-east-1") if found else None
    if region and told and region != told:
        raise ConfigurationError(f"the queue's URL is one of {told}, but region is {region}; leave region out")
    return Place(url, told, None if own else f"{parts.scheme}://{parts.netloc}")
