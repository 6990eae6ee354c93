"""Options of the S3 store."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clouddirect_aws.session_options import SessionOptions

__all__ = ["AwsStoreOptions"]


class AwsStoreOptions(SessionOptions):
    """Which bucket, and how objects are stored in it; the account and the line as in `SessionOptions`.

    Attributes:
        container: the bucket's name.
        checksum: whether the service compares checksums. ``auto``: CRC32 goes with every part and every object, and
            what the service confirms is told as ``verified``; one that ignores checksums is taken as it is.
            ``required``: a ``put`` that the service does not confirm fails. ``off``: no checksum is sent or asked for,
            for servers that refuse the headers; the signature then covers a SHA-256 of each body instead.
        addressing: ``virtual`` puts the bucket into the host's name, ``path`` into the path; ``auto`` is ``path``
            where the endpoint is not one of AWS's own.
        storage_class: the storage class of what is put, such as ``STANDARD_IA``; None for the bucket's usual one.
        kms_key_id: id or ARN of the KMS key to encrypt with; None for the bucket's own encryption.
    """

    container: Annotated[str, Field(min_length=3, max_length=255, description="Name of the bucket.")]
    checksum: Literal["auto", "required", "off"] = "auto"
    addressing: Literal["auto", "path", "virtual"] = "auto"
    storage_class: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = None
    kms_key_id: Annotated[str, Field(min_length=1)] | None = None
