"""Options of the Service Bus broker, and what a connection string says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

__all__ = ["AzureBrokerOptions", "BusAddress", "parse_connection_string"]

#: The parts of a connection string, by their names in lower case.
_PARTS = {
    "endpoint": "Endpoint",
    "entitypath": "EntityPath",
    "sharedaccesskey": "SharedAccessKey",
    "sharedaccesskeyname": "SharedAccessKeyName",
    "sharedaccesssignature": "SharedAccessSignature",
    "usedevelopmentemulator": "UseDevelopmentEmulator",
}
#: Texts that mean true or false, not the name of a queue.
_TRUTH = {"0", "1", "false", "no", "off", "on", "true", "yes"}
#: Parts that only the connection strings of storage accounts have.
_STORAGE_PARTS = {"accountkey", "accountname", "blobendpoint", "defaultendpointsprotocol", "endpointsuffix"}


@dataclass(frozen=True, slots=True)
class BusAddress:
    """What a connection string says.

    Attributes:
        host: the namespace's host name, with a port where one was given.
        entity: the one queue or topic that the credential is for (``EntityPath``), or None.
        key_name: name of the access policy, or None.
        key: the policy's key, or None.
        signature: a ready-made shared access signature, or None.
        emulator: an emulator without TLS (``UseDevelopmentEmulator=true``).
    """

    host: str
    entity: str | None = None
    key_name: str | None = None
    key: str | None = field(default=None, repr=False)
    signature: str | None = field(default=None, repr=False)
    emulator: bool = False


def parse_connection_string(text: str) -> BusAddress:
    """Take a Service Bus connection string apart; part names are understood in any case.

    Raises:
        ValueError: names the part that is missing or wrong, never its value.
    """
    # core shows no text that holds a piece of the value, so these do not repeat the names that are in it
    parts: dict[str, str] = {}
    given = [part for part in text.split(";") if part.strip()]
    if not given:
        raise ValueError("it is empty")
    for number, part in enumerate(given, 1):
        name, separator, value = part.partition("=")
        known = _PARTS.get(name.strip().lower())
        if name.strip().lower() in _STORAGE_PARTS:
            raise ValueError("it is the one of a storage account, not of a Service Bus namespace")
        if not separator or known is None:
            raise ValueError(f"part {number} (between semicolons) is not one that Service Bus knows")
        parts[known] = value.strip()
    host = _host_in(parts.get("Endpoint", ""))
    if host is None:
        raise ValueError("the address, sb:// and the host name of the namespace, is missing or malformed")
    key_name, key = parts.get("SharedAccessKeyName"), parts.get("SharedAccessKey")
    signature = parts.get("SharedAccessSignature")
    if key and not key_name:
        raise ValueError("the name of the key is missing")
    if key_name and not key:
        raise ValueError("the key is missing")
    if key and signature:
        raise ValueError("it has both a key and a signature; one of them is enough")
    if not key and not signature:
        raise ValueError("it has neither a key nor a signature")
    if signature:
        _check_signature(signature)
    return BusAddress(
        host=host,
        entity=parts.get("EntityPath") or None,
        key_name=key_name or None,
        key=key or None,
        signature=signature or None,
        emulator=parts.get("UseDevelopmentEmulator", "").lower() == "true",
    )


class AzureBrokerOptions(BaseModel):
    """How to reach a Service Bus namespace. Give a ``connection_string``, or ``fully_qualified_namespace``.

    With ``fully_qualified_namespace`` the credential is ``sas_token``, or ``key_name`` and ``key``; with neither it is
    Microsoft Entra ID by ``DefaultAzureCredential`` (environment, workload or managed identity, ``az login``).

    Attributes:
        connection_string: as the Azure portal shows it or IRIS support sends it; of a namespace, or of one queue or
            topic (``EntityPath``); with a key or with a shared access signature.
        fully_qualified_namespace: ``<name>.servicebus.windows.net``.
        sas_token: a ready-made token, ``SharedAccessSignature sr=…&sig=…&se=…&skn=…``.
        key_name: name of a shared access policy.
        key: the policy's key.
        transport: ``amqp`` (port 5671), or ``websocket`` (port 443), which most firewalls let through.
        proxy: HTTP proxy to connect through, ``http://user:password@host:port``; makes the transport ``websocket``.
        endpoint: ``host:port`` to connect to in place of the namespace's own: a private endpoint or a gateway. The
            server's certificate must be valid for this host.
        ca_file: PEM file with the certificates to trust, in place of the public ones.
        sessions: which queues and subscriptions use sessions, which carry ordering keys: all (true), none, or those
            whose names match one of these patterns (``orders``, ``events/*``). Message sessions are switched on when a
            queue is made, and its senders and receivers must know.
        deduplication: which queues and topics detect duplicates, in the same way; informs `Capabilities` only.
        subscriptions: whether ``a/b`` names subscription ``b`` of topic ``a`` when receiving. Set it to false for
            queues with slashes in their names; ``a/Subscriptions/b`` is always a subscription.
        max_message_bytes: largest message until the first connection has told; 256 KiB as in the Standard tier.
        senders: most links that send to one queue at the same time; each has a connection and a thread.
        receivers: most links that receive from one queue at the same time.
        max_sessions: most sessions of one queue held at the same time.
        lock_duration: seconds that the queue locks a message for. None reads it from each message, which needs a
            clock that is right to a few seconds; set it where the machine's clock cannot be trusted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    connection_string: SecretStr | None = None
    fully_qualified_namespace: str | None = None
    sas_token: SecretStr | None = None
    key_name: str | None = None
    key: SecretStr | None = None
    transport: Literal["amqp", "websocket"] = "amqp"
    proxy: SecretStr | None = None
    endpoint: str | None = None
    ca_file: Path | None = None
    sessions: bool | tuple[str, ...] = False
    deduplication: bool | tuple[str, ...] = False
    subscriptions: bool = True
    max_message_bytes: Annotated[int, Field(ge=1024, le=100 * 1024 * 1024)] = 256 * 1024
    senders: Annotated[int, Field(ge=1, le=32)] = 2
    receivers: Annotated[int, Field(ge=1, le=32)] = 4
    max_sessions: Annotated[int, Field(ge=1, le=256)] = 32
    lock_duration: Annotated[float, Field(ge=1, le=300)] | None = None

    @field_validator("sessions", "deduplication", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        """Names and patterns may come as one text, parted by commas: the environment has no lists."""
        if isinstance(value, str) and value.strip().lower() not in _TRUTH:
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("connection_string")
    @classmethod
    def _well_formed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_connection_string(value.get_secret_value())
        return value

    @field_validator("fully_qualified_namespace")
    @classmethod
    def _host_name(cls, value: str | None) -> str | None:
        if value is None:
            return None
        host = value.strip().removeprefix("sb://").removeprefix("https://").rstrip("/")
        if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?", host):
            raise ValueError("must be a host name such as <name>.servicebus.windows.net")
        return host

    @field_validator("sas_token")
    @classmethod
    def _whole_token(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _check_signature(value.get_secret_value())
        return value

    @field_validator("proxy")
    @classmethod
    def _proxy_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
                usable = parts.scheme == "http" and parts.hostname and parts.port
            except ValueError:
                usable = False
            if not usable:
                raise ValueError("must be http://host:port, with user:password@ before the host where needed")
        return value

    @field_validator("endpoint")
    @classmethod
    def _endpoint_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(?:sb://)?[A-Za-z0-9.-]+:\d+/?", value):
            raise ValueError("must be host:port")
        return None if value is None else value.removeprefix("sb://").rstrip("/")

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        others = self.fully_qualified_namespace, self.sas_token, self.key_name, self.key
        if self.connection_string is not None and any(others):
            raise ValueError(
                "connection_string already says the namespace and the credential: leave out "
                "fully_qualified_namespace, sas_token, key_name and key"
            )
        if self.connection_string is None and self.fully_qualified_namespace is None:
            raise ValueError("connection_string or fully_qualified_namespace is missing")
        if bool(self.key_name) != bool(self.key):
            raise ValueError("key_name and key belong together; one of them is missing")
        if self.key and self.sas_token:
            raise ValueError("give either sas_token, or key_name and key")
        return self

    @property
    def address(self) -> BusAddress:
        """Where the namespace is and with which credential; neither key nor signature means Entra ID."""
        if self.connection_string is not None:
            return parse_connection_string(self.connection_string.get_secret_value())
        return BusAddress(
            host=self.fully_qualified_namespace or "",
            key_name=self.key_name,
            key=None if self.key is None else self.key.get_secret_value(),
            signature=None if self.sas_token is None else self.sas_token.get_secret_value(),
        )

    def uses_sessions(self, entity: str) -> bool:
        """Whether the queue, topic or subscription of this name uses sessions."""
        return _matches(self.sessions, entity)

    def deduplicates(self, entity: str) -> bool:
        """Whether the queue or topic of this name drops a repeated message id."""
        return _matches(self.deduplication, entity)


def _host_in(endpoint: str) -> str | None:
    try:
        netloc = urlsplit(endpoint).netloc
    except ValueError:
        return None
    return netloc if re.fullmatch(r"[A-Za-z0-9._-]+(:\d+)?", netloc) else None


def _check_signature(text: str) -> None:
    if not text.startswith("SharedAccessSignature ") or any(f"{part}=" not in text for part in ("sr", "sig", "&se")):
        raise ValueError("the signature is not whole: it begins with its kind and has the fields sr, sig, se and skn")


def _matches(patterns: bool | tuple[str, ...], name: str) -> bool:
    if isinstance(patterns, bool):
        return patterns
    return any(fnmatchcase(name, pattern) for pattern in patterns)
