"""Dead letters on every provider, each side with just the rights that it needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clouddirect import Message
from clouddirect.errors import PermissionDeniedError, UnsupportedError
from clouddirect.orders import CloudDirect
from clouddirect.orders.connections import Connections, Queue
from clouddirect.orders.dead_letters import REPLAY_OF, DeadLetter
from clouddirect.settings import Settings
from emulators.clouds import CLOUDS, Cloud

RESULT = json.dumps(
    {"ResultCode": "F", "Success": True, "Order": {"LocalId": "ORD-1"}, "Patient": {"LocalId": "MRN"}}
).encode()
ORDER = json.dumps({"OrderControlCode": "CA", "Order": {"LocalId": "ORD-1"}}).encode()
#: Where the broker moves a message at a handler's word, and can give back without counting.
NATIVE = ("azure", "local")


class Site:
    """One cloud, the client's settings for it, and the other side."""

    def __init__(self, provider: str, cloud: Cloud, directory: Path) -> None:
        self.provider = provider
        self._cloud = cloud
        self._directory = directory
        self._open = ExitStack()

    def client(self, *, dead_letter_receive: bool = True) -> CloudDirect:
        """A client that sends orders and receives results."""
        endpoints = {"orders": self._cloud.queue("orders", "send"), "results": self._cloud.queue("results", "receive")}
        if dead_letter_receive:
            for name, endpoint in endpoints.items():
                endpoint["dead_letter_receive"] = self._cloud.dead_letters(name)
        client = CloudDirect(Settings.of({"endpoints": endpoints, "data_dir": str(self._directory / "data")}))
        return self._open.enter_context(client)

    def queue(self, name: str, side: str) -> Queue:
        """One side of one queue, in the name of whoever uses it."""
        settings = Settings.of(
            {
                "endpoints": {"orders": self._cloud.queue(name, side)},  # type: ignore[arg-type]
                "data_dir": str(self._directory / "theirs"),
            }
        )
        connections = Connections(settings.endpoints, settings.stores, data_dir=settings.data_dir)
        self._open.callback(connections.close)
        return connections.queue("orders")

    def send(self, name: str, body: bytes) -> str:
        """Send a message; returns its id."""
        queue = self.queue(name, "send")
        return queue.broker.send(queue.name, Message(body=body, attributes={"mine": "kept"})).message_id

    def take(self, name: str) -> list[Message]:
        """Take what is in a queue."""
        queue = self.queue(name, "receive")
        found = queue.broker.receive(queue.name, 10, wait=1)
        queue.broker.ack_many(found)
        return [one.message for one in found]

    def bury(self, name: str, body: bytes) -> str:
        """Send a message that nobody can handle; returns its id once it is a dead letter.

        Where the receiver can, it puts it aside with a reason; else it is delivered until the broker has enough.
        """
        sent = self.send(name, body)
        queue = self.queue(name, "receive")
        for _ in range(30):
            found = queue.broker.receive(queue.name, wait=1)
            if not found:
                return sent
            for delivery in found:
                if self.provider in NATIVE:
                    delivery.dead_letter("unreadable", "no good")
                else:
                    delivery.nack()
        raise AssertionError("it never became a dead letter")

    def close(self) -> None:
        """Close all that was opened."""
        self._open.close()


@pytest.fixture(scope="module", params=sorted(CLOUDS))
def cloud(request: pytest.FixtureRequest) -> Iterator[tuple[str, Cloud]]:
    with CLOUDS[request.param]() as running:
        yield request.param, running


@pytest.fixture
def site(cloud: tuple[str, Cloud], tmp_path: Path) -> Iterator[Site]:
    made = Site(*cloud, tmp_path)
    yield made
    made.close()


def there(client: CloudDirect, endpoint: str) -> list[str]:
    """The ids of all dead letters of an endpoint."""
    return [one.message.id for one in client.dead_letters.look(where=[endpoint]).letters]


def only(client: CloudDirect) -> DeadLetter:
    (letter,) = client.dead_letters.look(where=["results"]).letters
    return letter


def test_looking_at_dead_letters_leaves_them(site: Site) -> None:
    buried, client = site.bury("results", RESULT), site.client()
    first = only(client)
    assert (first.endpoint, first.message.id, first.message.body) == ("results", buried, RESULT)
    assert first.at is not None
    assert first.message.attributes["mine"] == "kept"
    if site.provider in NATIVE:
        assert (first.reason, first.description) == ("unreadable", "no good")
    again = only(client)
    assert again.message.id == buried
    if site.provider == "aws":  # giving back counts there
        assert (again.delivery_count or 0) > (first.delivery_count or 0) >= 1
    else:
        assert again.delivery_count == first.delivery_count
    if site.provider == "gcp":
        assert first.delivery_count == 10, "how often it was delivered before Pub/Sub forwarded it"
    assert site.take("results") == []
    assert not client.dead_letters.discard([buried], where=["results"]).unread


def test_results_are_handled_where_they_are(site: Site) -> None:
    site.bury("results", RESULT)
    broken = site.bury("results", b"never a result")
    client = site.client()
    for incoming in client.dead_letters.results():
        with pytest.raises(KeyError), incoming:
            raise KeyError
    assert len(there(client, "results")) == 2, "what failed stays, to be seen at once"
    handled = []
    for incoming in client.dead_letters.results():
        with incoming as result:
            handled.append(result.order_local_id)
    assert handled == ["ORD-1"]
    assert there(client, "results") == [broken]
    assert client.dead_letters.discard(None).outcomes[0].id == broken
    assert there(client, "results") == []


def test_an_order_is_replayed_under_a_new_id(site: Site) -> None:
    old, client = site.bury("orders", ORDER), site.client()
    handled = client.dead_letters.replay([old, "nobody"])
    assert [(one.id, one.endpoint, one.ok) for one in handled.outcomes] == [(old, "orders", True)]
    assert handled.missing == ["nobody"]
    (message,) = site.take("orders")
    assert message.id == handled.outcomes[0].new_id != old
    assert message.body == ORDER
    assert message.attributes["mine"] == "kept"
    assert message.attributes[REPLAY_OF] == old
    assert not [name for name in message.attributes if name.startswith("DeadLetter")]
    assert there(client, "orders") == []


def test_what_is_received_is_not_replayed_by_its_receiver(site: Site) -> None:
    old, client = site.bury("results", RESULT), site.client()
    (refused,) = client.dead_letters.replay([old]).outcomes
    assert isinstance(refused.error, UnsupportedError)
    assert "--from-dead-letters" in str(refused.error)
    with pytest.raises(UnsupportedError, match="--from-dead-letters"):
        client.dead_letters.replay(None, where=["results"])
    target = site.queue("results", "send").name
    (denied,) = client.dead_letters.replay([old], to=target).outcomes
    assert isinstance(denied.error, PermissionDeniedError)
    assert denied.new_id is None
    assert there(client, "results") == [old]
    client.dead_letters.discard(None)
    assert site.take("results") == []


def test_a_credential_that_may_only_send_cannot_look(site: Site) -> None:
    site.bury("orders", ORDER)
    looked = site.client(dead_letter_receive=False).dead_letters.look()
    assert looked.letters == []
    assert [(one.name, one.expected) for one in looked.unread] == (
        [("orders", True)] if site.provider in NATIVE else []  # elsewhere nothing is known without the settings
    )
    site.client().dead_letters.discard(None)


def test_what_a_receiver_puts_aside_is_found(site: Site) -> None:
    """Natively, or in the quarantine, where the broker has no such thing and the credential can only receive."""
    ids = {site.send("results", b"no result"), site.send("results", b"no result either")}
    client = site.client()
    assert list(client.results(timeout=2)) == []
    letters = client.dead_letters.look().letters
    assert {one.message.id for one in letters} == ids
    for letter in letters:
        assert (letter.endpoint, letter.reason) == ("results", "unreadable")
        assert (letter.file is not None) == (site.provider not in NATIVE)
    by_id, by_file = letters
    assert client.dead_letters.discard([by_id.message.id]).outcomes[0].ok
    assert there(client, "results") == [by_file.message.id]
    assert client.dead_letters.discard([by_file.file or by_file.message.id]).outcomes[0].ok
    assert there(client, "results") == []
