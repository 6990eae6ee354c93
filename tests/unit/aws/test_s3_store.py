"""The S3 store's options, addresses, signed URLs, listings and checks."""

from __future__ import annotations

import importlib.util
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from clouddirect.conformance.storage_harness import content
from clouddirect.errors import ChangedError, ConfigurationError, UnsupportedError
from clouddirect.storage import StoredFile, StoredPrefix, StoreRuntime
from clouddirect_aws.store import AwsStore
from clouddirect_aws.store_options import AwsStoreOptions
from emulators.http_line import Fault, Reply, Request
from unit.aws.s3_fixtures import BUCKET, MIB, POLICIES, ROOT, Rig, is_download, load, options, policy

ON_AWS = {"container": BUCKET, "region": "eu-central-1", "access_key_id": ROOT[0], "secret_access_key": ROOT[1]}


@pytest.mark.parametrize(
    ("more", "host", "path"),
    [
        ({}, f"{BUCKET}.s3.eu-central-1.amazonaws.com", "/key"),
        ({"addressing": "path"}, "s3.eu-central-1.amazonaws.com", f"/{BUCKET}/key"),
        ({"endpoint_url": "https://s3.example.org"}, "s3.example.org", f"/{BUCKET}/key"),
        ({"endpoint_url": "https://s3.example.org", "addressing": "virtual"}, f"{BUCKET}.s3.example.org", "/key"),
        (
            {"endpoint_url": "https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com"},
            f"{BUCKET}.bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com",
            "/key",
        ),
    ],
)
def test_addresses(more: dict[str, str], host: str, path: str) -> None:
    """The bucket is in the host's name on AWS and in the path elsewhere, unless the options say otherwise."""
    with AwsStore(AwsStoreOptions(**{**ON_AWS, **more})) as store:
        url = urlsplit(store.presign("key").url)
        assert (url.scheme, url.hostname, url.path) == ("https", host, path)


def test_the_region_comes_from_the_options_or_the_environment(s3: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of one's own needs none; where the environment names one, it is signed for, unless the options do."""
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    for environment, option, expected in (
        (None, None, "us-east-1"), ("eu-west-3", None, "eu-west-3"), ("eu-west-3", "sa-east-1", "sa-east-1"),
    ):  # fmt: skip
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
        if environment is not None:
            monkeypatch.setenv("AWS_DEFAULT_REGION", environment)
        s3.store(region=option).put("key", b"content")
        assert f"/{expected}/s3/" in s3.line.seen[-1].headers["authorization"]


def test_an_endpoint_of_the_environment_is_one_as_of_the_options(s3: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that AWS_ENDPOINT_URL names has the bucket in the path, too, and is sent signed bodies over HTTP."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.line.url.replace("127.0.0.1", "localhost"))
    store = s3.store(endpoint_url=None)
    store.put("key", b"content")
    assert store.presign("key").url.startswith(f"http://localhost:{s3.line.port}/{BUCKET}/key?")
    assert len(s3.line.seen[-1].headers["x-amz-content-sha256"]) == 64


def test_signed_urls_are_of_version_4_and_a_week_at_most() -> None:
    """Seven days are what S3 honours; seconds are whole, rounded up."""
    with AwsStore(AwsStoreOptions(**ON_AWS)) as store:
        query = parse_qs(urlsplit(store.presign("key", expires=10.2).url).query)
        assert (query["X-Amz-Algorithm"], query["X-Amz-Expires"]) == (["AWS4-HMAC-SHA256"], ["11"])
        store.presign("key", expires=7 * 24 * 3600)
        with pytest.raises(ConfigurationError):
            store.presign("key", expires=7 * 24 * 3600 + 1)


def test_signed_urls_write_as_the_options_say(s3: Rig) -> None:
    """A URL for writing is signed together with storage class and key; the headers that it needs are told."""
    signed = s3.store(storage_class="STANDARD_IA", kms_key_id="key-1").presign("by-url", method="PUT")
    assert signed.headers["x-amz-storage-class"] == "STANDARD_IA"
    request = urllib.request.Request(signed.url, data=b"content", method="PUT", headers=dict(signed.headers))
    urllib.request.urlopen(request, timeout=30).close()
    assert s3.objects["by-url"].headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"


def test_options_are_checked() -> None:
    """Unknown options, and values that no service knows, are refused; secrets show in no repr."""
    for wrong in ({"checksum": "maybe"}, {"addressing": "other"}, {"storage_class": "x y"}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            AwsStoreOptions(**{**ON_AWS, **wrong})
    assert ROOT[1] not in repr(AwsStoreOptions(**ON_AWS))


def test_a_bucket_name_that_cannot_be_is_a_configuration_error(s3: Rig) -> None:
    """The SDK refuses it before anything is sent."""
    with pytest.raises(ConfigurationError):
        s3.store(container="no/bucket").get("key")
    assert not s3.line.seen


def test_requests_ask_for_no_more_than_the_pool_holds(s3: Rig) -> None:
    """A transfer with more parts at once than the pool's size gets a pool as large as it needs."""
    store = s3.store(runtime={"concurrency": 20}, pool_size=1)
    assert store.native.meta.config.max_pool_connections == 21  # type: ignore[attr-defined]


def test_the_crt_client_is_never_chosen(s3: Rig, tmp_path: Path) -> None:
    """awscrt is installed, for its checksums; requests are botocore's nevertheless, and go to the endpoint given."""
    assert importlib.util.find_spec("awscrt") is not None
    store = s3.store()
    store.put("large", content(20 * MIB))
    store.download("large", tmp_path / "large")
    assert len(s3.line.seen) == 11
    for request in s3.line.seen:
        assert request.headers["user-agent"].startswith("Boto3/")
        assert "CRTS3NativeClient" not in request.headers["user-agent"]


def test_download_is_pinned_and_asks_once_for_the_checksum(s3: Rig, tmp_path: Path) -> None:
    """One GET a range, every later one for the version of the first, and one HEAD for the checksum of the whole."""
    store = s3.store()
    version = store.put("ranged", content(12 * MIB)).version
    del s3.line.seen[:]
    assert store.download("ranged", tmp_path / "ranged").verified == "crc32"
    assert (tmp_path / "ranged").read_bytes() == content(12 * MIB)
    gets = sorted(s3.requests("GET"), key=lambda request: int(request.headers["range"][6:].split("-")[0]))
    assert [request.headers.get("if-match") for request in gets] == [None, version, version]
    assert len(s3.requests("HEAD")) == 1


def test_an_object_that_is_replaced_in_between_is_changed(s3: Rig, tmp_path: Path) -> None:
    """The service refuses a range of another version; the destination is left alone."""
    store, raw = s3.store(runtime={"concurrency": 2}), s3.raw()
    store.put("replaced", content(20 * MIB))

    def replace(request: Request) -> Fault | None:
        if is_download(request) and "if-match" in request.headers and len(s3.objects["replaced"].body) > 3:
            raw.put_object(Bucket=BUCKET, Key="replaced", Body=b"new")
        return None

    s3.line.rule = replace
    with pytest.raises(ChangedError):
        store.download("replaced", tmp_path / "replaced")
    assert not list(tmp_path.iterdir())


def test_an_empty_object_is_downloaded(s3: Rig, tmp_path: Path) -> None:
    """S3 refuses any range of nothing with 416; it is empty all the same, and verified."""
    store = s3.store()
    store.put("empty", b"")
    assert store.download("empty", tmp_path / "empty").verified == "crc32"
    assert (tmp_path / "empty").read_bytes() == b""


def test_listing_merges_keys_and_prefixes(s3: Rig) -> None:
    """The answer has them apart and encoded; they come together, in order, as they are."""
    raw = s3.raw()
    for key in ("a b", "a+b", "a/1", "a%20b", "b/2", "Ä", "\uffff"):
        raw.put_object(Bucket=BUCKET, Key=key, Body=b"")
    found = [one.key if isinstance(one, StoredFile) else one for one in s3.store().list(delimiter="/")]
    assert found == ["a b", "a%20b", "a+b", StoredPrefix("a/"), StoredPrefix("b/"), "Ä", "\uffff"]
    assert "encoding-type" in s3.line.seen[-1].query


def test_a_listing_that_is_cut_short_is_no_whole_one(s3: Rig) -> None:
    """A server of the protocol's first version knows no continuation tokens; its first page is not taken for all."""
    page = b"<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key><Size>1</Size></Contents>"
    s3.line.rule = lambda request: Reply(200, {"Content-Type": "application/xml"}, page + b"</ListBucketResult>")
    with pytest.raises(UnsupportedError, match="ListObjectsV2"):
        list(s3.store().list())


def test_check_tells_what_it_looked_at(s3: Rig) -> None:
    """An empty bucket proves less than one with an object; checking for writing leaves nothing."""
    store = s3.store()
    assert store.check("read").status == "likely"
    assert store.check("write").status == "likely"
    assert not s3.objects
    store.put("there", b"content")
    assert store.check("read").status == "ok"
    missing = s3.store(container="no-such-bucket")
    assert {missing.check(access).status for access in ("read", "write")} == {"failed"}  # type: ignore[arg-type]
    refused = s3.store(("reader", "reader-secret")).check("write")
    assert (refused.status, type(refused.error).__name__) == ("failed", "PermissionDeniedError")


def test_every_policy_names_the_bucket_of_the_documentation() -> None:
    """The policies are JSON as AWS takes it, for one bucket, and allow no action on everything."""
    for name in ("aws-s3-write", "aws-s3-read", "aws-s3-delete"):
        policy = load(name)
        assert policy["Version"] == "2012-10-17"
        for statement in policy["Statement"]:
            assert statement["Resource"].startswith(f"arn:aws:s3:::{BUCKET}")
            assert "*" not in "".join(statement["Action"])


def test_parts_of_any_size_are_declared_as_they_are(s3: Rig) -> None:
    """What is stored by parts larger than usual is read back, and its parts' size is told right."""
    runtime = StoreRuntime(part_size=7 * MIB)
    s3.server.composite_only = True
    with AwsStore(options(s3.server.url, ROOT), runtime) as store:
        stored = store.put("parts", content(15 * MIB))
        assert stored.verified == f"crc32-parts-{7 * MIB}"
        with store.open("parts") as stream:
            assert stream.read() == content(15 * MIB)
            assert stream.file.verified == stored.verified


@pytest.mark.parametrize("name", ["aws-s3-write", "aws-s3-read", "aws-s3-delete", "aws-s3-lifecycle"])
def test_the_documentation_holds_the_policies_word_for_word(name: str) -> None:
    """What a reader copies from the page is what the tests load."""
    page = (POLICIES.parent / "aws-s3.md").read_text(encoding="utf-8")
    assert f"```json\n{policy(name)}```\n" in page
    assert f"(policies/{name}.json)" in page
