"""The clouds, on this machine: what each side of the order workflow needs to use one, with just the rights it needs.

    with azure_cloud() as cloud:
        settings = Settings.of(both_sides(cloud, stage_delay=0.1))

As a command, to rehearse without an account, a network or Docker, with tests/ on PYTHONPATH::

    python -m emulators.clouds azure --settings clouddirect-azure.toml
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

__all__ = ["CLOUDS", "Cloud", "aws_cloud", "azure_cloud", "both_sides", "gcp_cloud", "local_cloud", "to_toml"]

POLICIES = Path(__file__).resolve().parents[2] / "docs" / "policies"
CLIENT_GUID = "7a1f0c52-3d84-4c1b-9e55-0d3c6b2f8a10"

#: Google's cloud on this machine is one of its own: of the public one google-auth asks, at Google, where an account may
#: be used from (iamcredentials.googleapis.com, in the background), and nothing here is any of Google's business.
UNIVERSE = "rehearsal.test"

#: The queues, each with what the integrator does with it; the platform does the opposite.
QUEUES: Mapping[str, Literal["send", "receive"]] = {
    "orders": "send", "gradings": "send", "events": "receive", "results": "receive",
}  # fmt: skip
#: The stores, likewise.
STORES: Mapping[str, Literal["write", "read"]] = {"images": "write", "shared_images": "read"}


class Cloud(Protocol):
    """Makes queues and containers of any name, when first asked for, and credentials for one side of one of them."""

    def queue(self, name: str, side: Literal["send", "receive"]) -> dict[str, Any]:
        """Settings of an endpoint that may do nothing but send to, or receive from, the queue ``name``."""

    def dead_letters(self, name: str) -> dict[str, Any]:
        """What ``dead_letter_receive`` says of an endpoint, with the right to receive its dead letters and no other."""

    def store(self, name: str, side: Literal["write", "read"]) -> dict[str, Any]:
        """Settings of a store that may do nothing but write to, or read and list, the container ``name``."""


def both_sides(
    cloud: Cloud | Mapping[str, Cloud], *, stage_delay: float = 0.15, image_wait: float = 1.0, **more: Any
) -> dict[str, Any]:
    """Return the settings of an integrator and, as its sandbox, of the platform.

    ``cloud`` holds everything, or says for each queue and store which cloud holds it.
    """

    def where(name: str) -> Cloud:
        return cloud[name] if isinstance(cloud, Mapping) else cloud

    opposite = {"send": "receive", "receive": "send", "write": "read", "read": "write"}
    ours: dict[str, Any] = {"endpoints": {}, "stores": {}}
    theirs: dict[str, Any] = {"endpoints": {}, "stores": {}, "stage_delay": stage_delay, "image_wait": image_wait}
    for name, side in QUEUES.items():
        ours["endpoints"][name] = where(name).queue(name, side)
        theirs["endpoints"][name] = where(name).queue(name, opposite[side])  # type: ignore[arg-type]
    for name, access in STORES.items():
        ours["stores"][name] = where(name).store(name, access)
        theirs["stores"][name] = where(name).store(name, opposite[access])  # type: ignore[arg-type]
    return {"client_guid": CLIENT_GUID, "site": "DEMO", **ours, "sandbox": theirs, **more}


@contextmanager
def local_cloud() -> Iterator[Cloud]:
    """The embedded provider, as a cloud like the others."""
    with tempfile.TemporaryDirectory() as directory:
        yield _Local(Path(directory))


class _Local:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def queue(self, name: str, side: str) -> dict[str, Any]:
        path = str(self._directory / "queues.db")
        return {"provider": "local", "queue": name, "path": path, "create": True, "access": side}

    def dead_letters(self, name: str) -> dict[str, Any]:
        return {"path": str(self._directory / "queues.db"), "create": True, "access": "receive"}

    def store(self, name: str, side: str) -> dict[str, Any]:
        path, container = str(self._directory / "files"), name.replace("_", "-")
        return {"provider": "local", "container": container, "path": path, "create": True, "access": side}


@contextmanager
def azure_cloud() -> Iterator[Cloud]:
    """The project's own Service Bus server, with a key for each side of each queue, and Azurite, with SAS tokens."""
    from emulators.azurite import azurite
    from emulators.servicebus import ServiceBusServer

    with ServiceBusServer() as bus, azurite() as blobs:
        yield _Azure(bus, blobs)


class _Azure:
    def __init__(self, bus: Any, blobs: Any) -> None:
        self._bus = bus
        self._blobs = blobs
        self._made: set[str] = set()
        self._keys: dict[str, Any] = {}

    def queue(self, name: str, side: str) -> dict[str, Any]:
        return {"provider": "azure", "queue": name, "connection_string": self._connection_string(name, side)}

    def dead_letters(self, name: str) -> dict[str, Any]:
        return {"connection_string": self._connection_string(name, "receive")}

    def _connection_string(self, name: str, side: str) -> str:
        """Make the queue if need be, and a key for this side of it."""
        from emulators.servicebus import LISTEN, SEND, AccessKey

        key = f"{name}-{side}"
        if key not in self._keys:
            if self._keys.keys().isdisjoint({f"{name}-send", f"{name}-receive"}):  # adding it again would empty it
                self._bus.add_queue(name)
            rights = [SEND if side == "send" else LISTEN]
            self._keys[key] = self._bus.authority.keys[key] = AccessKey(key, uuid.uuid4().hex, rights, name)
        return str(self._bus.connection_string(name, key=key))

    def store(self, name: str, side: str) -> dict[str, Any]:
        from azure.storage.blob import ContainerClient, ContainerSasPermissions, generate_container_sas

        from emulators.azurite import ACCOUNT

        container = name.replace("_", "-")
        if container not in self._made:
            with ContainerClient.from_connection_string(self._blobs.connection_string(), container) as client:
                client.create_container()
            self._made.add(container)
        allowed = ContainerSasPermissions(write=True, create=True) if side == "write" else ContainerSasPermissions(
            read=True, list=True
        )  # fmt: skip
        sas = generate_container_sas(
            ACCOUNT, container, account_key=self._blobs.key, permission=allowed,
            expiry=datetime.now(UTC) + timedelta(days=7),
        )  # fmt: skip
        return {"provider": "azure", "container": container, "account_url": self._blobs.url(), "sas_token": sas}


@contextmanager
def aws_cloud() -> Iterator[Cloud]:
    """ministack with IAM enforced; users with the policies of the documentation."""
    from emulators.ministack import ministack

    with ministack(auth=True) as server:
        yield _Aws(server)


class _Aws:
    def __init__(self, server: Any) -> None:
        self._server = server
        self._urls: dict[str, str] = {}
        self._buckets: set[str] = set()

    def queue(self, name: str, side: str) -> dict[str, Any]:
        self._make_queue(name)
        return {"queue": self._urls[name], **self._reached(f"aws-sqs-{side}.json", lambda _: _arn(name))}

    def dead_letters(self, name: str) -> dict[str, Any]:
        found = self.queue(f"{name}-dead", "receive")
        del found["provider"]
        return found

    def _make_queue(self, name: str) -> None:
        """Make a queue, and the one to which SQS moves what was delivered ten times."""
        if name in self._urls:
            return
        attributes = {}
        if not name.endswith("-dead"):
            self._make_queue(f"{name}-dead")
            policy = {"deadLetterTargetArn": _arn(f"{name}-dead"), "maxReceiveCount": "10"}
            attributes["RedrivePolicy"] = json.dumps(policy)
        made = self._server.client("sqs").create_queue(QueueName=name, Attributes=attributes)
        self._urls[name] = made["QueueUrl"]

    def store(self, name: str, side: str) -> dict[str, Any]:
        bucket = name.replace("_", "-")
        if bucket not in self._buckets:
            self._server.client("s3").create_bucket(Bucket=bucket)
            self._buckets.add(bucket)
        reached = self._reached(f"aws-s3-{side}.json", lambda arn: arn.replace("acme-retina", bucket))
        return {"container": bucket, **reached}

    def _reached(self, policy: str, resource: Callable[[str], str]) -> dict[str, Any]:
        """How to reach the server with a key that may do what the documentation's policy says, of this resource."""
        from emulators.ministack import REGION

        text = json.loads((POLICIES / policy).read_text(encoding="utf-8"))
        for statement in text["Statement"]:
            statement["Resource"] = resource(statement["Resource"])
        key = self._server.key_with(json.dumps(text))
        return {
            "provider": "aws", "region": REGION, "endpoint_url": self._server.url, "access_key_id": key.id,
            "secret_access_key": key.secret,
        }  # fmt: skip


def _arn(queue: str) -> str:
    from emulators.ministack import ACCOUNT, REGION

    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"


@contextmanager
def gcp_cloud() -> Iterator[Cloud]:
    """The project's own Pub/Sub and Cloud Storage servers, with a service account for each side."""
    from emulators.gcs import GcsServer
    from emulators.pubsub import PubSubServer

    with (
        PubSubServer({}, tls=True) as pubsub,
        GcsServer({}) as gcs,
        tempfile.TemporaryDirectory() as directory,
    ):
        yield _Gcp(pubsub, gcs, Path(directory))


class _Gcp:
    def __init__(self, pubsub: Any, gcs: Any, directory: Path) -> None:
        self._project = "clinic-rehearsal"
        self._pubsub = pubsub
        self._gcs = gcs
        self._directory = directory
        ca_file = directory / "root.pem"
        ca_file.write_bytes(pubsub.root_certificates)
        self._reached = {
            "provider": "gcp", "project": self._project, "endpoint": pubsub.endpoint, "ca_file": str(ca_file),
            "universe_domain": UNIVERSE,
        }  # fmt: skip
        self._topics: set[str] = set()
        self._buckets: set[str] = set()

    def queue(self, name: str, side: str) -> dict[str, Any]:
        self._make_topic(name)
        kind, role = ("topics", "publisher") if side == "send" else ("subscriptions", "subscriber")
        counted = {"counted": True, "max_delivery_count": 10} if side == "receive" else {}
        return {**self._reached, "queue": name, **self._account(name, side, {self._full(kind, name): role}), **counted}

    def dead_letters(self, name: str) -> dict[str, Any]:
        self._make_topic(name)
        dead = f"{name}-dead"
        grants = {self._full("subscriptions", dead): "subscriber"}
        found = {**self._reached, "queue": dead, **self._account(dead, "receive", grants)}
        del found["provider"]
        return found

    def store(self, name: str, side: str) -> dict[str, Any]:
        bucket = name.replace("_", "-")
        if bucket not in self._buckets:
            self._gcs.add_bucket(bucket)
            self._buckets.add(bucket)
        path = self._directory / f"{bucket}-{side}.json"
        if not path.exists():
            allowed = {"create"} if side == "write" else {"get", "list"}
            key = self._gcs.service_account(self._email(bucket, side), allowed, bucket)
            path.write_text(json.dumps(key | {"universe_domain": UNIVERSE}))
        return {
            "provider": "gcp", "container": bucket, "endpoint": self._gcs.url, "universe_domain": UNIVERSE,
            "service_account_file": str(path),
        }  # fmt: skip

    def _make_topic(self, name: str) -> None:
        """Make a topic with a subscription of its name, and the same for what was delivered ten times."""
        if name in self._topics:
            return
        topic = self._pubsub.add_topic(self._full("topics", name))
        dead = self._pubsub.add_topic(f"{topic}-dead")
        self._pubsub.add_subscription(self._full("subscriptions", f"{name}-dead"), dead)
        self._pubsub.add_subscription(
            self._full("subscriptions", name), topic, dead_letter_topic=dead, max_delivery_attempts=10
        )
        self._topics.add(name)

    def _account(self, name: str, side: str, grants: Mapping[str, str]) -> dict[str, Any]:
        """Make a service account if need be, and say where its key is."""
        path = self._directory / f"{name}-{side}-queue.json"
        if not path.exists():
            key = self._pubsub.service_account(self._email(name, side), grants)
            path.write_text(json.dumps(key | {"universe_domain": UNIVERSE}))
        return {"service_account_file": str(path)}

    def _full(self, kind: str, name: str) -> str:
        return f"projects/{self._project}/{kind}/{name}"

    def _email(self, name: str, side: str) -> str:
        return f"{name.replace('_', '-')}-{side}@{self._project}.iam.gserviceaccount.com"


#: How to start each, by the provider's name.
CLOUDS: Mapping[str, Callable[[], Any]] = {
    "aws": aws_cloud, "azure": azure_cloud, "gcp": gcp_cloud, "local": local_cloud,
}  # fmt: skip


def to_toml(values: Mapping[str, Any], path: str = "") -> str:
    """Write settings as TOML: texts, numbers, truth values and lists of them, in tables of any depth."""
    plain = {name: value for name, value in values.items() if not isinstance(value, Mapping)}
    tables = {name: value for name, value in values.items() if isinstance(value, Mapping)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    text = "\n".join([f"[{path}]", *lines] if path and plain else lines)
    parts = [to_toml(value, f"{path}.{name}" if path else name) for name, value in tables.items()]
    return "\n\n".join(part for part in [text, *parts] if part)


def main() -> None:
    """Run one cloud until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("provider", choices=sorted(set(CLOUDS) - {"local"}))
    parser.add_argument("--settings", type=Path, help="where to write settings of both sides; clouddirect-NAME.toml")
    given = parser.parse_args()
    path = given.settings or Path(f"clouddirect-{given.provider}.toml")
    with ExitStack() as running:
        values = both_sides(running.enter_context(CLOUDS[given.provider]()))
        path.write_text(to_toml(values) + "\n", encoding="utf-8")
        print(f"{given.provider} runs on this machine until Ctrl-C; see orders go through with:", flush=True)
        print(f"    clouddirect --config {path} demo --provider {given.provider}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("ended")


if __name__ == "__main__":
    main()
