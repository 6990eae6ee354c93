"""Keys, rights, scopes, signatures and bearer tokens."""

from __future__ import annotations

import time

import pytest
from azure.core.credentials import AccessToken, AzureSasCredential
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.exceptions import (
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusConnectionError,
)

from emulators.servicebus import AccessKey, BearerToken, SubscriptionSettings, TopicSettings, sign

SENDER = AccessKey("sender", "c2VuZGVy", ["Send"])
LISTENER = AccessKey("listener", "bGlzdGVuZXI=", ["Listen"])
OF_ORDERS = AccessKey("of-orders", "b3JkZXJz", ["Send", "Listen"], entity="orders")
OF_EVENTS = AccessKey("of-events", "ZXZlbnRz", ["Listen"], entity="events")
MANAGER = AccessKey("manager", "bWFuYWdlcg==", ["Manage"])


@pytest.fixture
def server(start):
    topic = TopicSettings("events", [SubscriptionSettings("mine")])
    return start("orders", "orders2", topics=[topic], keys=[SENDER, LISTENER, OF_ORDERS, OF_EVENTS, MANAGER])


def test_rights_are_held(server, clients):
    string = server.connection_string(key=SENDER)
    client = clients.client(server, string=string)
    clients.enter(client.get_queue_sender("orders")).send_messages(ServiceBusMessage("x"))
    with pytest.raises(ServiceBusAuthorizationError, match="'Listen' claim"):
        clients.enter(client.get_queue_receiver("orders"))
    client = clients.client(server, string=server.connection_string(key="listener"))
    clients.enter(client.get_queue_receiver("orders"))
    with pytest.raises(ServiceBusAuthorizationError, match="'Send' claim"):
        clients.enter(client.get_queue_sender("orders"))


def test_manage_includes_the_other_rights(server, clients):
    client = clients.client(server, string=server.connection_string(key=MANAGER))
    clients.enter(client.get_queue_sender("orders"))
    clients.enter(client.get_queue_receiver("orders"))


def test_a_key_of_an_entity_is_good_for_it_and_what_is_below(server, clients):
    client = clients.client(server, string=server.connection_string("orders", key=OF_ORDERS))
    clients.enter(client.get_queue_sender("orders"))
    clients.enter(client.get_queue_receiver("orders", sub_queue="deadletter"))
    client = clients.client(server, string=server.connection_string(key=OF_EVENTS))
    clients.enter(client.get_subscription_receiver("events", "mine"))


@pytest.mark.parametrize("queue", ["orders2", "events"])
def test_a_key_of_an_entity_is_unknown_elsewhere(queue, server, clients):
    client = clients.client(server, string=server.connection_string(key=OF_ORDERS))
    with pytest.raises(ServiceBusAuthenticationError) as caught:
        clients.enter(client.get_queue_sender(queue))
    assert "InvalidSignature" in str(caught.value.inner_exception)


@pytest.mark.parametrize("key", [AccessKey("sender", "d3Jvbmc="), AccessKey("nobody", SENDER.key)])
def test_a_wrong_key_is_refused(key, server, clients):
    client = clients.client(server, string=server.connection_string(key=key))
    with pytest.raises(ServiceBusAuthenticationError) as caught:
        clients.enter(client.get_queue_sender("orders"))
    assert "InvalidSignature" in str(caught.value.inner_exception)


def test_a_connection_string_with_a_signature(server, clients):
    string = server.connection_string("orders", key=SENDER, signature_for=60)
    assert SENDER.key not in string
    client = clients.client(server, string=string)
    clients.enter(client.get_queue_sender("orders")).send_messages(ServiceBusMessage("x"))
    assert server.counts("orders").active == 1


@pytest.mark.parametrize(
    ("resource", "seconds", "reason"),
    [
        ("sb://127.0.0.1/orders2", 60, "InvalidAudience"),
        ("sb://127.0.0.1/order", 60, "InvalidAudience"),
        ("sb://elsewhere/orders", 60, "InvalidAudience"),
        ("sb://127.0.0.1/orders", -1, "ExpiredToken"),
    ],
)
def test_a_signature_for_another_resource_or_time_is_refused(resource, seconds, reason, server, clients):
    signature = sign(resource, SENDER, expires=time.time() + seconds)
    string = f"Endpoint=sb://127.0.0.1:{server.port}/;SharedAccessSignature={signature};UseDevelopmentEmulator=true"
    with pytest.raises(ServiceBusAuthenticationError) as caught:
        clients.enter(clients.client(server, string=string).get_queue_sender("orders"))
    assert reason in str(caught.value.inner_exception)


@pytest.mark.parametrize("resource", ["sb://127.0.0.1/", "http://127.0.0.1/Orders", "sb://127.0.0.1:1/orders"])
def test_a_signature_may_be_for_the_namespace_and_spelt_otherwise(resource, server, clients):
    signature = sign(resource, SENDER, expires=time.time() + 60)
    string = f"Endpoint=sb://127.0.0.1:{server.port}/;SharedAccessSignature={signature};UseDevelopmentEmulator=true"
    clients.enter(clients.client(server, string=string).get_queue_sender("orders"))


def test_links_end_with_their_token(server, clients):
    string = server.connection_string("orders", key=SENDER, signature_for=2)
    sender = clients.enter(clients.client(server, string=string).get_queue_sender("orders"))
    sender.send_messages(ServiceBusMessage("x"))
    server.wait_for_links("orders", 0)
    with pytest.raises((ServiceBusAuthenticationError, ServiceBusConnectionError)):
        sender.send_messages(ServiceBusMessage("x"))
    assert server.counts("orders").active == 1


class Credential:
    """What azure-identity would be: it hands out a token."""

    def __init__(self, token: str) -> None:
        self._token = token

    def get_token(self, *scopes: str, **options: object) -> AccessToken:
        return AccessToken(self._token, int(time.time()) + 3600)


def test_a_token_credential(start, clients, certificate):
    token = BearerToken("eyJ.known.token", ["Send"], entity="orders")
    server = start("orders", tokens=[token], tls=certificate.files)

    def open_sender(text: str) -> None:
        client = ServiceBusClient(
            "namespace.servicebus.windows.net",
            Credential(text),
            custom_endpoint_address=server.endpoint,
            retry_total=0,
            **certificate.options,
        )
        clients.enter(clients.keep(client).get_queue_sender("orders")).send_messages(ServiceBusMessage("x"))

    open_sender("eyJ.known.token")
    assert server.counts("orders").active == 1
    with pytest.raises(ServiceBusConnectionError) as caught:  # so the SDK has it with a custom endpoint
        open_sender("eyJ.unknown.token")
    assert "InvalidSignature" in str(caught.value.inner_exception)
    assert server.counts("orders").active == 1


def test_a_sas_credential_over_tls(start, clients, certificate):
    """The signature is for the namespace's real name, though the server is reached by another."""
    server = start("orders", keys=[SENDER], tls=certificate.files)
    host = "namespace.servicebus.windows.net"
    client = ServiceBusClient(
        host,
        AzureSasCredential(sign(f"sb://{host}/orders", SENDER, expires=time.time() + 60)),
        custom_endpoint_address=server.endpoint,
        retry_total=0,
        **certificate.options,
    )
    clients.enter(clients.keep(client).get_queue_sender("orders")).send_messages(ServiceBusMessage("x"))
    assert server.counts("orders").active == 1


def test_secrets_are_not_in_reprs():
    assert "c2VuZGVy" not in repr(SENDER)
    assert "eyJ" not in repr(BearerToken("eyJ.secret"))


def test_rights_have_names():
    with pytest.raises(ValueError, match="unknown rights"):
        AccessKey("k", "v", ["Read"])
