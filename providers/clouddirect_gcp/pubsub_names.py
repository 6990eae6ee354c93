"""Names of topics and subscriptions, short and full.

Source: https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
"""

from __future__ import annotations

import re
from typing import Literal

from clouddirect.errors import ConfigurationError

__all__ = ["Collection", "resource_name"]

Collection = Literal["topics", "subscriptions"]

_FULL = re.compile(r"projects/(?P<project>[^/\s]+)/(?P<collection>topics|subscriptions)/(?P<name>[^/\s]+)")
_SHORT = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_ONE = {"topics": "a topic", "subscriptions": "a subscription"}
_USE = {"topics": "sent to", "subscriptions": "received from"}


def resource_name(queue: str, collection: Collection, project: str | None) -> str:
    """Return the full name of the topic or subscription that a queue's name stands for.

    Raises:
        ConfigurationError: the name is malformed or of the other kind, or short while no project is known.
    """
    full = _FULL.fullmatch(queue)
    if full:
        if full["collection"] != collection:
            raise ConfigurationError(
                f"{queue!r} is {_ONE[full['collection']]}, and only {_ONE[collection]} can be {_USE[collection]}",
                resource=queue,
            )
        return queue
    if not _SHORT.fullmatch(queue):
        raise ConfigurationError(
            f"{queue!r} is no name of {_ONE[collection]}: give 3 to 255 letters, digits and -._~+% beginning with a "
            f"letter, or projects/PROJECT/{collection}/NAME",
            resource=queue,
        )
    if project is None:
        raise ConfigurationError(
            f"the project of {queue!r} is not known: set the option project, or give "
            f"projects/PROJECT/{collection}/NAME",
            resource=queue,
        )
    return f"projects/{project}/{collection}/{queue}"
