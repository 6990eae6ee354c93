"""kill -9 in the middle of an import: the next run sends the rest; nothing is lost, nothing arrives twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from clouddirect.orders import CsvImport

from .conftest import Place, Write, order_row

SCRIPT = """
import json, os, signal, sys
from clouddirect.orders import CloudDirect, CsvImport
from clouddirect.settings import Settings

values, path, when = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
with CloudDirect(Settings.of(values)) as client, CsvImport(client, path) as batch:
    submit, count = client.submit, 0

    def dying(order, **options):
        global count
        count += 1
        if count == 3 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = submit(order, **options)
        if count == 3 and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    client.submit = dying
    batch.send(told=lambda row: print(row.line, row.local_id, row.message_id, row.status, flush=True))
"""


def started(place: Place, path: Path, when: str = "never", window: float = 300.0) -> subprocess.Popen[str]:
    values = json.dumps(place.values(deduplication_window=window))
    command = [sys.executable, "-c", SCRIPT, values, str(path), when]
    return subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="kills itself with SIGKILL")
@pytest.mark.parametrize(("when", "messages"), [("before", 5), ("after", 6)])
def test_killed_between_the_two_notes_of_a_row(place: Place, write: Write, when: str, messages: int) -> None:
    path = write(*[order_row(number, OrderLocalId="") for number in range(5)])
    with started(place, path, when, window=0.0) as process:
        assert process.stdout is not None
        first = process.stdout.read().splitlines()
    assert process.returncode == -9
    assert len(first) == 2
    with started(place, path, window=0.0) as process:
        assert process.stdout is not None
        rest = [line.split() for line in process.stdout]
    assert process.returncode == 0
    assert [line[3] for line in rest] == ["sent_before"] * 2 + ["sent"] * 3
    taken = place.take()
    # this broker forgets ids at once, so that a repeat is seen: it has the same ids as what it repeats
    assert len(taken) == messages
    ids = [(message.correlation_id, message.id) for message in taken]
    assert set(ids) == {(line[1], line[2]) for line in rest}
    assert ids.count((rest[2][1], rest[2][2])) == messages - 4


def test_killed_again_and_again_everything_arrives_once(place: Place, write: Write, long_run: bool) -> None:
    kills = 200 if long_run else 20
    rows = kills * 6
    path = write(*[order_row(number, **({"OrderLocalId": ""} if number % 3 == 0 else {})) for number in range(rows)])
    told: dict[str, tuple[str, str]] = {}
    chance = random.Random(6)
    for _ in range(kills):
        with started(place, path) as process:
            assert process.stdout is not None
            left = chance.randint(0, 5)
            for line in process.stdout:
                number, local_id, message_id, status = line.split()
                assert told.setdefault(number, (local_id, message_id)) == (local_id, message_id)
                left -= status == "sent"
                if left < 0:
                    break
            process.kill()
    with CsvImport(place.client(), path) as batch:
        report = batch.send(told=lambda row: told.setdefault(str(row.line), (str(row.local_id), str(row.message_id))))
    assert report.rows == rows
    assert report.sent > 0
    taken = [(message.correlation_id, message.id) for message in place.take()]
    assert sorted(taken) == sorted(told.values())
    assert len(set(taken)) == rows
