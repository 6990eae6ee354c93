"""The S3 store passes the storage suite, with IAM enforced: on ministack, which keeps the checksum of parts, and on a
small S3 of our own, which compares the checksum of the whole."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from clouddirect.conformance.storage import StorageConformance
from clouddirect.conformance.storage_harness import AT_ONCE, Fault
from clouddirect.errors import PermissionDeniedError
from clouddirect.storage import FileStore, StoreRuntime
from clouddirect_aws.store import AwsStore
from emulators.http_line import Damage, HttpLine
from emulators.ministack import ministack
from emulators.s3.server import S3Server
from unit.aws.s3_fixtures import (
    BUCKET,
    ROOT,
    fault_rule,
    is_download,
    load,
    options,
    policy,
    requests_since,
    users_with,
)

MIB = 1 << 20
Key = tuple[str, str]


class Service(NamedTuple):
    """A running server with the bucket, and the credentials for it."""

    port: int
    line: HttpLine
    root: Key
    writer: Key
    reader: Key
    role: str = ""


@pytest.fixture(scope="module")
def on_ministack() -> Iterator[Service]:
    with ministack(auth=True) as server, HttpLine(server.port) as line:
        server.client("s3").create_bucket(Bucket=BUCKET)
        everything = {"Effect": "Allow", "Action": ["s3:*", "sts:AssumeRole"], "Resource": "*"}
        anybody = server.key_with(json.dumps({"Version": "2012-10-17", "Statement": [everything]}))
        writer, reader = (server.key_with(policy(f"aws-s3-{side}")) for side in ("write", "read"))
        yield Service(server.port, line, anybody[:2], writer[:2], reader[:2], server.role_with(policy("aws-s3-write")))


@pytest.fixture(scope="module")
def on_our_own() -> Iterator[Service]:
    users = users_with(writer="aws-s3-write", reader="aws-s3-read")
    with S3Server(users, BUCKET) as server, HttpLine(server.port) as line:
        yield Service(server.port, line, ROOT, *((key, users[key].secret) for key in ("writer", "reader")))


class _Bucket(StorageConformance):
    complete = True

    service: Service

    def _begin(self, service: Service) -> None:
        self.service = service
        with self.make_store() as store:
            sdk: Any = store.native
            for one in store.list():
                sdk.delete_object(Bucket=BUCKET, Key=one.key)  # type: ignore[union-attr]
        self.seen = len(service.line.seen)

    def make_store(self, **runtime: Any) -> FileStore:
        return self._at(self.service.port, self.service.root, runtime)

    def write_only_store(self, **runtime: Any) -> FileStore:
        return self._at(self.service.line.port, self.service.writer, runtime)

    def read_only_store(self, **runtime: Any) -> FileStore:
        return self._at(self.service.line.port, self.service.reader, runtime)

    def store_with_missing_container(self) -> FileStore:
        return self._at(self.service.port, self.service.root, {}, container="no-such-bucket")

    def corrupt_stored(self, key: str) -> FileStore:
        line = self._line()
        line.rule = lambda request: Damage(500, of="response") if is_download(request) else None
        return self._at(line.port, self.service.root, {"retry": AT_ONCE})

    def corrupting_upload_store(self) -> FileStore:
        line = self._line()
        line.rule = lambda request: Damage(500) if request.method == "PUT" else None
        return self._at(line.port, self.service.root, {**self.small_parts(), "retry": AT_ONCE})

    def faulty_store(self, fault: Fault, **runtime: Any) -> FileStore:
        line = self._line(shared_rate=MIB if fault == "slow" else None)
        line.rule = fault_rule(fault)
        return self._at(line.port, self.service.root, runtime)

    def requests_seen(self) -> list[str]:
        place, self.seen = self.seen, len(self.service.line.seen)
        return requests_since(self.service.line, place)

    def opening_program(self) -> str:
        key, url = self.service.root, f"http://127.0.0.1:{self.service.port}"
        return (
            "from clouddirect_aws.store import AwsStore\n"
            "from clouddirect_aws.store_options import AwsStoreOptions\n"
            f"store = AwsStore(AwsStoreOptions(container={BUCKET!r}, region='us-east-1', endpoint_url={url!r}, "
            f"access_key_id={key[0]!r}, secret_access_key={key[1]!r}))"
        )

    def secrets(self) -> list[str]:
        return [key[1] for key in (self.service.root, self.service.writer, self.service.reader)]

    def _line(self, **pace: Any) -> HttpLine:
        return self._opened.enter_context(HttpLine(self.service.port, **pace))

    def _at(self, port: int, key: Key, runtime: dict[str, Any], **more: Any) -> FileStore:
        return AwsStore(options(f"http://127.0.0.1:{port}", key, **more), StoreRuntime(**runtime))


class TestAwsStorage(_Bucket):
    @pytest.fixture(autouse=True)
    def _service(self, on_ministack: Service) -> None:
        self._begin(on_ministack)


class TestAwsStorageOfWholeChecksums(_Bucket):
    slow_size = 5 * MIB  # a slow line differs in nothing from the one to ministack, which carries more

    @pytest.fixture(autouse=True)
    def _service(self, on_our_own: Service) -> None:
        self._begin(on_our_own)


def test_the_lifecycle_rule_is_accepted(on_ministack: Service) -> None:
    """The documentation's rule for abandoned uploads is one that the service takes."""
    with AwsStore(options(f"http://127.0.0.1:{on_ministack.port}", on_ministack.root)) as store:
        sdk: Any = store.native
        sdk.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=load("aws-s3-lifecycle"))
        (rule,) = sdk.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}


def test_a_role_is_assumed(on_ministack: Service) -> None:
    """With a role's temporary credential its policy holds, not that of the key it was assumed with, and no secret
    shows."""
    url = f"http://127.0.0.1:{on_ministack.port}"
    role = {"role_arn": on_ministack.role, "sts_endpoint_url": url}
    with AwsStore(options(url, on_ministack.root, **role)) as store:
        store.put("by-role", b"content", if_absent=True)
        with pytest.raises(PermissionDeniedError) as denied:
            store.get("by-role")
        sdk: Any = store.native
        temporary = sdk._request_signer._credentials.get_frozen_credentials()
    shown = "".join(traceback.format_exception(denied.value))
    assert not [secret for secret in (temporary.secret_key, temporary.token) if secret in shown]
