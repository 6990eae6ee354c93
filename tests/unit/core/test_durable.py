"""Directories that nobody else can look into."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from clouddirect.durable import make_private_directory


@pytest.fixture
def _no_mask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
@pytest.mark.usefixtures("_no_mask")
def test_every_directory_that_is_made_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    make_private_directory(tmp_path / "there" / "one" / "two" / "three")
    monkeypatch.chdir(tmp_path)
    make_private_directory(Path("here/two"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"there": 0o755, "one": 0o700, "two": 0o700, "three": 0o700, "here": 0o700}


def test_what_is_there_stays_and_a_file_is_in_the_way(tmp_path: Path) -> None:
    make_private_directory(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_private_directory(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_private_directory(tmp_path / "file" / "below")
