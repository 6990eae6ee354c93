"""The one call of Google's IAM credentials API that the store makes: ``signBlob``.

After https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

__all__ = ["IamCredentials"]


class IamCredentials:
    """A server that signs with a service account's key, for use in a ``with`` statement.

    Attributes:
        url: what goes into the option ``iam_endpoint``.
        asked: path, authorization and body of each call.
        status: the answer to every call; 200 signs.
    """

    def __init__(self, key: Mapping[str, Any]) -> None:
        """``key`` is the content of a service account's key file."""
        self._key: Any = load_pem_private_key(key["private_key"].encode(), None)
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.status = 200
        self._server = _Server(("127.0.0.1", 0), self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="iam")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def sign(self, message: bytes) -> bytes:
        """Sign as the API does: RSA with SHA-256."""
        return bytes(self._key.sign(message, padding.PKCS1v15(), hashes.SHA256()))

    def answer(self, path: str, authorization: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer one call (for the server)."""
        self.asked.append((path, authorization, body))
        if self.status != 200:
            return self.status, {"error": {"code": self.status, "message": "refused by the test"}}
        signature = self.sign(base64.b64decode(body["payload"]))
        return 200, {"keyId": "1", "signedBlob": base64.b64encode(signature).decode()}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], iam: IamCredentials) -> None:
        self.iam = iam
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, content = self.server.iam.answer(self.path, self.headers.get("Authorization", ""), body)
        answer = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""
