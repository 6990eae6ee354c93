"""Google's own emulator, where it is installed: a cross-check of this project's server.

It comes with the Google Cloud CLI (``gcloud components install pubsub-emulator``, or the Debian package
``google-cloud-cli-pubsub-emulator``) and needs Java. How the two differ stands in the package's docstring.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.pubsub_v1 import types

from emulators.processes import Server, free_port

__all__ = ["official_command", "official_emulator"]

_INSIDE = Path("platform", "pubsub-emulator", "lib")


def official_command() -> list[str] | None:
    """Return the command that starts the emulator, to which ``--host`` and ``--port`` are added; None without one.

    ``PUBSUB_EMULATOR_COMMAND`` is taken first, then the emulator of the Google Cloud CLI on PATH.
    """
    named = os.environ.get("PUBSUB_EMULATOR_COMMAND")
    if named:
        return shlex.split(named, posix=os.name != "nt")
    java, gcloud = shutil.which("java"), shutil.which("gcloud")
    roots = [Path(os.environ.get("CLOUDSDK_ROOT_DIR", "/usr/lib/google-cloud-sdk"))]
    if gcloud is not None:
        roots.append(Path(gcloud).resolve().parents[1])
    jars = [jar for root in roots for jar in sorted((root / _INSIDE).glob("cloud-pubsub-emulator-*.jar"))]
    return [java, "-jar", str(jars[-1])] if java is not None and jars else None


@contextmanager
def official_emulator() -> Iterator[str]:
    """Run the emulator and give its ``host:port``.

    Raises:
        LookupError: where it is not installed.
        RuntimeError: where it does not start.
    """
    command = official_command()
    if command is None:
        raise LookupError(
            "Google's Pub/Sub emulator is not installed: gcloud components install pubsub-emulator, and Java; or set "
            "PUBSUB_EMULATOR_COMMAND"
        )
    port = free_port()
    with Server([*command, "--host=127.0.0.1", f"--port={port}"], ready=lambda: _serves(port)):
        yield f"127.0.0.1:{port}"


def _serves(port: int) -> bool:
    """Whether the emulator answers; it listens before it does."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/google.pubsub.v1.Publisher/ListTopics",
            types.ListTopicsRequest.serialize,
            types.ListTopicsResponse.deserialize,
        )
        try:
            call(types.ListTopicsRequest(project="projects/clinic-test"), timeout=2)
        except grpc.RpcError:
            return False
        return True
