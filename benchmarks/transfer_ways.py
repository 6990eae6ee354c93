"""What `bench_transfers.py` compares: for each cloud its test server and the ways to move a file, each at its best."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).resolve().parents[1] / "tests"
MIB = 1 << 20
PART = 8 * MIB
BUCKET = "bench-images"
S3_KEY = "AKIABENCH"

#: Puts (key, path) and downloads (key, path).
Way = tuple[Callable[[str, str], object], Callable[[str, str], object]]


class Running(NamedTuple):
    """A test server: its port, what follows it in the URL, and the secret that opens it."""

    port: int
    path: str
    secret: str


class Cloud(NamedTuple):
    """One cloud: the name of the SDK's way, how to start a server, and the ways by name."""

    sdk: str
    server: Callable[[int | None], AbstractContextManager[Running]]
    ways: Mapping[str, Callable[[str, str], Way]]


def _in_pieces(pieces: Any, path: str) -> None:
    with open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)


# -- Azure ----------------------------------------------------------------------------------------------------


@contextmanager
def _azurite(public: int | None) -> Iterator[Running]:
    from azure.storage.blob import ContainerClient

    from emulators.azurite import ACCOUNT, azurite

    with azurite() as server:
        with ContainerClient.from_connection_string(server.connection_string(), BUCKET) as container:
            container.create_container()
        yield Running(server.port, f"/{ACCOUNT}", server.key)


def _azure_clouddirect(url: str, secret: str) -> Way:
    from clouddirect_azure.store import AzureStore
    from clouddirect_azure.store_options import AzureStoreOptions

    options = AzureStoreOptions(container=BUCKET, account_url=url, account_key=secret)  # type: ignore[arg-type]
    store = AzureStore(options)
    return store.put, store.download


def _azure_sdk(url: str, secret: str) -> Way:
    from azure.storage.blob import ContainerClient

    client = ContainerClient(
        url, BUCKET, credential={"account_name": url.rsplit("/", 1)[1], "account_key": secret},
        max_block_size=PART, max_single_put_size=PART, max_chunk_get_size=PART, max_single_get_size=PART,
    )  # fmt: skip

    def put(key: str, path: str) -> None:
        with open(path, "rb") as source:
            client.upload_blob(key, source, overwrite=True, max_concurrency=10)

    def download(key: str, path: str) -> None:
        with open(path, "wb") as target:
            client.download_blob(key, max_concurrency=10).readinto(target)

    return put, download


def _azure_obstore(url: str, secret: str) -> Way:
    import obstore
    from obstore.store import AzureStore

    account = url.rsplit("/", 1)[1]
    store = AzureStore(
        BUCKET, account_name=account, account_key=secret, endpoint=url, client_options={"allow_http": True}
    )
    return (
        lambda key, path: obstore.put(store, key, Path(path)),
        lambda key, path: _in_pieces(obstore.get(store, key).stream(MIB), path),
    )


# -- AWS ------------------------------------------------------------------------------------------------------


@contextmanager
def _s3(public: int | None) -> Iterator[Running]:
    from emulators.processes import Server, accepts, free_port

    port, secret = free_port(), os.urandom(16).hex()
    command = [sys.executable, "-m", "emulators.s3.server", "--port", str(port), "--bucket", BUCKET]
    command += ["--access-key", S3_KEY, "--secret-key", secret]
    with Server(command, ready=lambda: accepts(port), environment={"PYTHONPATH": str(TESTS)}):
        yield Running(port, "", secret)


def _aws_clouddirect(url: str, secret: str) -> Way:
    from clouddirect_aws.store import AwsStore
    from clouddirect_aws.store_options import AwsStoreOptions

    options = AwsStoreOptions(
        container=BUCKET, region="us-east-1", endpoint_url=url,
        access_key_id=S3_KEY, secret_access_key=secret,  # type: ignore[arg-type]
    )  # fmt: skip
    store = AwsStore(options)
    return store.put, store.download


def _aws_sdk(url: str, secret: str) -> Way:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    session = boto3.session.Session(S3_KEY, secret, region_name="us-east-1")
    client: Any = session.client("s3", endpoint_url=url, config=Config(max_pool_connections=32))
    # "classic", for with awscrt installed boto3 may choose the CRT client, which ignores endpoint_url
    config = TransferConfig(
        max_concurrency=16, multipart_chunksize=PART, multipart_threshold=PART, preferred_transfer_client="classic"
    )
    return (
        lambda key, path: client.upload_file(path, BUCKET, key, Config=config),
        lambda key, path: client.download_file(BUCKET, key, path, Config=config),
    )


def _aws_obstore(url: str, secret: str) -> Way:
    import obstore
    from obstore.store import S3Store

    store: Any = S3Store(
        BUCKET, endpoint=url, access_key_id=S3_KEY, secret_access_key=secret, region="us-east-1",
        client_options={"allow_http": True},
    )  # fmt: skip
    return (
        lambda key, path: obstore.put(store, key, Path(path), chunk_size=PART, max_concurrency=16),
        lambda key, path: _in_pieces(obstore.get(store, key).stream(MIB), path),
    )


# -- Google Cloud -----------------------------------------------------------------------------------------------

_GCS = """
import sys, threading
from emulators.gcs import GcsServer
with GcsServer() as server:
    if sys.argv[2]:  # what objects say of their own address, which transfer_manager downloads from
        server._json._base = server._xml._base = "http://127.0.0.1:" + sys.argv[2]
    server.add_bucket(sys.argv[1])
    print(server.url, flush=True)
    threading.Event().wait()
"""


@contextmanager
def _gcs(public: int | None) -> Iterator[Running]:
    import subprocess

    command = [sys.executable, "-c", _GCS, BUCKET, str(public or "")]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            assert server.stdout is not None
            yield Running(int(server.stdout.readline().rpartition(":")[2]), "", "")
        finally:
            server.terminate()


def _gcp_clouddirect(url: str, secret: str) -> Way:
    from clouddirect_gcp.store import GcpStore
    from clouddirect_gcp.store_options import GcpStoreOptions

    store = GcpStore(GcpStoreOptions(container=BUCKET, endpoint=url, anonymous=True))
    return store.put, store.download


def _gcp_sdk(url: str, secret: str) -> Way:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage
    from google.cloud.storage import transfer_manager

    bucket = storage.Client(None, AnonymousCredentials(), client_options={"api_endpoint": url}).bucket(BUCKET)
    how: dict[str, Any] = {"chunk_size": PART, "max_workers": 10, "worker_type": transfer_manager.THREAD}

    def put(key: str, path: str) -> None:
        if os.path.getsize(path) > PART:
            transfer_manager.upload_chunks_concurrently(path, bucket.blob(key), **how)
        else:
            bucket.blob(key).upload_from_filename(path, checksum="crc32c")

    def download(key: str, path: str) -> None:
        transfer_manager.download_chunks_concurrently(bucket.blob(key), path, **how)

    return put, download


def _gcp_obstore(url: str, secret: str) -> Way:
    import obstore
    from obstore.store import GCSStore

    account = json.dumps(
        {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    )
    store = GCSStore(BUCKET, service_account_key=account, client_options={"allow_http": True, "timeout": "300s"})
    return (
        lambda key, path: obstore.put(store, key, Path(path), chunk_size=PART, max_concurrency=10),
        lambda key, path: _in_pieces(obstore.get(store, key).stream(MIB), path),
    )


CLOUDS = {
    "azure": Cloud(
        "azure-storage-blob, blocks of 8 MiB, 10 connections", _azurite,
        {"clouddirect": _azure_clouddirect, "sdk": _azure_sdk, "obstore": _azure_obstore},
    ),
    "aws": Cloud(
        "boto3, parts of 8 MiB, 16 threads", _s3,
        {"clouddirect": _aws_clouddirect, "sdk": _aws_sdk, "obstore": _aws_obstore},
    ),
    "gcp": Cloud(
        "transfer_manager, parts of 8 MiB, 10 threads", _gcs,
        {"clouddirect": _gcp_clouddirect, "sdk": _gcp_sdk, "obstore": _gcp_obstore},
    ),
}  # fmt: skip
