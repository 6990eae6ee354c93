"""What the processes do that the tests kill: each says, in a file that outlives it, what it has begun and done."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from clouddirect.orders import CloudDirect, ImageFile, save_report
from clouddirect.orders.inbox import inbox_key
from clouddirect.orders.models import Event, Name, Order, OrderRequest, OrderResult, Patient, PersonGender
from clouddirect.settings import Settings

__all__ = ["Diary", "WORKS", "image_of", "order", "work"]

#: Long enough for several writes to the disk.
_IMAGE_BYTES = 150_000


class Diary:
    """A file to which several processes append lines, each in one call of the system: a kill loses none and cuts
    none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, *words: object) -> None:
        """Append a line."""
        os.write(self._descriptor, (" ".join(map(str, (os.getpid(), *words))) + "\n").encode())

    def lines(self) -> list[list[str]]:
        """All that was noted: the process, and its words."""
        return [line.split() for line in self.path.read_text().splitlines()]

    def words(self, first: str) -> list[str]:
        """The second words of the lines that begin with ``first``."""
        return [line[2] for line in self.lines() if line[1] == first]

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def image_of(local_id: str) -> bytes:
    """The image of an order; it shows whether it is whole."""
    block = hashlib.sha256(local_id.encode()).digest()
    content = block * (_IMAGE_BYTES // len(block))
    return content + hashlib.sha256(content).hexdigest().encode()


def order(local_id: str) -> OrderRequest:
    """A new order that has nothing wrong with it."""
    return OrderRequest(
        order=Order(local_id=local_id, evaluation_types=["DR"]),
        patient=Patient(
            local_id=f"MRN-{local_id}", name=Name(first="Jane", last="Roe"), dob="1961-12-01",
            genders=[PersonGender(context="BirthGender", gender="F")],
        ),
    )  # fmt: skip


def _numbers(diary: Diary) -> Iterator[int]:
    """Numbers that no worker before this one has used."""
    number = max((int(word) for word in diary.words("begun")), default=0)
    while True:
        number += 1
        yield number


def _submit(settings: Settings, diary: Diary, options: dict[str, Any]) -> None:
    """Submit orders, every third one with an image, for ever."""
    with CloudDirect(settings) as client:
        for number in _numbers(diary):
            local_id = f"ORD-{number}"
            images = [ImageFile(source=image_of(local_id), laterality="OD", suffix=".jpg")] if number % 3 == 0 else []
            diary.note("begun", number)
            submission = client.submit(order(local_id), images)
            diary.note("done", number, submission.message_id)


def _flush(settings: Settings, diary: Diary, options: dict[str, Any]) -> None:
    """Send what waits in the outbox."""
    with CloudDirect(settings) as client:
        diary.note("flushing")
        report = client.flush_outbox()
        diary.note("flushed", report.sent)


def _consume(settings: Settings, diary: Diary, options: dict[str, Any]) -> None:
    """Handle events and results, each once; save the reports. Ends when nothing has come for a while, if told to."""
    reports = Path(options["reports"])

    def on_event(event: Event) -> None:
        diary.note("begun", event.transaction_id)
        diary.note("done", event.transaction_id)

    def on_result(result: OrderResult) -> None:
        diary.note("begun", result.transaction_id)
        path = save_report(result, reports)
        diary.note("done", result.transaction_id, path.name if path else "-")

    with CloudDirect(settings) as client:
        client.run(on_event, on_result, concurrency=2, max_deliveries=10_000, once=True)


def _handle_in_one_transaction(settings: Settings, diary: Diary, options: dict[str, Any]) -> None:
    """Handle events in the inbox's own transaction."""
    with CloudDirect(settings) as client:
        for incoming in client.events(timeout=options.get("timeout")):
            with incoming as event:
                diary.note("begun", event.transaction_id)
                with client.inbox.transaction(inbox_key(event, incoming.delivery.message.body)) as database:
                    if database is not None:
                        database.execute("CREATE TABLE IF NOT EXISTS graded (tx TEXT)")
                        database.execute("INSERT INTO graded VALUES (?)", [str(event.transaction_id)])


def _rehearse(settings: Settings, diary: Diary, options: dict[str, Any]) -> None:
    """Play the other side."""
    from clouddirect.sandbox import Sandbox

    with Sandbox(settings, on_sent=lambda message: diary.note("sent", message.transaction_id)) as sandbox:
        sandbox.run()


WORKS: dict[str, Callable[[Settings, Diary, dict[str, Any]], None]] = {
    "submit": _submit, "flush": _flush, "consume": _consume, "transact": _handle_in_one_transaction,
    "rehearse": _rehearse,
}  # fmt: skip


def work(name: str, arguments: dict[str, Any]) -> None:
    """Do the work of this name, with the settings and the diary that the arguments name."""
    settings = Settings.of(json.loads(Path(arguments["settings"]).read_text()))
    WORKS[name](settings, Diary(Path(arguments["diary"])), arguments)
