"""From a call on the wire to the method that serves it: counts, access, faults, refusals."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from .access import Access
from .admin import Admin
from .checks import check_publish
from .delivery import Delivery
from .faults import CutStream, Faults
from .refusals import Refusal, invalid
from .rpcs import RPCS, Rpc
from .store import Store
from .wire import TestIamPermissionsResponse, message_class

__all__ = ["Service"]

_PublishResponse = message_class("PublishResponse")


class Service:
    """All RPCs of the server.

    Args:
        store: what it keeps.
        access: who may do what.
        faults: what the test ordered.
        calls: counts each RPC as it comes in.
        pull_wait: seconds after which a waiting pull is answered without messages.
    """

    def __init__(self, store: Store, access: Access, faults: Faults, calls: Counter[str], pull_wait: float) -> None:
        self._store = store
        self._access = access
        self._faults = faults
        self._calls = calls
        self._delivery = Delivery(store, pull_wait)
        self._admin = Admin(store)

    def handlers(self) -> list[Any]:
        """Return what a gRPC server is given."""
        by_service: dict[str, dict[str, Any]] = {}
        for rpc in RPCS.values():
            by_service.setdefault(rpc.service, {})[rpc.name] = self._handler(rpc)
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in by_service.items()]

    def _handler(self, rpc: Rpc) -> Any:
        read = message_class(rpc.request).FromString
        write = message_class(rpc.response).SerializeToString
        if rpc.name == "StreamingPull":
            return grpc.stream_stream_rpc_method_handler(self._streaming_pull(rpc), read, write)
        return grpc.unary_unary_rpc_method_handler(self._unary(rpc), read, write)

    def _unary(self, rpc: Rpc) -> Callable[..., Any]:
        serve = self._method(rpc.name) if rpc.name != "TestIamPermissions" else None
        waits = rpc.name == "Pull"

        async def call(request: Any, context: Any) -> Any:
            self._calls[rpc.name] += 1
            try:
                fault = self._faults.next(rpc.name, request)
                if fault is not None:
                    await self._faults.before(fault)
                self._check(rpc, request, context)
                if serve is None:
                    response = self._permissions(request, context)
                else:
                    response = await serve(request) if waits else serve(request)
                self._faults.after(fault)
                return response
            except Refusal as refusal:
                return await refusal.send(context)

        return call

    def _streaming_pull(self, rpc: Rpc) -> Callable[..., AsyncIterator[Any]]:
        async def call(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            self._calls[rpc.name] += 1
            try:
                first = await anext(requests, None)
                if first is None:
                    raise invalid("A stream begins with a request that names the subscription.")
                fault = self._faults.next(rpc.name, first)
                await self._faults.before(fault)
                self._check(rpc, first, context)
                cut = fault if isinstance(fault, CutStream) else None
                async for response in self._delivery.streaming_pull(first, requests, cut):
                    yield response
            except Refusal as refusal:
                await refusal.send(context)

        return call

    def _method(self, name: str) -> Callable[[Any], Any]:
        served: dict[str, Callable[[Any], Any]] = {
            "Publish": self._publish,
            "Pull": self._delivery.pull,
            "Acknowledge": self._delivery.acknowledge,
            "ModifyAckDeadline": self._delivery.modify_ack_deadline,
        }
        return served.get(name) or getattr(self._admin, re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower())

    def _check(self, rpc: Rpc, request: Any, context: Any) -> None:
        if self._access.asked:
            self._access.check(context.invocation_metadata() or (), rpc.needs(request))

    def _publish(self, request: Any) -> Any:
        topic = self._store.topic(request.topic)
        check_publish(request)
        return _PublishResponse(message_ids=self._store.publish(topic, request.messages))

    def _permissions(self, request: Any, context: Any) -> Any:
        """Answer which permissions the caller holds; none on what does not exist (documented so)."""
        exists = request.resource in self._store.topics or request.resource in self._store.subscriptions
        metadata = context.invocation_metadata() or ()
        held = self._access.held(metadata, request.resource, request.permissions)
        return TestIamPermissionsResponse(permissions=held if exists else [])
