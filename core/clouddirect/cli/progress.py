"""The progress bar of uploads: on stderr, and only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID

    from clouddirect.orders.images import ImageFile, ImageProgress

__all__ = ["upload_progress"]


@contextmanager
def upload_progress() -> Iterator[ImageProgress | None]:
    """Show a bar for each image while the block runs; yields what to pass as ``progress``, None without a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[int, TaskID] = {}

        def show(image: ImageFile, sent: int, total: int | None) -> None:
            if id(image) not in tasks:
                name = PurePath(image.source).name if isinstance(image.source, (str, os.PathLike)) else "image"
                tasks[id(image)] = bars.add_task(name, total=total)
            bars.update(tasks[id(image)], completed=sent)

        yield show
