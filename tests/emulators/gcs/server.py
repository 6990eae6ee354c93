"""The server: an HTTP/1.1 listener with a thread for each connection."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from .access import PERMISSIONS, Access, Tokens
from .errors import HttpError, bad_request
from .faults import CutRequest, CutResponse, Delay, Faults, LoseReply, Reply, Stall
from .http import Body, Request, Response
from .json_api import JsonApi
from .objects import Conditions, Store
from .uploads import Uploads
from .xml_api import XmlApi

__all__ = ["GcsServer"]

_PIECE = 1 << 20


class GcsServer:
    """A Cloud Storage server on 127.0.0.1, for use in a ``with`` statement.

    Args:
        tokens: who may do what: for each bearer token its permissions (`access.PERMISSIONS`); None lets everybody do
            everything.
        host: where it listens.
        port: 0 for a free one.
    """

    def __init__(self, tokens: Tokens | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.faults = Faults()
        #: How often each kind of request came, by method and the path's first segment ("POST upload").
        self.calls: Counter[str] = Counter()
        #: The requests in order: method and target.
        self.seen: list[tuple[str, str]] = []
        self.store = Store()
        self.uploads = Uploads(self.store)
        self._access = Access(tokens)
        self._accounts: dict[str, str] = {}
        self._listener = _Listener((host, port), self)
        self.port: int = self._listener.server_address[1]
        #: ``http://host:port``: the SDK's ``client_options.api_endpoint``.
        self.url = f"http://{host}:{self.port}"
        self._json = JsonApi(self.store, self.uploads, self._access, self.url)
        self._xml = XmlApi(self.store, self.uploads, self._access, self.url)
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(0.05,), name="gcs-server", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.faults.clear()
        self._listener.shutdown()
        self._thread.join(30)
        self.cut_connections()
        self._listener.server_close()

    # What tests set up and look at

    def add_bucket(self, name: str) -> str:
        """Add a bucket and return its name."""
        self.store.add_bucket(name)
        return name

    def put(self, bucket: str, name: str, data: bytes, **fields: Any) -> int:
        """Store an object without going over the wire; return its generation."""
        return self.store.put(bucket, name, data, fields).generation

    def read(self, bucket: str, name: str) -> bytes:
        """Return an object's content; raises LookupError where there is none."""
        found = self.store.find(bucket, name)
        if found is None:
            raise LookupError(name)
        return bytes(found.data)

    def names(self, bucket: str) -> list[str]:
        """Return the names of all objects of a bucket, in order."""
        return sorted(self.store.bucket(bucket).objects)

    def damage(self, bucket: str, name: str, offset: int) -> None:
        """Flip a bit of a stored object, behind the back of its checksums."""
        found = self.store.get(bucket, name, None, Conditions())
        data = bytearray(found.data)
        data[offset] ^= 1
        found.data = bytes(data)

    def expire_sessions(self, status: int = 410) -> None:
        """Let all uploads under way be gone; resumable ones answer with 404 or 410 from now on."""
        self.uploads.expire(status)

    def let_pass(self, seconds: float) -> None:
        """Let signed URLs grow older by this much, at once."""
        self._access.ahead += timedelta(seconds=seconds)

    def service_account(
        self, email: str, permissions: Collection[str] = PERMISSIONS, bucket: str | None = None
    ) -> dict[str, str]:
        """Make a service account and return its key file's content, as Google's libraries read it.

        Its ``token_uri`` is this server: the libraries fetch their access tokens here. URLs and tokens signed with its
        key are accepted. Its permissions hold in ``bucket`` alone, if that is given.
        """
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._access.add_key(email, key.public_key(), permissions, bucket)
        token = f"token-of-{email}"
        self._accounts[email] = token
        self._access.add_token(token, permissions, bucket)
        return {
            "type": "service_account",
            "project_id": "test",
            "private_key_id": "1",
            "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "client_email": email,
            "client_id": "1",
            "token_uri": f"{self.url}/token",
            "universe_domain": "googleapis.com",
        }

    def cut_connections(self) -> None:
        """Break every connection; new ones are accepted."""
        self._listener.cut()

    # Requests

    def answer(self, request: Request) -> Response | None:
        """Answer a request; None where its connection broke (for the handler)."""
        first = request.segments[0]
        in_json = first in ("storage", "upload", "download")
        try:
            if first == "token" and request.method == "POST":
                return self._token(request)
            return self._json.serve(request) if in_json else self._xml.serve(request)
        except HttpError as error:
            return _error(error, request, in_json)
        except (ValueError, KeyError) as error:  # what cannot be read as the API wants it
            return _error(bad_request(f"Invalid request: {error}"), request, in_json)

    def _token(self, request: Request) -> Response:
        """Exchange a service account's signed assertion for an access token (RFC 7523)."""
        from google.auth import jwt

        assertion = parse_qs(bytes(request.body.data).decode()).get("assertion", [""])[0]
        email = str(jwt.decode(assertion, verify=False).get("iss", ""))  # type: ignore[no-untyped-call]
        if email not in self._accounts:
            return Response(400, {"Content-Type": "application/json"}, b'{"error": "invalid_grant"}')
        content = {"access_token": self._accounts[email], "expires_in": 3600, "token_type": "Bearer"}
        return Response(200, {"Content-Type": "application/json"}, json.dumps(content).encode())


def _error(error: HttpError, request: Request, in_json: bool) -> Response:
    if not in_json:
        return error.xml()
    plain = request.query.get("alt") == "media" or (request.segments[0] == "upload" and request.method == "PUT")
    return error.text() if plain else error.json()


class _Listener(ThreadingHTTPServer):
    """Knows its connections, so that they can be broken."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], server: GcsServer) -> None:
        self.gcs = server
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A peer that goes away ends its connection, nothing else; what is wrong here is printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def cut(self) -> None:
        with self._lock:
            found, self._open = self._open, set()
        for connection in found:
            reset(connection)


def reset(connection: socket.socket) -> None:
    """Break a connection, so that the peer sees a reset rather than an orderly end."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Reads requests from one connection and writes the answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def _serve(self) -> None:
        gcs = self.server.gcs
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault = gcs.faults.next(self.command, self.path)
        request = Request(self.command, self.path, headers)
        gcs.calls[f"{self.command} {request.segments[0]}"] += 1
        gcs.seen.append((self.command, self.path))
        request.body = self._read(headers, fault.after if isinstance(fault, CutRequest) else None)
        if isinstance(fault, Reply):
            self._write(Response(fault.status, fault.headers, fault.body))
            return
        if isinstance(fault, Delay):
            time.sleep(fault.seconds)  # a server that takes its time is the fault that was asked for
        if isinstance(fault, Stall):
            gcs.faults.released.wait()
        response = gcs.answer(request)
        if response is None or isinstance(fault, LoseReply):
            self._break()
        elif isinstance(fault, CutResponse):
            self._write(response, fault.after)
            self._break()
        else:
            self._write(response)

    # The names under which the standard library looks for the methods.
    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = _serve  # noqa: N815

    def _read(self, headers: dict[str, str], cut: int | None) -> Body:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._read_chunked()
        size = int(headers.get("content-length", 0))
        wanted = size if cut is None else min(size, cut)
        view, got = memoryview(bytearray(wanted)), 0
        with contextlib.suppress(OSError):  # the connection broke: what came before is kept
            while got < wanted and (count := self.rfile.readinto(view[got : got + _PIECE])):
                got += count
        return Body(view[:got], complete=got == size)

    def _read_chunked(self) -> Body:
        pieces: list[bytes] = []
        try:
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        except (OSError, ValueError):
            return Body(memoryview(b"".join(pieces)), complete=False)
        return Body(memoryview(b"".join(pieces)))

    def _write(self, response: Response, cut: int | None = None) -> None:
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.status != 204:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD" and response.body:
            self.wfile.write(response.body if cut is None else response.body[:cut])

    def _break(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.flush()
        reset(self.connection)
