"""Options of the Azure store: what is asked for, what is refused, and that no secret shows."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clouddirect.errors import ConfigurationError
from clouddirect_azure.blob_account import Account, sas_expiry
from clouddirect_azure.store_options import AzureStoreOptions

_KEY = "c2VjcmV0LWtleS1vZi10aGUtYWNjb3VudA=="
_SAS = "sv=2021-12-02&se=2030-01-02T03%3A04%3A05Z&sr=c&sp=wc&sig=c2lnbmF0dXJlLXNlY3JldA%3D%3D"
_URL = "https://acme.blob.core.windows.net"


def options(**given: Any) -> AzureStoreOptions:
    return AzureStoreOptions(**{"container": "images", **given})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"account_url": _URL, "sas_token": "?" + _SAS}, Account(_URL, "acme", sas=_SAS)),
        ({"account_url": _URL + "/", "account_key": _KEY}, Account(_URL, "acme", key=_KEY)),
        ({"account_url": _URL}, Account(_URL, "acme")),
        ({"account_url": "https://blobs.acme.example", "account_key": _KEY, "account_name": "acme"},
         Account("https://blobs.acme.example", "acme", key=_KEY)),
        ({"account_url": "https://gateway.example/azure/acme", "sas_token": _SAS},
         Account("https://gateway.example/azure/acme", None, sas=_SAS)),
        ({"account_url": _URL, "account_key": f" {_KEY}\n"}, Account(_URL, "acme", key=_KEY)),
        ({"account_url": "http://127.0.0.1:10000/dev", "account_key": _KEY},
         Account("http://127.0.0.1:10000/dev", "dev", key=_KEY)),
        ({"connection_string": f"BlobEndpoint={_URL}/;QueueEndpoint=https://x;SharedAccessSignature={_SAS}"},
         Account(_URL, "acme", sas=_SAS)),
        ({"connection_string": f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={_KEY};"
                               "EndpointSuffix=core.usgovcloudapi.net"},
         Account("https://acme.blob.core.usgovcloudapi.net", "acme", key=_KEY)),
        ({"connection_string": f" accountname=acme ; accountkey={_KEY} ;"}, Account(_URL, "acme", key=_KEY)),
    ],
)  # fmt: skip
def test_account(given: dict[str, Any], expected: Account) -> None:
    """Each form of credential leads to the account's URL, name and secret."""
    assert Account.of(options(**given)) == expected


def test_development_storage() -> None:
    """``UseDevelopmentStorage=true`` is the emulator on its own port, with the account that everybody knows."""
    found = Account.of(options(connection_string="UseDevelopmentStorage=true"))
    assert (found.url, found.name) == ("http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "connection_string or account_url"),
        ({"account_url": _URL, "connection_string": "UseDevelopmentStorage=true"}, "only one of them"),
        ({"connection_string": "UseDevelopmentStorage=true", "sas_token": _SAS}, "sas_token goes with account_url"),
        ({"account_url": _URL, "sas_token": _SAS, "account_key": _KEY}, "not both"),
        ({"account_url": _URL, "account_name": "acme"}, "only with account_key"),
        ({"account_url": f"{_URL}/images?{_SAS}"}, "sas_token"),
        ({"account_url": "acme"}, "must be a URL"),
        ({"account_url": _URL, "sas_token": _KEY}, "SAS URL behind"),
        ({"account_url": _URL, "sas_token": f"{_URL}/images?{_SAS}"}, "SAS URL behind"),
        ({"account_url": _URL, "container": "Images"}, "container"),
        ({"account_url": _URL, "container": "a--b"}, "container"),
        ({"account_url": _URL, "container": "a" * 64}, "container"),
        ({"account_url": _URL, "proxy": "proxy.example:3128"}, "proxy"),
        ({"account_url": _URL, "proxy": "http://proxy.example:port"}, "proxy"),
        ({"account_url": _URL + ":99999"}, "must be a URL"),
        ({"account_url": _URL, "ca_file": Path("ca.pem"), "verify_tls": False}, "ca_file"),
        ({"account_url": _URL, "acount_key": _KEY}, "acount_key"),
    ],
)
def test_refused_options(given: dict[str, Any], says: str) -> None:
    """What does not fit together is refused, naming the option, without its value."""
    with pytest.raises(ValidationError) as refused:
        options(**given)
    shown = "".join(traceback.format_exception(refused.value))
    assert says in shown
    assert _KEY not in shown
    assert "c2lnbmF0dXJlLXNlY3JldA" not in shown


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"connection_string": f"AccountKey={_KEY}"}, "names no account"),
        ({"connection_string": f"BlobEndpoint={_URL}"}, "no credential"),
        ({"connection_string": f"AccountName=acme;{_KEY[:-2]}"}, "malformed"),
        ({"connection_string": f"BlobEndpoint=acme;SharedAccessSignature={_SAS}"}, "BlobEndpoint"),
        ({"connection_string": f"BlobEndpoint=https://[acme;SharedAccessSignature={_SAS}"}, "BlobEndpoint"),
        ({"connection_string": f"BlobEndpoint=https://acme:port;SharedAccessSignature={_SAS}"}, "BlobEndpoint"),
        (
            {"connection_string": f"BlobEndpoint=https://user:{_KEY[:-2]}@acme;SharedAccessSignature={_SAS}"},
            "BlobEndpoint",
        ),
        ({"connection_string": "AccountName=acme;AccountKey=no base64 at all"}, "base64"),
        ({"account_url": "https://blobs.acme.example", "account_key": _KEY}, "account_name"),
        ({"account_url": "http://acme.blob.core.windows.net"}, "https only"),
        ({"account_url": f"{_URL}/images", "sas_token": _SAS}, "account_url: "),
        ({"account_url": f"{_URL}/other", "sas_token": _SAS}, "account_url: "),
        ({"account_url": "https://blobs.acme.example/images", "sas_token": _SAS}, "account_url: "),
        ({"account_url": "http://127.0.0.1:10000/dev/images", "sas_token": _SAS}, "account_url: "),
        ({"connection_string": f"BlobEndpoint={_URL}/images;SharedAccessSignature={_SAS}"}, "BlobEndpoint: "),
    ],
)
def test_malformed_credentials(given: dict[str, Any], says: str) -> None:
    """What is malformed inside of a secret is told without quoting it."""
    with pytest.raises(ConfigurationError) as refused:
        Account.of(options(**given))
    assert says in str(refused.value)
    shown = "".join(traceback.format_exception(refused.value))
    assert not any(secret in shown for secret in (_KEY[:-2], "c2lnbmF0dXJlLXNlY3JldA", "no base64 at all"))


def test_no_secret_in_a_repr() -> None:
    """Neither the options nor the account show their secrets."""
    for given in ({"sas_token": _SAS}, {"account_key": _KEY}):
        made = options(account_url=_URL, proxy="http://user:hidden@proxy:3128", **given)
        shown = f"{made!r} {made} {Account.of(made)!r}"
        assert not any(secret in shown for secret in (_KEY, "c2lnbmF0dXJl", "hidden"))


def test_containers_that_azure_makes_itself() -> None:
    """The root container, and those for web pages and logs, have names that nobody else can give."""
    for name in ("$root", "$web", "$logs", "abc", "a-b-c", "a" * 63):
        assert options(container=name, account_url=_URL).container == name


def test_sas_expiry() -> None:
    """The end of a SAS is read from it; a stored access policy may hold it instead."""
    assert sas_expiry(_SAS) == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert sas_expiry("se=2030-01-02&sig=x") == datetime(2030, 1, 2, tzinfo=UTC)
    assert sas_expiry("si=policy&sig=x") is None
    assert sas_expiry("se=never&sig=x") is None
