"""Fixtures of the AWS provider's tests."""

from __future__ import annotations

from unit.aws.s3_fixtures import s3

__all__ = ["s3"]
