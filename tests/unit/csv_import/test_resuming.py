"""An import that was cut off goes on where it stopped; what was sent stays as it was."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from clouddirect.errors import (
    CloudDirectError,
    ConfigurationError,
    InvalidMessageError,
    PermissionDeniedError,
    TooLargeError,
    UnavailableError,
)
from clouddirect.orders import CloudDirect, CsvImport, CsvReport, CsvRow

from .conftest import CANARY, Place, Write, order_row


def send(client: CloudDirect, path: Path, **options: Any) -> tuple[CsvReport, list[CsvRow]]:
    told: list[CsvRow] = []
    with CsvImport(client, path, **options) as batch:
        return batch.send(told=told.append), told


class Fails:
    """A client whose ``submit`` fails at one order, before or after it was sent."""

    def __init__(self, client: CloudDirect, monkeypatch: pytest.MonkeyPatch, at: str, error: CloudDirectError) -> None:
        self._submit = client.submit
        self._at, self._error = at, error
        monkeypatch.setattr(client, "submit", self)

    def __call__(self, order: Any, **options: Any) -> Any:
        if order.order_local_id != self._at:
            return self._submit(order, **options)
        if self._error.maybe_sent:
            self._submit(order, **options)
        raise self._error


def test_sent_again_a_file_sends_nothing(place: Place, write: Write) -> None:
    path = write(order_row(1), order_row(2, OrderLocalId=""))
    report, first = send(place.client(), path)
    assert report == CsvReport(rows=2, sent=2, sent_before=0)
    report, again = send(place.client(), path)
    assert report == CsvReport(rows=2, sent=0, sent_before=2)
    assert [(row.line, row.local_id, row.message_id) for row in again] == [
        (row.line, row.local_id, row.message_id) for row in first
    ]
    assert {row.status for row in again} == {"sent_before"}
    assert len(place.take()) == 2
    with CsvImport(place.client(), path) as batch:
        batch.check()
        assert [row.status for row in batch.checked_rows()] == ["sent_before"] * 2


def test_what_was_sent_in_spite_of_a_warning_is_not_warned_of_again(place: Place, write: Write) -> None:
    path = write(order_row(1, OrderingProviderNPI="1234567890"))
    send(place.client(), path)
    with CsvImport(place.client(), path) as batch:
        assert batch.check()
        assert batch.check()  # and anew
        assert batch.rows == 1
        assert batch.send(strict=True).sent_before == 1


def test_rows_added_below_are_sent(place: Place, write: Write) -> None:
    path = write(order_row(1))
    send(place.client(), path)
    write(order_row(1), order_row(2), delimiter=";", encoding="utf-8-sig")  # what a row says counts, not its bytes
    report, _ = send(place.client(), path)
    assert (report.sent, report.sent_before) == (1, 1)
    assert [order["Order"]["LocalId"] for order in place.orders()] == ["ORD-1", "ORD-2"]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ([order_row(1), order_row(2, PatientDob="1/1/1970")], 3),
        ([order_row(2), order_row(1)], 2),
        ([order_row(0), order_row(1), order_row(2)], 2),
        ([order_row(1)], 1),
    ],
    ids=["changed", "moved", "inserted", "removed"],
)
def test_what_was_sent_must_stay_as_it_was(place: Place, write: Write, rows: list[dict[str, str]], line: int) -> None:
    path = write(order_row(1), order_row(2))
    send(place.client(), path)
    place.take()
    write(*rows)
    with CsvImport(place.client(), path) as batch, pytest.raises(InvalidMessageError) as caught:
        batch.send()
    (problem,) = caught.value.problems
    assert f"line {line}: " in str(problem)
    assert "another progress file" in str(problem)
    assert CANARY not in str(caught.value)
    assert place.take() == []
    send(place.client(), path, progress=path.with_name("second"))
    assert len(place.take()) == len(rows)


def test_a_constant_of_the_mapping_is_part_of_what_a_row_says(place: Place, write: Write, tmp_path: Path) -> None:
    row = order_row(1)
    del row["EvaluationType"]
    path, mapping = write(row), tmp_path / "mapping.toml"
    mapping.write_text('[constants]\nEvaluationType = "DR"\n')
    send(place.client(), path, mapping=mapping)
    mapping.write_text('[constants]\nEvaluationType = "AMD"\n')
    with pytest.raises(InvalidMessageError, match="line 2: is not what an earlier run sent"):
        send(place.client(), path, mapping=mapping)


def test_a_row_that_was_surely_not_sent_may_be_corrected(
    place: Place, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(order_row(1), order_row(2), order_row(3))
    client = place.client()
    Fails(client, monkeypatch, "ORD-2", TooLargeError("the message is too large"))
    with pytest.raises(TooLargeError) as caught:
        send(client, path)
    assert str(caught.value) == (
        f"{path}, line 3: the message is too large; 1 of 3 rows were sent before it. Run the same import again to send "
        "the rest"
    )
    write(order_row(1), order_row(2, PatientDob="1/1/1970"), order_row(3))
    report, _ = send(place.client(), path)
    assert (report.sent, report.sent_before) == (2, 1)
    assert [order["Patient"]["Dob"] for order in place.orders()] == ["12/1/1961", "1/1/1970", "12/1/1961"]


@pytest.mark.parametrize("window", [300.0, 0.0])
def test_a_row_that_may_have_been_sent_is_sent_again_under_the_same_ids(
    place: Place, write: Write, monkeypatch: pytest.MonkeyPatch, window: float
) -> None:
    values = place.values(deduplication_window=window)
    rows = [order_row(1), order_row(2, OrderLocalId=""), order_row(3)]
    path = write(*rows)
    client = place.client(values)
    submit, ids = client.submit, []

    def lost(order: Any, *, message_id: str) -> Any:
        done = submit(order, message_id=message_id)
        if order.order_local_id.startswith("CSV-"):
            ids.append((order.order_local_id, message_id))
            raise UnavailableError("the line was cut", maybe_sent=True)
        return done

    monkeypatch.setattr(client, "submit", lost)
    with pytest.raises(UnavailableError, match="may have been sent"):
        send(client, path)
    changed = write(rows[0], rows[1] | {"PatientDob": "1/1/1970"}, rows[2], name="changed.csv")
    with pytest.raises(InvalidMessageError, match="line 3: is not what an earlier run sent"):
        send(place.client(values), changed, progress=f"{path}.progress")
    report, told = send(place.client(values), path)
    assert (report.sent, report.sent_before) == (2, 1)
    assert [(told[1].local_id, told[1].message_id)] == ids
    messages = place.take()
    # a broker that knows ids for a while drops the repeat; another delivers it, recognisably
    assert [message.id for message in messages].count(ids[0][1]) == (1 if window else 2)
    assert len(messages) == (3 if window else 4)
    assert {message.correlation_id for message in messages} == {"ORD-1", ids[0][0], "ORD-3"}


def test_with_an_outbox_the_rows_wait_there_and_are_done(place: Place, write: Write) -> None:
    values = place.values() | {"outbox": {"enabled": True, "wait": 0.0}}
    values["endpoints"]["orders"]["path"] = str(place.directory / "nowhere" / "queues.db")
    values["endpoints"]["orders"]["create"] = False
    path = write(order_row(1), order_row(2))
    client = place.client(values)
    report, told = send(client, path)
    assert report.sent == 2
    assert {row.status for row in told} == {"waiting"}
    assert [one.message_id for one in client.outbox.waiting()] == [row.message_id for row in told]
    report, _ = send(client, path)
    assert report.sent_before == 2
    assert client.outbox.count() == 2


def test_what_the_outbox_holds_is_not_made_anew(place: Place, write: Write) -> None:
    values = place.values(max_message_bytes=1000) | {"outbox": {"enabled": True, "wait": 30.0}}
    path = write(order_row(1), order_row(2, OrderAdditionalInfo="x" * 2000))
    client = place.client(values)
    with pytest.raises(TooLargeError):
        send(client, path)
    (held,) = client.outbox.waiting()
    with pytest.raises(InvalidMessageError, match="line 3: is not what an earlier run sent"):
        send(client, write(order_row(1), order_row(2), name="corrected.csv"), progress=f"{path}.progress")
    values["outbox"]["wait"] = 0.0
    _, told = send(place.client(values), path)
    assert [(row.status, row.message_id) for row in told][1:] == [("waiting", held.message_id)]
    assert client.outbox.count() == 1


def test_the_progress_file_is_private_and_holds_nothing_of_the_patient(place: Place, write: Write) -> None:
    path = write(order_row(1, PatientPhone=CANARY), order_row(2, OrderLocalId=""))
    send(place.client(), path)
    progress = path.with_name("orders.csv.progress")
    assert CANARY.encode() not in progress.read_bytes()
    assert b"ORD-1" in progress.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(progress.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.glob("orders.csv.*")] == ["orders.csv.progress"]  # nothing beside it
    salts = set()
    for name in ("first", "second"):
        send(place.client(), path, progress=path.with_name(name))
        with sqlite3.connect(path.with_name(name)) as connection:
            salts.add(connection.execute("SELECT salt FROM about").fetchone())
            digest = connection.execute("SELECT digest FROM rows").fetchone()
            salts.add(digest)
        connection.close()
    assert len(salts) == 4  # the same rows, another key and other digests


def test_only_one_run_at_a_time_uses_a_progress_file(place: Place, write: Write) -> None:
    path = write(order_row(1), order_row(2))
    with CsvImport(place.client(), path) as first, CsvImport(place.client(), path) as second:
        first.check()
        second.check()
        first.send()
        with pytest.raises(UnavailableError, match="made meanwhile by another import"):
            second.send()
        with CsvImport(place.client(), path) as third, pytest.raises(UnavailableError, match="another import is using"):
            third.check()
    assert len(place.take()) == 2
    assert send(place.client(), path)[0].sent_before == 2


def test_progress_belongs_to_one_destination(place: Place, write: Write) -> None:
    path = write(order_row(1, ClientGuid=""))
    send(place.client(), path)
    for other in ({"client_guid": "11111111-2222-3333-4444-555555555555"}, {}):
        values = place.values() | other
        if not other:
            values["endpoints"]["orders"]["queue"] = "others"
        with pytest.raises(ConfigurationError, match="to another queue or for another client_guid"):
            send(place.client(values), path)
    options = place.values(max_message_bytes=100_000)  # may change: it is the same queue
    assert send(place.client(options), path)[0].sent_before == 1


def test_files_that_are_no_progress_files(place: Place, write: Write) -> None:
    path = write(order_row(1))
    text, other, empty = path.with_name("text"), path.with_name("other"), path.with_name("empty")
    text.write_text("This is certainly not what was expected here." * 50)
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE precious (x)")
    connection.close()
    before = other.read_bytes()
    for wrong in (text, other):
        with pytest.raises(ConfigurationError, match="--progress"):
            send(place.client(), path, progress=wrong)
    assert other.read_bytes() == before
    empty.touch()  # whoever made it was killed at once
    assert send(place.client(), path, progress=empty)[0].sent == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_without_a_place_for_progress_nothing_is_sent(place: Place, write: Write, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    with pytest.raises(PermissionDeniedError, match="--progress"):
        send(place.client(), write(order_row(1)), progress=tmp_path / "shut" / "progress")
    assert place.take() == []


def test_a_directory_that_is_missing_is_told(place: Place, write: Write, tmp_path: Path) -> None:
    with pytest.raises(PermissionDeniedError, match="cannot be made"):
        send(place.client(), write(order_row(1)), progress=tmp_path / "nowhere" / "progress")
    assert place.take() == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_full_disk_ends_the_import_before_a_row_is_sent(
    place: Place, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource
    import signal

    path = write(*[order_row(number) for number in range(400)])
    client = place.client()
    sent = []
    monkeypatch.setattr(client, "submit", lambda order, *, message_id: sent.append(order.order_local_id) or _Done())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(UnavailableError, match="run the import again"):
            send(client, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    first = list(sent)
    assert 0 < len(first) < 400
    report, _ = send(client, path)
    assert report.sent + report.sent_before == 400
    assert sorted(set(sent)) == sorted(f"ORD-{number}" for number in range(400))
    assert len(sent) <= 401  # the one at which it ended, at most, twice


class _Done:
    receipt = object()
