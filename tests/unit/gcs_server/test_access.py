"""Who may do what: bearer tokens, service accounts and signed URLs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
import requests
from google.api_core.exceptions import Forbidden, Unauthorized
from google.auth.exceptions import RefreshError
from google.cloud import storage
from google.oauth2 import service_account

from emulators.gcs import GcsServer

_EMAIL = "signer@test.iam.gserviceaccount.com"
_TOKENS = {"writer": {"create"}, "replacer": {"create", "delete"}, "reader": {"get"}, "lister": {"get", "list"}}


@pytest.fixture
def guarded() -> Iterator[GcsServer]:
    """A server that asks for tokens."""
    with GcsServer(_TOKENS) as running:
        running.add_bucket("clinic")
        running.put("clinic", "one", b"content")
        yield running


@pytest.fixture
def bucket_of(guarded: GcsServer, connect: Callable[..., storage.Client]) -> Callable[[str | None], storage.Bucket]:
    """The bucket as the holder of a token has it."""
    return lambda token: connect(guarded, token).bucket("clinic")


Bucket = Callable[[str | None], storage.Bucket]


def test_nobody_and_an_unknown_token_are_unauthorized(guarded: GcsServer, bucket_of: Bucket) -> None:
    url = f"{guarded.url}/download/storage/v1/b/clinic/o/one?alt=media"
    nobody = requests.get(url, timeout=30)
    assert (nobody.status_code, "Anonymous caller does not have storage.objects.get" in nobody.text) == (401, True)
    stranger = requests.get(url, headers={"Authorization": "Bearer stranger"}, timeout=30)
    assert (stranger.status_code, stranger.text) == (401, "Invalid Credentials")
    with pytest.raises(RefreshError):  # after a 401 the SDK wants a new token, which a fixed one cannot give
        bucket_of("stranger").blob("one").download_as_bytes()


def test_a_writer_writes_new_objects_and_nothing_else(guarded: GcsServer, bucket_of: Bucket) -> None:
    bucket = bucket_of("writer")
    bucket.blob("new").upload_from_string(b"x")
    for call in (
        lambda: bucket.blob("one").upload_from_string(b"x"),
        lambda: bucket.blob("one").download_as_bytes(),
        lambda: bucket.blob("one").reload(),
        lambda: bucket.blob("one").delete(),
        lambda: bucket.blob("one").patch(),
        lambda: list(bucket.list_blobs()),
        lambda: bucket.reload(),
        lambda: bucket.client.create_bucket("other"),
    ):
        with pytest.raises(Forbidden, match="does not have storage"):
            call()
    assert guarded.read("clinic", "one") == b"content"


def test_replacing_needs_delete(guarded: GcsServer, bucket_of: Bucket) -> None:
    bucket_of("replacer").blob("one").upload_from_string(b"replaced")
    assert guarded.read("clinic", "one") == b"replaced"


def test_an_upload_that_replaces_in_the_end_needs_delete_too(guarded: GcsServer, bucket_of: Bucket) -> None:
    uri = bucket_of("writer").blob("new").create_resumable_upload_session()
    headers = {"Authorization": "Bearer writer"}
    begun = requests.post(f"{guarded.url}/clinic/new?uploads", headers=headers, timeout=30)
    part = f"{guarded.url}/clinic/new?uploadId={ElementTree.fromstring(begun.text).findtext('{*}UploadId')}"
    etag = requests.put(f"{part}&partNumber=1", data=b"x", headers=headers, timeout=30).headers["ETag"]
    guarded.put("clinic", "new", b"faster")
    assert requests.put(uri, data=b"slower", timeout=30).status_code == 403
    listed = f"<C><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></C>"
    assert requests.post(part, data=listed, headers=headers, timeout=30).status_code == 403
    assert guarded.read("clinic", "new") == b"faster"
    asked = requests.post(f"{guarded.url}/clinic/new?uploads", headers={"Authorization": "Bearer reader"}, timeout=30)
    assert asked.status_code == 403


def test_what_is_missing_is_told_only_to_those_who_may_list(bucket_of: Bucket) -> None:
    assert bucket_of("reader").blob("one").download_as_bytes() == b"content"
    with pytest.raises(Forbidden, match=r"storage\.objects\.list"):
        bucket_of("reader").blob("gone").download_as_bytes()
    assert not bucket_of("lister").blob("gone").exists()


def test_a_sessions_uri_needs_no_token(guarded: GcsServer, bucket_of: Bucket) -> None:
    uri = bucket_of("writer").blob("new").create_resumable_upload_session()
    assert requests.put(uri, data=b"whoever", timeout=30).status_code == 200
    assert guarded.read("clinic", "new") == b"whoever"


def test_the_permissions_that_a_caller_holds(bucket_of: Bucket) -> None:
    asked = ["storage.objects.create", "storage.objects.get", "storage.buckets.get"]
    assert bucket_of("writer").test_iam_permissions(asked) == ["storage.objects.create"]
    assert bucket_of("lister").test_iam_permissions(asked) == ["storage.objects.get"]


@pytest.fixture
def signed(guarded: GcsServer) -> Iterator[Callable[..., str]]:
    """Make signed URLs with a service account's key."""
    information = guarded.service_account(_EMAIL, {"get", "list", "create"})
    credentials = service_account.Credentials.from_service_account_info(information)
    client = storage.Client("test", credentials, client_options={"api_endpoint": guarded.url})

    def sign(name: str, **settings: Any) -> str:
        blob = client.bucket("clinic").blob(name)
        settings = {"version": "v4", "expiration": 300, "api_access_endpoint": guarded.url, **settings}
        return str(blob.generate_signed_url(**settings))

    yield sign
    client.close()


def test_a_service_account_fetches_its_token_here(guarded: GcsServer) -> None:
    information = guarded.service_account(_EMAIL, {"get"})
    credentials = service_account.Credentials.from_service_account_info(information, scopes=["storage"])
    client = storage.Client("test", credentials, client_options={"api_endpoint": guarded.url})
    assert client.bucket("clinic").blob("one").download_as_bytes() == b"content"
    with pytest.raises(Forbidden):
        client.bucket("clinic").blob("two").upload_from_string(b"x")
    client.close()


def test_a_service_account_signs_tokens_itself_and_is_kept_to_its_bucket(guarded: GcsServer) -> None:
    guarded.add_bucket("other")
    guarded.put("other", "one", b"content")
    information = guarded.service_account(_EMAIL, {"get", "list", "create"}, "clinic")
    forged = guarded.service_account("somebody-else@test.iam.gserviceaccount.com") | {"client_email": _EMAIL}
    for key, accepted in ((information, True), (forged, False)):
        credentials = service_account.Credentials.from_service_account_info(key, scopes=["storage"])
        client = storage.Client(
            "test", credentials.with_always_use_jwt_access(True), client_options={"api_endpoint": guarded.url}
        )
        with client:
            if not accepted:
                with pytest.raises(Unauthorized):
                    client.bucket("clinic").blob("one").download_as_bytes()
                continue
            assert client.bucket("clinic").blob("one").download_as_bytes() == b"content"
            assert [blob.name for blob in client.list_blobs("clinic")] == ["one"]
            for call in (
                lambda: client.bucket("other").blob("one").download_as_bytes(),  # noqa: B023 - called at once
                lambda: client.bucket("other").blob("two").upload_from_string(b"x"),  # noqa: B023
                lambda: list(client.list_blobs("other")),  # noqa: B023
            ):
                with pytest.raises(Forbidden):
                    call()


def test_a_signed_url_reads(signed: Callable[..., str]) -> None:
    answer = requests.get(signed("one"), headers={"Range": "bytes=0-3"}, timeout=30)
    assert (answer.status_code, answer.content) == (206, b"cont")
    as_file = signed("one", response_disposition='attachment; filename="a b.txt"')
    assert requests.get(as_file, timeout=30).headers["Content-Disposition"] == 'attachment; filename="a b.txt"'


def test_a_signed_url_writes_what_it_was_signed_for(guarded: GcsServer, signed: Callable[..., str]) -> None:
    url = signed("eyes/new ü.jpg", method="PUT", content_type="image/jpeg", headers={"x-goog-if-generation-match": "0"})
    headers = {"Content-Type": "image/jpeg", "x-goog-if-generation-match": "0"}
    assert requests.put(url, data=b"picture", headers={**headers, "Content-Type": "a/b"}, timeout=30).status_code == 403
    assert requests.put(url, data=b"picture", headers=headers, timeout=30).status_code == 200
    assert guarded.read("clinic", "eyes/new ü.jpg") == b"picture"
    assert requests.put(url, data=b"again", headers=headers, timeout=30).status_code == 412


def test_a_signed_url_for_reading_does_not_delete(signed: Callable[..., str]) -> None:
    assert requests.delete(signed("one"), timeout=30).status_code == 403


def test_a_changed_or_foreign_signature_is_refused(guarded: GcsServer, signed: Callable[..., str]) -> None:
    url = signed("one")
    wrong = re.sub(r"(?<=X-Goog-Signature=).", lambda digit: f"{15 - int(digit[0], 16):x}", url)
    other = url.replace("/clinic/one?", "/clinic/two?")
    unknown = url.replace("signer%40", "stranger%40")
    guarded.put("clinic", "two", b"secret")
    for bad in (wrong, other, unknown):
        answer = requests.get(bad, timeout=30)
        assert (answer.status_code, b"secret" in answer.content) == (403, False)


def test_a_signed_url_expires(signed: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    from google.cloud.storage import _signing

    before = datetime.now(UTC) - timedelta(minutes=10)
    stamps = (before.strftime("%Y%m%dT%H%M%SZ"), before.strftime("%Y%m%d"))
    monkeypatch.setattr(_signing, "get_v4_now_dtstamps", lambda: stamps)
    answer = requests.get(signed("one", expiration=599), timeout=30)
    assert answer.status_code == 400
    assert "ExpiredToken" in answer.text


def test_a_resumable_upload_can_be_begun_with_a_signed_url(guarded: GcsServer, signed: Callable[..., str]) -> None:
    url = signed("new", method="RESUMABLE")
    begun = requests.post(url, headers={"x-goog-resumable": "start"}, timeout=30)
    assert begun.status_code == 201
    assert requests.put(begun.headers["Location"], data=b"content", timeout=30).status_code == 200
    assert guarded.read("clinic", "new") == b"content"


def test_unknown_permissions_are_a_mistake_of_the_test() -> None:
    with pytest.raises(ValueError, match="write"):
        GcsServer({"token": {"write"}})
