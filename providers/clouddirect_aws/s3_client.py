"""`S3Client`: one bucket's requests over a boto3 client, with what botocore does by itself decided on purpose.

- **Retries** are off (`AwsSession`). One thing botocore does again is left: a request that reached the wrong region is
  made once more in the right one.
- **Timeouts.** Each request waits for its answer as long as core says, and longer after a body: some of that is still
  on its way, in the system's buffers and a proxy's, when its last byte has been handed over. botocore's connect timeout
  counts for every piece of a body that is sent, too, so it is never shorter than the stall timeout. A slow line is no
  dead line.
- **Expect: 100-continue.** botocore asks it before every body, which costs a round trip, and a second with servers that
  know nothing of it. It stays where it can save more: bodies over 1 MiB in one request, so that a refusal costs no
  upload. Parts go without, as the request that began their upload was admitted.
- **Checksums** are ours: in a header, computed before. botocore's own would go behind the body (``aws-chunked``), which
  many S3-compatible servers refuse, and would compare what core compares.
- **The CRT client** is used by boto3's transfer functions only, which are not called here; it ignores ``endpoint_url``.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clouddirect.errors import UnavailableError
from clouddirect_aws.session import AwsSession

if TYPE_CHECKING:
    from clouddirect_aws.store_options import AwsStoreOptions

__all__ = ["S3Client"]

_EXPECT_ABOVE = 1 << 20
#: What buffers may hold of a body when it has been handed over, and the slowest line that must get it through.
_ON_ITS_WAY = 4 << 20
_SLOWEST = 256 << 10

#: What every answer of S3's to these has: without it, it is somebody else's.
_ALWAYS_TOLD = {
    "put_object": "ETag",
    "upload_part": "ETag",
    "complete_multipart_upload": "ETag",
    "get_object": "ETag",
    "head_object": "ETag",
    "create_multipart_upload": "UploadId",
    "list_objects_v2": "IsTruncated",
}


class S3Client:
    """Requests to one bucket, from any thread."""

    def __init__(self, options: AwsStoreOptions, *, stall_timeout: float, connections: int) -> None:
        """No I/O; ``connections`` are at most needed at once."""
        self._options = options
        self._stall_timeout = stall_timeout
        self._connections = connections
        self._session = AwsSession(options)
        self._lock = threading.Lock()
        self._sdk: Any = None
        self._call = _Call()

    @property
    def sdk(self) -> Any:
        """boto3's client."""
        with self._lock:
            if self._sdk is None:
                self._sdk = self._open()
            return self._sdk

    @property
    def is_aws(self) -> bool:
        """Whether the endpoint is AWS's own, not a server that speaks the same protocol."""
        return _is_aws(self.sdk.meta.endpoint_url)

    def request(self, operation: str, timeout: float, **parameters: Any) -> Mapping[str, Any]:
        """Make one request; ``timeout`` is the longest silence in seconds.

        Raises:
            botocore.exceptions.ClientError: the service refused; see `clouddirect_aws.s3_errors`.
            botocore.exceptions.BotoCoreError: it could not be reached, or similar.
            UnavailableError: what answered was not S3, whatever status it gave.
        """
        call = getattr(self.sdk, operation)
        patience = 0.0
        if timeout >= self._stall_timeout:  # else a deadline is near, and counts more
            patience = min(_length(parameters.get("Body")), _ON_ITS_WAY) / _SLOWEST
        self._call.timeout = min(timeout, self._options.read_timeout) + patience
        try:
            answer: Mapping[str, Any] = call(Bucket=self._options.container, **parameters)
        finally:
            self._call.timeout = None
        _see_that_it_is_s3(operation, answer)
        return answer

    def sign(self, operation: str, expires: int, **parameters: Any) -> str:
        """Return a signed URL for an operation on the bucket, valid for so many seconds."""
        wishes = {"Bucket": self._options.container, **parameters}
        url: str = self.sdk.generate_presigned_url(operation, Params=wishes, ExpiresIn=expires)
        return url

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _open(self) -> Any:
        sdk = self._client_for(self._options.endpoint_url)
        told = sdk.meta.endpoint_url
        if self._options.endpoint_url is None and not _is_aws(told):
            sdk = self._client_for(told)  # the environment or the profile has named a server that is not AWS's own
        sdk.meta.events.register_last("before-call.s3", self._before_call)
        return sdk

    def _client_for(self, endpoint_url: str | None) -> Any:
        options = self._options
        signs = options.checksum == "off" or (endpoint_url or "").startswith("http://")
        return self._session.client(
            "s3",
            endpoint_url=endpoint_url,
            connect_timeout=max(options.connect_timeout, self._stall_timeout),
            max_pool_connections=max(options.pool_size, self._connections),
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # a body is signed, by its SHA-256, where neither TLS nor a checksum protects it
            s3={"addressing_style": _addressing(options, endpoint_url), "payload_signing_enabled": signs},
        )

    def _before_call(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        """Adjust one of our requests before it is signed; requests through ``native`` are left alone."""
        if self._call.timeout is None:
            return
        context["read_timeout"] = self._call.timeout
        headers = params["headers"]
        if model.name == "UploadPart" or _length(params.get("body")) <= _EXPECT_ABOVE:
            headers.pop("Expect", None)
        if model.name in ("GetObject", "HeadObject") and "Range" not in headers and self._options.checksum != "off":
            # as a header, not as a parameter: botocore would compute the checksum as well
            headers["x-amz-checksum-mode"] = "ENABLED"


class _Call(threading.local):
    """What the handler of botocore's event must know of the request that its thread makes."""

    timeout: float | None = None


def _see_that_it_is_s3(operation: str, answer: Mapping[str, Any]) -> None:
    """Refuse a page that a proxy or a network's login gives with status 200: nothing was stored, read or deleted."""
    told = _ALWAYS_TOLD.get(operation)
    if told is None:
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        if not str(headers.get("content-type", "")).startswith("text/html"):
            return
    elif told in answer:
        return
    if "Body" in answer:
        answer["Body"].close()
    raise UnavailableError(
        "something that is not S3 has answered, such as a proxy or the login page of a network; check the network and "
        "endpoint_url"
    )


def _length(body: Any) -> int:
    return len(body) if hasattr(body, "__len__") else 0


def _is_aws(url: str | None) -> bool:
    host = (urlsplit(url).hostname or "") if url else "amazonaws.com"
    return any(host == name or host.endswith(f".{name}") for name in ("amazonaws.com", "amazonaws.com.cn"))


def _addressing(options: AwsStoreOptions, endpoint_url: str | None) -> str:
    if options.addressing != "auto":
        return options.addressing
    return "virtual" if _is_aws(endpoint_url) else "path"
