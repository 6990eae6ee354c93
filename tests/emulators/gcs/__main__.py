"""Run the server by itself: ``python -m emulators.gcs --port 4443 --bucket images`` (with tests/ on PYTHONPATH)."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence

from .access import PERMISSIONS
from .server import GcsServer

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted; print how to connect."""
    parser = argparse.ArgumentParser(prog="python -m emulators.gcs", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="the port; 0 takes a free one")
    parser.add_argument("--bucket", action="append", default=[], help="a bucket to make; may be repeated")
    parser.add_argument(
        "--token",
        action="append",
        default=[],
        metavar="TOKEN=PERMISSION,…",
        help=f"let this bearer token do so much, and nobody else anything; of {', '.join(sorted(PERMISSIONS))}",
    )
    chosen = parser.parse_args(arguments)
    pairs = [text.partition("=") for text in chosen.token]
    tokens = {token: permissions.split(",") for token, _, permissions in pairs} or None
    with GcsServer(tokens, host=chosen.host, port=chosen.port) as server:
        for name in chosen.bucket:
            server.add_bucket(name)
        print(f"Cloud Storage on {server.url}")
        options = f"client_options={{'api_endpoint': '{server.url}'}}"
        print(f"storage.Client(project='test', credentials=AnonymousCredentials(), {options})", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
