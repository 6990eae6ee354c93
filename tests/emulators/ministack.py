"""ministack: SQS, S3, IAM and STS on one port of 127.0.0.1, from PyPI, in a virtual environment of its own.

It pins a version of botocore, so it must not share an environment with the SDK under test. Its gaps are listed under
"Unproven" in docs/aws-sqs.md and docs/aws-s3.md.
"""

from __future__ import annotations

import itertools
import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from emulators.installing import python_environment
from emulators.processes import Server, answers, free_port

__all__ = ["ACCOUNT", "AccessKey", "Ministack", "REGION", "ministack", "ministack_python"]

VERSION = "1.5.33"
SCRIPT = Path(__file__).with_name("ministack_server.py")

#: The account and region of everything in it; the same as in the policies of the documentation.
ACCOUNT = "123456789012"
REGION = "us-east-1"


class AccessKey(NamedTuple):
    """A credential; ``token`` belongs to a temporary one."""

    id: str
    secret: str
    token: str | None = None


#: The account's root: ministack takes an access key of twelve digits as that account's, and does not check its secret.
ROOT = AccessKey(ACCOUNT, "secret-of-the-root")


@dataclass
class Ministack:
    """A running server."""

    port: int
    server: Server
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _roots: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The endpoint of every service."""
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str, key: AccessKey = ROOT, **settings: Any) -> Any:
        """Return a boto3 client; by default one that may do everything."""
        import boto3

        if key == ROOT and not settings and service in self._roots:
            return self._roots[service]
        session = boto3.session.Session(key.id, key.secret, key.token, region_name=REGION)
        client: Any = session.client(service, **{"endpoint_url": self.url, **settings})  # type: ignore[call-overload]
        if key == ROOT and not settings:
            self._roots[service] = client  # one for everybody: making one takes long
        return client

    def key_with(self, policy: str) -> AccessKey:
        """Make a user that may do what ``policy`` (JSON) allows, and return an access key of that user."""
        iam = self.client("iam")
        user = f"user-{next(self._numbers)}"
        iam.create_user(UserName=user)
        iam.put_user_policy(UserName=user, PolicyName="only", PolicyDocument=policy)
        made = iam.create_access_key(UserName=user)["AccessKey"]
        return AccessKey(made["AccessKeyId"], made["SecretAccessKey"])

    def role_with(self, policy: str, *, condition: Mapping[str, Any] | None = None) -> str:
        """Make a role that may do what ``policy`` allows, to be assumed by the account's users; return its ARN."""
        iam = self.client("iam")
        role = f"role-{next(self._numbers)}"
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                    "Action": "sts:AssumeRole",
                    **({"Condition": condition} if condition else {}),
                }
            ],
        }
        arn: str = iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName=role, PolicyName="only", PolicyDocument=policy)
        return arn

    def reset(self) -> None:
        """Forget every queue, bucket, object, user and role."""
        request = urllib.request.Request(f"{self.url}/_ministack/reset", method="POST")
        urllib.request.urlopen(request, timeout=30).close()


def ministack_python() -> Path:
    """The Python that it is installed for; installs it if need be."""
    return python_environment("ministack", f"ministack=={VERSION}")


@contextmanager
def ministack(*, auth: bool = False) -> Iterator[Ministack]:
    """Run a server; with ``auth`` it checks signatures and enforces IAM policies."""
    python = ministack_python()
    port = free_port()
    environment = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "AUTH": "true" if auth else "false",
        # a developer's own credential must not become the server's root
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PYTHONPATH": "",
    }
    # -P: this directory, where ministack.py is this module, must not come before the installed package
    ready = f"http://127.0.0.1:{port}/_ministack/ready"
    with Server([python, "-P", SCRIPT], ready=lambda: answers(ready), environment=environment) as server:
        yield Ministack(port, server)
