"""Bearer tokens over TLS, in the two ways in which programs send them, and what each role may do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import google.auth.credentials
import google.auth.transport.grpc
import google.auth.transport.requests
import google.oauth2.credentials
import google.oauth2.service_account
import grpc
import pytest
from google.api_core.exceptions import PermissionDenied, Unauthenticated
from google.cloud.pubsub_v1 import PublisherClient
from google.iam.v1 import iam_policy_pb2

from emulators.pubsub import PubSubServer
from unit.pubsub_server.clients import Clients, metadata_token

_TOPIC = "projects/clinic/topics/orders"
_SUBSCRIPTION = "projects/clinic/subscriptions/orders"
_TOKENS = {
    "sends": {_TOPIC: "publisher"},
    "receives": {_SUBSCRIPTION: "subscriber"},
    "looks": {"projects/clinic": "viewer"},
    "runs": {"projects/clinic": "editor"},
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[PubSubServer]:
    """A server that speaks TLS and asks for tokens."""
    with PubSubServer(_TOKENS, tls=True) as running:
        running.add_topic(_TOPIC)
        running.add_subscription(_SUBSCRIPTION, _TOPIC)
        yield running


def _with_token(server: PubSubServer, token: str) -> Clients:
    """Connect as the SDK does with a token: call credentials on a secure channel."""
    return _with(server, google.oauth2.credentials.Credentials(token))


def _with(server: PubSubServer, credentials: google.auth.credentials.Credentials) -> Clients:
    plugin = google.auth.transport.grpc.AuthMetadataPlugin(credentials, google.auth.transport.requests.Request())
    channel = grpc.ssl_channel_credentials(server.root_certificates)
    call = grpc.metadata_call_credentials(plugin)
    return Clients(server.endpoint, grpc.composite_channel_credentials(channel, call))


def test_a_service_account_signs_its_tokens_itself(guarded: PubSubServer) -> None:
    name = "sender@test.iam.gserviceaccount.com"
    key = guarded.service_account(name, {_TOPIC: "publisher"})
    forged = guarded.service_account("somebody-else@test.iam.gserviceaccount.com", {}) | {"client_email": name}
    with _with(guarded, _signing(key)) as clients:
        assert clients.publish(_TOPIC, b"x")
        with pytest.raises(PermissionDenied):
            clients.pull(_SUBSCRIPTION)
    with _with(guarded, _signing(forged)) as clients, pytest.raises(Unauthenticated):
        clients.publish(_TOPIC, b"x")


def _signing(key: dict[str, str]) -> google.auth.credentials.Credentials:
    made = google.oauth2.service_account.Credentials.from_service_account_info(key, scopes=["pubsub"])
    return made.with_always_use_jwt_access(True)


def test_a_publisher_publishes_and_no_more(guarded: PubSubServer) -> None:
    with _with_token(guarded, "sends") as clients:
        assert clients.publish(_TOPIC, b"x")
        for call in (
            lambda: clients.publisher.get_topic(topic=_TOPIC),
            lambda: clients.publisher.delete_topic(topic=_TOPIC),
            lambda: clients.pull(_SUBSCRIPTION),
            lambda: clients.publish("projects/clinic/topics/other", b"x"),
        ):
            with pytest.raises(PermissionDenied):
                call()


def test_a_subscriber_receives_and_no_more(guarded: PubSubServer) -> None:
    guarded.publish(_TOPIC, b"x")
    with _with_token(guarded, "receives") as clients:
        received = clients.pull(_SUBSCRIPTION)
        assert received
        clients.lease(_SUBSCRIPTION, received, 30)
        clients.ack(_SUBSCRIPTION, received)
        stream = clients.subscriber.streaming_pull(
            requests=iter([{"subscription": _SUBSCRIPTION, "stream_ack_deadline_seconds": 10}])
        )
        stream.cancel()
        for call in (
            lambda: clients.subscriber.get_subscription(subscription=_SUBSCRIPTION),
            lambda: clients.publish(_TOPIC, b"x"),
            lambda: clients.pull("projects/clinic/subscriptions/other"),
        ):
            with pytest.raises(PermissionDenied):
                call()


def test_a_publisher_may_not_stream(guarded: PubSubServer) -> None:
    with _with_token(guarded, "sends") as clients:
        requests = iter([{"subscription": _SUBSCRIPTION, "stream_ack_deadline_seconds": 10}])
        with pytest.raises(PermissionDenied):
            next(iter(clients.subscriber.streaming_pull(requests=requests)))


def test_roles_on_the_project_hold_for_all_in_it(guarded: PubSubServer) -> None:
    with _with_token(guarded, "looks") as clients:
        assert [one.name for one in clients.publisher.list_topics(project="projects/clinic")] == [_TOPIC]
        assert clients.subscriber.get_subscription(subscription=_SUBSCRIPTION).topic == _TOPIC
        with pytest.raises(PermissionDenied):
            clients.publish(_TOPIC, b"x")
    with _with_token(guarded, "runs") as clients:
        made = clients.publisher.create_topic(name="projects/clinic/topics/made").name
        clients.publish(made, b"x")
        clients.publisher.delete_topic(topic=made)
        with pytest.raises(PermissionDenied):
            clients.publisher.create_topic(name="projects/elsewhere/topics/made")


def test_without_a_known_token_nobody_is_served(guarded: PubSubServer) -> None:
    trusting = grpc.ssl_channel_credentials(guarded.root_certificates)
    with Clients(guarded.endpoint, trusting) as clients, pytest.raises(Unauthenticated):
        clients.publish(_TOPIC, b"x")
    with _with_token(guarded, "stranger") as clients, pytest.raises(Unauthenticated):
        clients.publish(_TOPIC, b"x")


def test_a_token_as_metadata_needs_no_secure_channel() -> None:
    with PubSubServer(_TOKENS) as server, Clients(server.endpoint) as clients:
        server.add_topic(_TOPIC)
        messages = [{"data": b"x"}]
        clients.publisher.publish(topic=_TOPIC, messages=messages, metadata=metadata_token("sends"))
        with pytest.raises(PermissionDenied):
            clients.publisher.publish(topic=_TOPIC, messages=messages, metadata=metadata_token("receives"))
        with pytest.raises(Unauthenticated):
            clients.publisher.publish(topic=_TOPIC, messages=messages)


def test_the_sdk_sends_its_credentials_by_itself(
    guarded: PubSubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = PublisherClient.get_transport_class("grpc")
    channel = transport.create_channel(
        guarded.endpoint,
        credentials=google.oauth2.credentials.Credentials("sends"),
        ssl_credentials=grpc.ssl_channel_credentials(guarded.root_certificates),
    )
    publisher = PublisherClient(transport=transport(channel=channel))
    assert publisher.publish(_TOPIC, b"x").result(30)
    publisher.stop()
    channel.close()


def test_permissions_are_tested_without_using_them(guarded: PubSubServer) -> None:
    def held(token: str, resource: str, *asked: str) -> list[str]:
        request = iam_policy_pb2.TestIamPermissionsRequest(resource=resource, permissions=asked)
        with _with_token(guarded, token) as clients:
            return list(clients.publisher.test_iam_permissions(request=request).permissions)

    publish, consume = "pubsub.topics.publish", "pubsub.subscriptions.consume"
    assert held("sends", _TOPIC, publish, "pubsub.topics.get") == [publish]
    assert held("sends", _SUBSCRIPTION, consume) == []
    assert held("receives", _SUBSCRIPTION, consume, "pubsub.subscriptions.get") == [consume]
    assert held("looks", _TOPIC, publish, "pubsub.topics.get") == ["pubsub.topics.get"]
    assert held("runs", "projects/clinic/topics/missing", publish) == []
    with pytest.raises(Unauthenticated):
        held("stranger", _TOPIC, publish)


def test_a_client_that_does_not_trust_the_authority_does_not_connect(guarded: PubSubServer) -> None:
    with Clients(guarded.endpoint, grpc.ssl_channel_credentials()) as clients:
        ready = grpc.channel_ready_future(clients.channel)
        with pytest.raises(grpc.FutureTimeoutError):
            ready.result(1)
        ready.cancel()


def test_unknown_roles_are_a_mistake_of_the_test() -> None:
    with pytest.raises(ValueError, match="owner"):
        PubSubServer({"token": {_TOPIC: "owner"}})
