"""Options: connection strings in all their forms, names of queues, and secrets that show nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from clouddirect.errors import ConfigurationError, UnsupportedError
from clouddirect.messaging import Message
from clouddirect.plugins import open_broker
from clouddirect_azure.broker import AzureBroker
from clouddirect_azure.broker_options import AzureBrokerOptions, parse_connection_string
from clouddirect_azure.bus_names import entity_of

NAMESPACE = "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0LWtleQ=="
SIGNATURE = "SharedAccessSignature sr=sb%3A%2F%2Facme%2F&sig=c2ln%3D&se=1900000000&skn=send"


def test_a_namespace_wide_connection_string() -> None:
    address = parse_connection_string(NAMESPACE)
    assert (address.host, address.entity, address.key_name) == ("acme.servicebus.windows.net", None, "send")
    assert address.key == "c2VjcmV0LWtleQ=="
    assert not address.emulator


def test_an_entity_scoped_connection_string_in_any_case_and_order() -> None:
    text = " ;entitypath=orders;;sharedaccesskey=a=b== ;SHAREDACCESSKEYNAME=send;endpoint=sb://acme.example;\n"
    address = parse_connection_string(text)
    assert (address.host, address.entity, address.key_name, address.key) == ("acme.example", "orders", "send", "a=b==")


def test_a_signature_in_a_connection_string() -> None:
    address = parse_connection_string(f"Endpoint=sb://acme.example/;SharedAccessSignature={SIGNATURE}")
    assert address.signature == SIGNATURE
    assert address.key is None


def test_an_emulator_with_a_port() -> None:
    address = parse_connection_string(
        "Endpoint=sb://localhost:5672;SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true"
    )
    assert (address.host, address.emulator) == ("localhost:5672", True)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "is empty"),
        (" ; ", "is empty"),
        ("AccountName=acme;AccountKey=c2VjcmV0LWtleQ==;EndpointSuffix=core.windows.net", "storage account"),
        ("c2VjcmV0LWtleQ==", "part 1"),
        ("SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0LWtleQ==", "the address"),
        ("Endpoint=acme;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0LWtleQ==", "the address"),
        ("Endpoint=sb://[acme/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0LWtleQ==", "the address"),
        ("Endpoint=sb://acme:port/;SharedAccessKeyName=send;SharedAccessKey=c2VjcmV0LWtleQ==", "the address"),
        ("Endpoint=sb://me:c2VjcmV0LWtleQ==@acme/;SharedAccessKeyName=send;SharedAccessKey=a", "the address"),
        ("Endpoint=sb://acme/;SharedAccessKey=c2VjcmV0LWtleQ==", "the name of the key"),
        ("Endpoint=sb://acme/;SharedAccessKeyName=send", "the key is missing"),
        ("Endpoint=sb://acme/", "neither a key nor a signature"),
        ("Endpoint=sb://acme/;SharedAccessSignature=sr=a&sig=c2VjcmV0LWtleQ==", "signature is not whole"),
        (f"{NAMESPACE};SharedAccessSignature={SIGNATURE}", "both a key and a signature"),
        (f"{NAMESPACE};Password=c2VjcmV0LWtleQ==", "part 4"),
    ],
)
def test_a_wrong_connection_string_is_refused_by_name_of_the_part(text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match="connection_string") as caught:
        open_broker("azure", connection_string=text)
    assert named in str(caught.value)
    assert "c2VjcmV0LWtleQ" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "fully_qualified_namespace is missing"),
        ({"connection_string": NAMESPACE, "key_name": "a", "key": "c2VjcmV0LWtleQ=="}, "leave out"),
        ({"fully_qualified_namespace": "acme.example", "key_name": "a"}, "belong together"),
        ({"fully_qualified_namespace": "acme.example", "key_name": "a", "key": "b", "sas_token": SIGNATURE}, "either"),
        ({"fully_qualified_namespace": "acme.example", "sas_token": "sig=c2VjcmV0LWtleQ=="}, "sas_token"),
        ({"fully_qualified_namespace": "https://acme/x?y"}, "host name"),
        ({"connection_string": NAMESPACE, "proxy": "socks5://c2VjcmV0LWtleQ==@host:1"}, "http://host:port"),
        ({"connection_string": NAMESPACE, "proxy": "http://nowhere"}, "http://host:port"),
        ({"connection_string": NAMESPACE, "endpoint": "https://gateway"}, "host:port"),
        ({"connection_string": NAMESPACE, "transport": "http"}, "transport"),
        ({"connection_string": NAMESPACE, "conection": "x"}, "unknown option 'conection'"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(options: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_broker("azure", **options)
    assert named in str(caught.value)
    assert "c2VjcmV0LWtleQ" not in str(caught.value)


def test_namespace_forms_are_understood() -> None:
    for text in ("acme.example", "sb://acme.example/", "https://acme.example:443"):
        options = AzureBrokerOptions(fully_qualified_namespace=text, sas_token=SIGNATURE)
        assert options.address.host in ("acme.example", "acme.example:443")
        assert options.address.signature == SIGNATURE


def test_secrets_show_in_no_repr() -> None:
    options = AzureBrokerOptions(connection_string=NAMESPACE, proxy="http://user:c2VjcmV0LWtleQ==@host:8080")
    shown = [repr(options), str(options), repr(options.address), repr(AzureBroker(options)), options.model_dump_json()]
    assert all("c2VjcmV0LWtleQ" not in text for text in shown)
    with pytest.raises(ValidationError) as caught:
        AzureBrokerOptions(connection_string="Endpoint=sb://a;SharedAccessKey=c2VjcmV0LWtleQ==")
    assert "c2VjcmV0LWtleQ" not in str(caught.value)


def test_a_missing_or_broken_ca_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for path in (tmp_path / "missing.pem", broken):
        with pytest.raises(ConfigurationError, match="ca_file"):
            open_broker("azure", connection_string=NAMESPACE, ca_file=path)


def test_another_queue_than_the_entity_path_is_refused_before_connecting() -> None:
    with AzureBroker(AzureBrokerOptions(connection_string=NAMESPACE + ";EntityPath=orders")) as broker:
        with pytest.raises(ConfigurationError, match="'orders' only"):
            broker.send("results", Message(body=b"x"))
        with pytest.raises(ConfigurationError, match="EntityPath"):
            broker.receive("results/sub")


def test_patterns_say_which_queues_use_sessions() -> None:
    options = AzureBrokerOptions(connection_string=NAMESPACE, sessions=("orders", "events/*"))
    assert [options.uses_sessions(name) for name in ("orders", "events/a", "events", "results")] == [
        True, True, False, False,
    ]  # fmt: skip
    broker = AzureBroker(options)
    assert broker.capabilities("orders").ordering
    assert not broker.capabilities("orders/$DeadLetterQueue").ordering
    assert not broker.capabilities("results").ordering
    assert AzureBrokerOptions(connection_string=NAMESPACE, sessions=True).uses_sessions("any")


def test_patterns_may_come_as_one_text() -> None:
    """As from the environment, which has no lists."""
    for text, expected in {"orders": (True, False), "orders, events/*": (True, True), "true": (True, True),
                           "False": (False, False), "": (False, False)}.items():  # fmt: skip
        options = AzureBrokerOptions(connection_string=NAMESPACE, sessions=text, deduplication=text)  # type: ignore[arg-type]
        assert (options.uses_sessions("orders"), options.uses_sessions("events/a")) == expected
        assert (options.deduplicates("orders"), options.deduplicates("events/a")) == expected


@pytest.mark.parametrize(
    ("queue", "name", "subscription", "dead"),
    [
        ("orders", "orders", None, None),
        ("events/mine", "events", "mine", None),
        ("events/Subscriptions/mine", "events", "mine", None),
        ("a/b/mine", "a/b", "mine", None),
        ("orders/$deadletterqueue", "orders", None, "deadletter"),
        ("events/mine/$DeadLetterQueue", "events", "mine", "deadletter"),
        ("orders/$Transfer/$DeadLetterQueue", "orders", None, "transferdeadletter"),
    ],
)
def test_what_a_name_stands_for_when_receiving(queue: str, name: str, subscription: str | None, dead: str) -> None:
    entity = entity_of(queue, receiving=True, subscriptions=True)
    assert (entity.name, entity.subscription) == (name, subscription)
    assert entity.sub_queue == dead


def test_queues_with_slashes_in_their_names() -> None:
    assert entity_of("a/b", receiving=True, subscriptions=False).name == "a/b"
    assert entity_of("a/b", receiving=False, subscriptions=True).name == "a/b"
    assert entity_of("a/Subscriptions/b", receiving=True, subscriptions=False).subscription == "b"


def test_what_cannot_be_sent_to_is_refused() -> None:
    for queue in ("orders/$DeadLetterQueue", "events/Subscriptions/mine"):
        with pytest.raises(UnsupportedError):
            entity_of(queue, receiving=False, subscriptions=True)
    for queue in ("", "/", "a//b", "a/"):
        with pytest.raises(ConfigurationError, match="empty part"):
            entity_of(queue, receiving=True, subscriptions=True)


def test_opening_does_no_io() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    broker = AzureBroker(AzureBrokerOptions(connection_string="Endpoint=sb://no.such.host/;SharedAccessKeyName=a;"
                                            "SharedAccessKey=b"))  # fmt: skip
    assert not before or len(os.listdir("/proc/self/fd")) == before
    broker.close()
