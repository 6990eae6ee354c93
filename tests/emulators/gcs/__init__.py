"""A Google Cloud Storage server for tests, in memory, spoken to by the real SDK over HTTP.

    with GcsServer({"secret": {"create", "get"}}) as server:
        server.add_bucket("images")
        client = storage.Client("test", Credentials("secret"), client_options={"api_endpoint": server.url})

It shows what fake-gcs-server cannot: preconditions on resumable uploads (told at the beginning, decided at the end),
on reading and on deleting; content refused for its CRC32C or MD5; who may do what, by bearer token; multipart uploads
of the XML API; signed URLs that are checked; sessions that are gone; faults ordered by method and path, see `faults`.

What it imitates, and from where: the JSON API reference (Buckets, Objects), the XML API reference (objects, multipart
uploads, headers), and these pages of the Cloud Storage documentation: "Resumable uploads", "XML API multipart
uploads", "Request preconditions", "Hashes and ETags", "IAM permissions for JSON methods" and "for XML methods",
"V4 signing process with your own program".

The way of a request: `server` (the connection, faults), `access` (who calls), `json_api` or `xml_api`, `uploads`
(sessions and parts), `objects` (what is stored), `media` (downloads).

Decided where the documentation is silent: a precondition that fails is told before a missing permission to replace;
who may not list is told 403 for a missing object; the permission to replace is asked for when an upload begins, and
again when it completes.

Not imitated: versions and soft deletion (only the live generation is kept), ACLs, retention, holds, rewrite and copy,
batches, notifications, gzip transcoding, customer-supplied encryption keys, and quotas. Objects over 1 MiB tell no MD5
unless the uploader declared one: it would take longer than the transfer. Parts have ETags that are no MD5 either.
"""

from __future__ import annotations

from .faults import CutRequest, CutResponse, Delay, LoseReply, Reply, Stall
from .server import GcsServer

__all__ = ["CutRequest", "CutResponse", "Delay", "GcsServer", "LoseReply", "Reply", "Stall"]
