"""A journal with one table, for the tests of the journal itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clouddirect.orders.journal import Journal

SCHEMA = "CREATE TABLE IF NOT EXISTS notes (text TEXT)"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "data" / "clouddirect.db")
    made.define("notes", SCHEMA)
    yield made
    made.close()


def add(journal: Journal, text: str) -> None:
    with journal.write() as connection:
        connection.execute("INSERT INTO notes VALUES (?)", [text])


def notes(journal: Journal) -> list[str]:
    with journal.read() as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY rowid")]
