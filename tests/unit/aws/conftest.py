"""Fixtures of the AWS provider's tests."""

from __future__ import annotations

from unit.aws.s3_fixtures import s3
from unit.aws.sqs_fixtures import guarded, sqs, sqs_guard, sqs_server

__all__ = ["guarded", "s3", "sqs", "sqs_guard", "sqs_server"]
