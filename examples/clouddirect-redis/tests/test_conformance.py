"""The suite for messaging, with users of Redis that may do as little as the README says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
import redis
from clouddirect.conformance import MessagingConformance
from clouddirect.messaging import BrokerRuntime

from clouddirect_redis.broker import RedisBroker

#: What the README tells to grant, beside the queues' keys; `create_queue` needs one more.
SEND = ("+select", "+eval", "+exists", "+xadd")
RECEIVE = ("+select", "+eval", "+xack", "+xadd", "+xclaim", "+xdel", "+xpending", "+xread", "+xreadgroup", "+xrevrange")


class TestRedisMessaging(MessagingConformance):
    """All cases; what a Redis lacks is in ``without``, with the reason."""

    complete = True
    without: ClassVar[dict[str, str]] = {"dead_letter_queue": "Redis dead-letters nothing of its own accord"}
    admin: ClassVar[redis.Redis]
    made: ClassVar[list[str]]
    prefix: ClassVar[str]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _use(cls, admin: redis.Redis) -> Iterator[None]:
        """Lend a Redis to all cases; of the class, so that it outlives the brokers that the suite closes."""
        cls.admin, cls.made, cls.prefix = admin, [], f"clouddirect-test-{uuid.uuid4().hex}"
        yield
        admin.acl_deluser(*cls.made)
        for key in admin.scan_iter(f"{cls.prefix}*"):
            admin.delete(key)

    def login(self, keys: str, *rights: str) -> str:
        """Make a user and return its URL; the password is the user's name backwards."""
        name = f"{self.prefix}-{len(self.made)}"
        self.made.append(name)
        self.admin.acl_setuser(name, enabled=True, passwords=f"+{name[::-1]}", keys=[keys], commands=list(rights))
        return self.url(name, name[::-1])

    def url(self, name: str, password: str) -> str:
        """Return the URL of the tested Redis for one user."""
        where = self.admin.connection_pool.connection_kwargs
        return f"redis://{name}:{password}@{where['host']}:{where['port']}/{where.get('db', 0)}"

    def make_broker(self, **runtime: Any) -> RedisBroker:
        url = self.login(f"{self.prefix}*", *SEND, *RECEIVE, "+xgroup")
        return RedisBroker(url, runtime=BrokerRuntime(**runtime))

    def new_queue(self, **wishes: Any) -> str:
        name = f"{self.prefix}-queue-{uuid.uuid4().hex}"
        with self.make_broker() as broker:
            broker.create_queue(name)
        return name

    def missing_queue(self) -> str:
        return f"{self.prefix}-missing"

    def send_only_broker(self, queue: str, **runtime: Any) -> RedisBroker:
        return RedisBroker(self.login(queue, *SEND), runtime=BrokerRuntime(**runtime))

    def receive_only_broker(self, queue: str, **runtime: Any) -> RedisBroker:
        return RedisBroker(self.login(f"{queue}*", *RECEIVE), runtime=BrokerRuntime(**runtime))

    def wrong_credential_broker(self, **runtime: Any) -> RedisBroker:
        self.login("*")
        return RedisBroker(self.url(self.made[-1], "wrong-password"), runtime=BrokerRuntime(**runtime))

    def secrets(self) -> list[str]:
        return [name[::-1] for name in self.made] + ["wrong-password"]

    def foreign_send(self, queue: str, body: bytes, attributes: Mapping[str, str]) -> None:
        self.admin.xadd(queue, {"body": body, **attributes})  # type: ignore[dict-item]  # narrower than need be

    def cut_connections(self) -> None:
        for name in self.made:
            self.admin.client_kill_filter(user=name)
