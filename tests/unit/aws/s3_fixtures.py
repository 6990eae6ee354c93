"""What the tests of the S3 store share: its options, the policies of the documentation, kinds of requests, faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from clouddirect.conformance.storage_harness import AT_ONCE
from clouddirect.storage import StoreRuntime
from clouddirect_aws.store import AwsStore
from clouddirect_aws.store_options import AwsStoreOptions
from emulators.http_line import Cut, Fault, HttpLine, LoseReply, Reply, Request, Stall
from emulators.s3.access import User
from emulators.s3.objects import StoredObject
from emulators.s3.server import S3Server

__all__ = [
    "BUCKET",
    "MIB",
    "POLICIES",
    "ROOT",
    "Rig",
    "error_body",
    "error_reply",
    "fault_rule",
    "is_commit",
    "is_download",
    "is_late_part",
    "kind_of",
    "load",
    "once",
    "options",
    "policy",
    "requests_since",
    "s3",
    "users_with",
]

#: The bucket that the documentation's policies name.
BUCKET = "acme-retina"
POLICIES = Path(__file__).resolve().parents[3] / "docs" / "policies"

MIB = 1 << 20


def policy(name: str) -> str:
    """Return one of the documentation's policies, word for word."""
    return (POLICIES / f"{name}.json").read_text(encoding="utf-8")


def load(name: str) -> dict[str, Any]:
    """Return one of the documentation's policies as an object."""
    loaded: dict[str, Any] = json.loads(policy(name))
    return loaded


def options(url: str, key: tuple[str, str], **more: Any) -> AwsStoreOptions:
    """Return a store's options; ``key`` is access key and secret."""
    given = {
        "container": BUCKET,
        "region": "us-east-1",
        "endpoint_url": url,
        "access_key_id": key[0],
        "secret_access_key": key[1],
        "connect_timeout": 1.0,  # it counts for each piece that is sent, too: dead lines are noticed sooner
    }
    return AwsStoreOptions(**{**given, **more})


def kind_of(request: Request) -> str:
    """Return what a request is to the conformance suite: ``write``, ``read``, ``list`` or ``other``."""
    if request.path.count("/") < 2 or request.path.endswith("/" + BUCKET):
        return "list" if "list-type" in request.query else "other"
    return "read" if request.method in ("GET", "HEAD") else "write"


def error_body(code: str, **elements: str) -> bytes:
    """Return the body of S3's error answer."""
    inner = "".join(f"<{name}>{text}</{name}>" for name, text in {"Code": code, **elements}.items())
    return f"<?xml version='1.0'?><Error>{inner}</Error>".encode()


def error_reply(status: int, code: str, headers: dict[str, str] | None = None, **elements: str) -> Reply:
    """Return S3's error answer."""
    return Reply(status, {"Content-Type": "application/xml", **(headers or {})}, error_body(code, **elements))


def once(fault: Fault, applies: Callable[[Request], bool]) -> Callable[[Request], Fault | None]:
    """Return a rule for the first request of a kind."""
    left = [fault]
    return lambda request: left.pop() if left and applies(request) else None


def is_download(request: Request) -> bool:
    """Whether it reads an object's content."""
    return request.method == "GET" and kind_of(request) == "read"


def is_late_part(request: Request) -> bool:
    """Whether it sends a part that is not the first one."""
    return int(request.query.get("partNumber", "0")) > 1


def is_commit(request: Request) -> bool:
    """Whether it makes an object visible."""
    if request.method == "POST":
        return "uploadId" in request.query
    return request.method == "PUT" and "uploadId" not in request.query


def fault_rule(fault: str) -> Callable[[Request], Fault | None]:
    """Return the rule of a line for one of the conformance suite's faults; ``slow`` is a matter of the line's rate."""
    if fault == "cut":
        cut_up = once(Cut(300_000), lambda request: request.method == "PUT")
        cut_down = once(Cut(300_000, of="response"), is_download)
        return lambda request: cut_up(request) or cut_down(request)
    if fault == "stall":
        return lambda request: (
            Stall(10, of="response") if is_download(request) else Stall(10) if is_late_part(request) else None
        )
    if fault == "refuse":
        denied = error_reply(403, "AccessDenied")
        return lambda request: denied if is_late_part(request) else None
    if fault == "lost-reply":
        return once(LoseReply(), is_commit)
    return lambda request: None


def requests_since(line: HttpLine, place: int) -> list[str]:
    """Return the kinds of requests that went over a line since the ``place``-th."""
    return [kind_of(request) for request in line.seen[place:]]


#: The one who may do everything on a small S3 of our own.
ROOT = ("AKIAROOT", "root-secret")


def users_with(**policies: str) -> dict[str, User]:
    """Return the users of a small S3: the root, and one for each policy of the documentation, by access key."""
    return {
        ROOT[0]: User(ROOT[1]),
        **{key: User(f"{key}-secret", load(name)) for key, name in policies.items()},
    }


@dataclass
class Rig:
    """A small S3 behind a line, and stores over both."""

    server: S3Server
    line: HttpLine
    opened: ExitStack

    def store(self, key: tuple[str, str] = ROOT, runtime: dict[str, Any] | None = None, **more: Any) -> AwsStore:
        """Open a store; retries do not wait."""
        given = {"part_size": 5 * MIB, "retry": AT_ONCE, **(runtime or {})}
        return self.opened.enter_context(AwsStore(options(self.line.url, key, **more), StoreRuntime(**given)))

    def raw(self) -> Any:
        """Return a boto3 client, as somebody else would use it."""
        session = boto3.session.Session(*ROOT, region_name="us-east-1")
        sdk: Any = session.client("s3", endpoint_url=self.server.url)
        self.opened.callback(sdk.close)
        return sdk

    def requests(self, method: str, **query: str) -> list[Request]:
        """Return the requests seen so far with this method and these names in the query."""
        return [one for one in self.line.seen if one.method == method and query.keys() <= one.query.keys()]

    @property
    def objects(self) -> dict[str, StoredObject]:
        """What the server keeps in the bucket."""
        return self.server.buckets[BUCKET].objects


@pytest.fixture
def s3() -> Iterator[Rig]:
    """A small S3 with the documentation's bucket and users."""
    users = users_with(writer="aws-s3-write", reader="aws-s3-read", remover="aws-s3-delete")
    with ExitStack() as opened:
        server = opened.enter_context(S3Server(users, BUCKET))
        line = opened.enter_context(HttpLine(server.port))
        yield Rig(server, line, opened)
