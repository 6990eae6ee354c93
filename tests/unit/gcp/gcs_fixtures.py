"""What the tests of the Cloud Storage store share: kinds of requests, and rules for lines with faults."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from functools import cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from emulators.http_line import Cut, Damage, Fault, LoseReply, Reply, Request, Stall

__all__ = ["damage_content", "fault_rule", "is_commit", "is_content", "is_download", "kinds", "service_account_key"]

Rule = Callable[[Request], Fault | None]


def is_download(request: Request) -> bool:
    """Whether the answer holds an object's bytes."""
    return request.method == "GET" and "range" in request.headers


def is_content(request: Request) -> bool:
    """Whether the body holds an object's bytes: a small object, a chunk of a session, a part."""
    if request.query.get("uploadType") == "multipart":
        return True
    return request.method == "PUT" and request.headers.get("content-length", "0") != "0"


def is_commit(request: Request) -> bool:
    """Whether an object becomes visible if this is carried out."""
    if request.method == "POST":
        return request.query.get("uploadType") == "multipart" or "uploadId" in request.query
    return request.method == "PUT" and not request.headers.get("content-range", "/*").endswith("/*")


def damage_content(request: Request) -> Fault | None:
    """A line's rule: flip a bit of every object's bytes on their way up."""
    if not is_content(request):
        return None
    # a small object is followed by the end of its envelope, which is shorter than this
    from_end = 200 if request.query.get("uploadType") == "multipart" else 1
    return Damage(int(request.headers["content-length"]) - from_end)


def kinds(requests: Sequence[Request]) -> list[str]:
    """What the service was asked for, in the conformance suite's words."""
    return [_kind(request) for request in requests]


def _kind(request: Request) -> str:
    if request.method in ("DELETE", "POST", "PUT"):
        return "write"
    if request.path.endswith("/o"):
        return "list"
    return "read" if is_download(request) or "/o/" in request.path else "other"


def fault_rule(fault: str) -> Rule:
    """A line's rule for one of the conformance suite's faults, made anew for each line."""
    return {"cut": _cut, "stall": _stall, "refuse": _refuse, "lost-reply": _lose_reply}[fault]()


def _cut() -> Rule:
    """Cut the second part in its middle, and the first download."""
    parts, downloads = itertools.count(1), itertools.count(1)

    def rule(request: Request) -> Fault | None:
        if is_content(request) and next(parts) == 2:
            return Cut(int(request.headers["content-length"]) // 2)
        if is_download(request) and next(downloads) == 1:
            return Cut(30_000, of="response")
        return None

    return rule


def _stall() -> Rule:
    """Let one part and a few bytes of a download pass, then nothing."""
    parts = itertools.count(1)
    dead = False

    def rule(request: Request) -> Fault | None:
        nonlocal dead
        if is_download(request):
            return Stall(10, of="response")
        dead = dead or (is_content(request) and next(parts) > 1)
        return Stall(0) if dead else None

    return rule


def _refuse() -> Rule:
    """Fail every request after the first part."""
    parts = itertools.count(1)
    broken = False

    def rule(request: Request) -> Fault | None:
        nonlocal broken
        broken = broken or (is_content(request) and next(parts) > 1)
        return Reply(503, body=b"out of order") if broken else None

    return rule


def _lose_reply() -> Rule:
    """Lose the answer to the first request that makes an object visible."""
    commits = itertools.count(1)
    return lambda request: LoseReply() if is_commit(request) and next(commits) == 1 else None


@cache
def service_account_key(email: str = "clinic@project.iam.gserviceaccount.com") -> str:
    """A service account's key file, with a private key that was made for the tests."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account", "project_id": "project", "private_key_id": "1", "private_key": pem,
            "client_email": email, "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
        }
    )  # fmt: skip
