"""The quarantine: durable, private, whole, and never two messages in one place."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clouddirect.errors import UnavailableError
from clouddirect.messaging import DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, Message, Quarantine

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def quarantine(tmp_path: Path) -> Quarantine:
    return Quarantine(tmp_path / "deep" / "quarantine")


def test_a_message_comes_back_whole(quarantine: Quarantine) -> None:
    message = Message(
        body=bytes(range(256)), id="m", correlation_id="c", content_type="t", subject="s", ordering_key="k",
        attributes={DEAD_LETTER_REASON: "why", DEAD_LETTER_DESCRIPTION: "because", "ü": "🙂\n"},
    )  # fmt: skip
    path = quarantine.put("memory", "q", message, 3, AT)
    (kept,) = quarantine
    assert kept.message == message
    assert (kept.path, kept.provider, kept.queue, kept.delivery_count, kept.at) == (path, "memory", "q", 3, AT)
    assert (kept.reason, kept.description) == ("why", "because")


def test_the_same_message_is_kept_once(quarantine: Quarantine) -> None:
    message = Message(body=b"x", id="m")
    quarantine.put("memory", "q", message, 1, AT)
    quarantine.put("memory", "q", message, 2, AT + timedelta(hours=1))
    assert [kept.delivery_count for kept in quarantine] == [2]


def test_foreign_messages_that_share_an_id_do_not_replace_each_other(quarantine: Quarantine) -> None:
    for body in (b"one", b"two"):
        quarantine.put("memory", "q", Message(body=body, id="1"), None, AT)
    quarantine.put("memory", "r", Message(body=b"one", id="1"), None, AT)
    assert sorted((kept.queue, kept.message.body) for kept in quarantine) == [
        ("q", b"one"),
        ("q", b"two"),
        ("r", b"one"),
    ]


def test_oldest_first(quarantine: Quarantine) -> None:
    for hours in (2, 0, 1):
        quarantine.put("memory", "q", Message(body=b"", id=str(hours)), None, AT + timedelta(hours=hours))
    assert [kept.message.id for kept in quarantine] == ["0", "1", "2"]


def test_text_that_is_no_unicode_is_kept(quarantine: Quarantine) -> None:
    quarantine.put("memory", "q", Message(body=b"", id="\ud800", attributes={"k": "\udfff"}), None, AT)
    (kept,) = quarantine
    assert kept.message.id == "\ud800"
    assert kept.message.attributes == {"k": "\udfff"}


def test_an_absent_directory_is_empty_and_is_not_made_by_looking(quarantine: Quarantine) -> None:
    assert list(quarantine) == []
    assert not quarantine.directory.exists()


@pytest.mark.skipif(os.name != "posix", reason="other systems have no permission bits")
def test_only_the_owner_can_read(quarantine: Quarantine) -> None:
    path = quarantine.put("memory", "q", Message(body=b"x"), None, AT)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(quarantine.directory.stat().st_mode) == 0o700


def test_nothing_half_written_stays(quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnavailableError, match="No space left on device") as caught:
        quarantine.put("memory", "q", Message(body=b"SECRET"), None, AT)
    assert "SECRET" not in str(caught.value)
    monkeypatch.undo()
    quarantine.directory.mkdir(parents=True, exist_ok=True)
    assert list(quarantine.directory.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"id": 1}', b'{"body": "x"}'])
def test_a_foreign_file_hides_nothing(quarantine: Quarantine, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    quarantine.put("memory", "q", Message(body=b"x", id="m"), None, AT)
    (quarantine.directory / "foreign.json").write_bytes(content)
    assert [kept.message.id for kept in quarantine] == ["m"]
    assert "foreign.json is not a readable quarantined message" in caplog.text


def test_files_are_plain_json_for_other_tools(quarantine: Quarantine) -> None:
    path = quarantine.put("memory", "q", Message(body=b"x", id="m"), None, AT)
    assert json.loads(path.read_text())["id"] == "m"


def test_the_default_place_is_the_users_data_directory() -> None:
    assert Quarantine().directory.name == "quarantine"
    assert "clouddirect" in str(Quarantine().directory)
