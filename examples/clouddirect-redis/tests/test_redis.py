"""What the suite cannot know: entries that Redis and other programs leave, and servers that do not answer."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator

import clouddirect
import pytest
import redis
from clouddirect.errors import CloudDirectError, ConfigurationError, TimeoutError, UnavailableError
from clouddirect.messaging import DEAD_LETTER_REASON, BrokerRuntime, Message
from clouddirect.retry import RetryPolicy

from clouddirect_redis import RedisOptions
from clouddirect_redis.broker import RedisBroker

ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture
def queue(admin: redis.Redis, broker: RedisBroker) -> Iterator[str]:
    name = f"clouddirect-test-{uuid.uuid4().hex}"
    broker.create_queue(name)
    yield name
    admin.delete(name, f"{name}:dead")


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    with clouddirect.open_broker("redis", url=redis_url) as opened:
        assert isinstance(opened, RedisBroker)
        yield opened


def test_foreign_entries_are_received_whole(admin: redis.Redis, broker: RedisBroker, queue: str) -> None:
    entry_id = admin.xadd(queue, {"eye": "left", "bytes": b"\xff", "clouddirect": "not ours"})
    (delivery,) = broker.receive(queue)
    assert delivery.message.id.encode() == entry_id
    assert delivery.message.body == b""
    assert delivery.message.attributes == {"eye": "left", "bytes": "\\xff", "clouddirect": "not ours"}
    delivery.dead_letter("unreadable")
    assert admin.xlen(queue) == 0
    (buried,) = broker.receive(f"{queue}:dead")
    assert buried.message.attributes == {**delivery.message.attributes, DEAD_LETTER_REASON: "unreadable"}
    buried.ack()


def test_an_entry_trimmed_while_it_was_pending_is_no_obstacle(
    admin: redis.Redis, broker: RedisBroker, queue: str
) -> None:
    broker.send(queue, Message(body=b"trimmed"))
    assert broker.receive(queue, lease=0.001)
    admin.xtrim(queue, maxlen=0)
    broker.send(queue, Message(body=b"stays"))
    (delivery,) = broker.receive(queue, 10, wait=5)
    assert delivery.message.body == b"stays"
    delivery.ack()
    ends = time.monotonic() + 30
    while admin.xpending_range(queue, "clouddirect", "-", "+", 10):  # until the trimmed one's lease has ended
        assert broker.receive(queue, 10) == []
        assert time.monotonic() < ends


def test_waiting_is_no_timeout(redis_url: str, queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `call_timeout` is shorter than a look at the stream would last, the look is shorter."""
    monkeypatch.setattr("clouddirect_redis.broker._LOOK_UP", 60.0)
    with RedisBroker(redis_url, runtime=BrokerRuntime(retry=ONCE, call_timeout=2.0)) as broker:
        assert broker.receive(queue, wait=2.5) == []


def test_closing_ends_a_wait(admin: redis.Redis, redis_url: str, queue: str) -> None:
    named = f"{redis_url}{'&' if '?' in redis_url else '?'}client_name={queue}"
    broker, got = RedisBroker(named), list[object]()
    waiting = threading.Thread(target=lambda: got.append(broker.receive(queue, wait=60)))
    waiting.start()
    ends = time.monotonic() + 30
    while not any(client["name"] == queue and client["cmd"] == "xread" for client in admin.client_list()):
        assert time.monotonic() < ends
    begun = time.monotonic()
    broker.close()
    waiting.join(30)
    assert got == [[]]
    assert time.monotonic() - begun < 10  # one wait of Redis alone would last 20 s


def test_settled_entries_take_no_room(admin: redis.Redis, broker: RedisBroker, queue: str) -> None:
    broker.send_many(queue, [Message(body=b"x") for _ in range(50)])
    assert all(result.ok for result in broker.ack_many(broker.receive(queue, 50)))
    assert admin.xlen(queue) == 0


def test_too_many_attributes_are_refused_and_most_are_not(broker: RedisBroker, queue: str) -> None:
    most = {f"name-{number}": "value" for number in range(1000)}
    broker.send(queue, Message(body=b"x", attributes=most))
    (delivery,) = broker.receive(queue)
    assert delivery.message.attributes == most
    delivery.ack()
    for attributes in (most | {"one": "more"}, {"body": "x"}, {"clouddirect": "x"}):
        with pytest.raises(clouddirect.errors.InvalidMessageError):
            broker.send(queue, Message(body=b"x", attributes=attributes))


def test_a_key_that_is_no_stream(admin: redis.Redis, broker: RedisBroker, queue: str) -> None:
    admin.delete(queue)
    admin.set(queue, "text")
    with pytest.raises(ConfigurationError, match="no stream"):
        broker.send(queue, Message(body=b"x"))
    with pytest.raises(ConfigurationError, match="no stream"):
        broker.receive(queue)


def test_a_server_that_is_away_and_one_that_is_silent() -> None:
    begun = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://user:geheim@127.0.0.1:{silent.getsockname()[1]}/0"
        with RedisBroker(url, runtime=BrokerRuntime(retry=ONCE, call_timeout=0.2)) as broker:
            with pytest.raises(TimeoutError) as receiving:
                broker.receive("orders")
            with pytest.raises(TimeoutError) as sending:
                broker.send("orders", Message(body=b"x"))
    assert time.monotonic() - begun < 5  # the timeout of redis-py alone would last twice 5 s
    with RedisBroker(url, runtime=BrokerRuntime(retry=ONCE)) as broker, pytest.raises(UnavailableError) as away:
        broker.send("orders", Message(body=b"x"))
    assert sending.value.maybe_sent
    assert not away.value.maybe_sent
    for caught in (receiving, sending, away):
        assert "geheim" not in told(caught.value)


def test_one_attempt_is_one_connection() -> None:
    """redis-py would try again by itself, beneath the retries of clouddirect."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        seen: list[str] = []

        def hang_up() -> None:
            while True:
                connection, _ = listening.accept()
                with connection:
                    seen.append("connected" if connection.recv(1) else "the end")
                if seen[-1] == "the end":
                    return

        server = threading.Thread(target=hang_up)
        server.start()
        port = listening.getsockname()[1]
        try:
            with RedisBroker(f"redis://127.0.0.1:{port}/0", runtime=BrokerRuntime(retry=ONCE)) as broker:
                with pytest.raises(UnavailableError):
                    broker.send("orders", Message(body=b"x"))
                with pytest.raises(UnavailableError):
                    broker.receive("orders")
        finally:
            socket.create_connection(("127.0.0.1", port)).close()
            server.join(30)
    assert seen == ["connected", "connected", "the end"]


def test_a_url_that_cannot_be_read_is_not_quoted() -> None:
    for url in (
        "redis://user:ge/heim@host:6379",
        "http://user:geheim@host",
        "redis://user:ge?socket_timeout=heim@host",
    ):
        with pytest.raises(ConfigurationError) as caught:
            clouddirect.open_broker("redis", url=url)
        assert "heim" not in told(caught.value)


def test_options_show_no_secret() -> None:
    assert "geheim" not in repr(RedisOptions(url="redis://user:geheim@host:6379/0"))  # type: ignore[arg-type]


def test_the_label_imports_no_sdk() -> None:
    program = "import sys, clouddirect_redis; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def told(error: CloudDirectError) -> str:
    """Return all that a log could show of the error."""
    return "".join(traceback.TracebackException.from_exception(error).format()) + repr(error)
