"""Options of the local store."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["LocalStoreOptions"]


class LocalStoreOptions(BaseModel):
    """Where a local store keeps its files and what it may do with them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(description="Directory that holds the containers; '~' stands for the user's home directory.")
    container: str = Field(description="Name of the container: a directory inside path.")
    create: bool = Field(default=False, description="Make the container's directory when it is missing.")
    access: Literal["read", "write", "both"] = Field(
        default="both",
        description="What the store may do, to rehearse with the permissions that a cloud credential will have.",
    )

    @field_validator("path")
    @classmethod
    def _expand(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("container")
    @classmethod
    def _one_directory(cls, value: str) -> str:
        if value in ("", ".", "..") or any(character in value for character in "/\\\0"):
            raise ValueError("must be the name of one directory, without '/' or '\\'")
        return value
