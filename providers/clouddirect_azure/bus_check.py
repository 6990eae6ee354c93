"""Asking about a queue with sessions without accepting one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from clouddirect.errors import CloudDirectError
from clouddirect_azure.bus_connection import Connector
from clouddirect_azure.bus_line import break_all, close_whole
from clouddirect_azure.bus_names import Entity
from clouddirect_azure.bus_worker import GRACE, Worker

__all__ = ["check_sessions"]


class _Browser(Worker):
    """Lists the sessions of a queue, once."""

    def __init__(self, connector: Connector, entity: Entity, timeout: float) -> None:
        super().__init__(f"clouddirect-azure-check-{entity.path}")
        self._client = connector.client()
        self._entity = entity
        self._timeout = timeout

    def look(self) -> None:
        """Ask for the first session, if there is one."""
        entity, client = self._entity, self._client
        if entity.subscription is None:
            sessions = client.list_queue_sessions(entity.name, timeout=self._timeout)
        else:
            sessions = client.list_subscription_sessions(entity.name, entity.subscription, timeout=self._timeout)
        close_whole(client)
        list(islice(sessions, 1))

    def shut(self) -> None:
        """Close the connection."""
        self._client.close()

    def abort(self) -> None:
        """Break the connection."""
        break_all(self._client)


def check_sessions(
    connector: Connector, entity: Entity, translate: Callable[[BaseException], CloudDirectError], timeout: float
) -> None:
    """List the sessions of a queue or subscription, which needs the right to receive and takes nothing.

    Raises:
        CloudDirectError: why the credential cannot receive there.
    """
    browser = _Browser(connector, entity, timeout)
    try:
        browser.call(browser.look, timeout)
    except Exception as error:  # noqa: BLE001 - translated
        translated = translate(error)
        raise translated from translated.__cause__
    finally:
        browser.end(GRACE)
