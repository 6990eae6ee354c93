"""kill -9 at random moments, over `local`: of a sender, of the outbox, of consumers and of the sandbox.

No order, event or result is lost; each is handled effectively once; no half file is visible. 20 kills each by default,
200 with ``--long``.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clouddirect
from clouddirect.messaging import Message
from clouddirect.orders import CloudDirect, ImageFile
from clouddirect.settings import Settings
from workflow.kill_nursery import Chances, Nursery
from workflow.kill_workers import Diary, image_of, order

GUID = "63E3C9EF-66AC-4154-B0C2-494515EB99A7"
EVENT_KINDS = ["OrderCreationReceipt", "ImageReceipt", "ReadyForGradingEvent", "GradingReceipt", "OrderGradedEvent"]
REPORT = "JVBERi0xLjQK" * 20_000
#: Seconds that a message of a killed process stays reserved for it.
LEASE = 0.5


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.fixture
def kills(long_run: bool) -> int:
    return 200 if long_run else 20


class Place:
    """Queues, a store and a data directory on this machine, and a diary of what the killed processes said."""

    def __init__(self, directory: Path, nursery: Nursery) -> None:
        self.directory = directory
        self.diary = Diary(directory / "diary.txt")
        self.chances = Chances(6)
        self._nursery = nursery
        (directory / "files" / "images").mkdir(parents=True)
        self.far = clouddirect.open_broker("local", **self._queue(), create=True)

    def _queue(self) -> dict[str, Any]:
        # a broker that remembers no ids, so that every repeat is seen
        return {"path": str(self.directory / "q.db"), "deduplication_window": 0, "lease": LEASE, "max_deliveries": None}

    def values(self, **more: Any) -> dict[str, Any]:
        """Settings of both sides."""
        queues = {
            name: {"provider": "local", "queue": name, "create": True, **self._queue()}
            for name in ("orders", "events", "results")
        }
        store = {"provider": "local", "path": str(self.directory / "files"), "container": "images"}
        sides = {"endpoints": queues, "stores": {"images": store}}
        return {"client_guid": GUID, "site": "PC1", "data_dir": str(self.directory / "data"), "sandbox": sides,
                **sides, **more}  # fmt: skip

    def client(self, **more: Any) -> CloudDirect:
        return CloudDirect(Settings.of(self.values(**more)))

    def kill_again_and_again(self, work: str, kills: int, *, longest: float, **options: Any) -> Iterator[int]:
        """Start the work and kill it at a random moment; yields after each kill, how many have been."""
        settings = self.directory / "settings.json"
        settings.write_text(json.dumps(self.values(**options.pop("settings", {}))))
        files = {"settings": str(settings), "diary": str(self.diary.path)}
        for number in range(1, kills + 1):
            with self._nursery.start(work, **files, **options):
                self.chances.wait(longest)
            yield number

    def take(self, queue: str) -> list[Message]:
        """Take what is in a queue, in order, and what a killed process has on lease when that is back."""
        taken: list[Message] = []
        while deliveries := self.far.receive(queue, 100, wait=0 if "$" in queue else 2 * LEASE):
            taken += [one.message for one in deliveries]
            self.far.ack_many(deliveries)
        return taken

    def put(self, queue: str, *values: dict[str, Any]) -> None:
        self.far.send_many(queue, [Message(body=json.dumps(value).encode()) for value in values])

    def stored(self) -> dict[str, bytes]:
        """The images that anybody can see."""
        with self.client() as client:
            store = client._connections.store("images").store
            return {found.key: store.get(found.key) for found in store.list()}


@pytest.fixture
def place(tmp_path: Path, nursery: Nursery) -> Iterator[Place]:
    made = Place(tmp_path, nursery)
    yield made
    made.far.close()
    made.diary.close()


def number_of(wire: dict[str, Any]) -> int:
    return int(wire["Order"]["LocalId"].removeprefix("ORD-"))


def check_images(place: Place, arrived: list[dict[str, Any]]) -> None:
    """No half image is visible, and each order that names one finds it."""
    stored = place.stored()
    whole = {image_of(f"ORD-{number}") for number in range(3, max(map(number_of, arrived)) + 4, 3)}
    assert set(stored.values()) <= whole
    for wire in arrived:
        if number_of(wire) % 3 == 0:
            (entry,) = wire["Camera"]["Images"]
            assert stored[entry["AzureBlobStorage"]["FileName"]] == image_of(wire["Order"]["LocalId"])
        else:
            assert "Camera" not in wire


def test_a_sender(place: Place, kills: int) -> None:
    """What was confirmed has arrived; what was cut off has arrived once or not at all."""
    for _ in place.kill_again_and_again("submit", kills, longest=0.25):
        pass
    taken = place.take("orders")
    arrived = [json.loads(message.body) for message in taken]
    numbers = [number_of(wire) for wire in arrived]
    begun, done = place.diary.words("begun"), place.diary.words("done")
    assert len(done) > kills
    assert numbers == sorted(set(numbers))
    assert set(map(int, done)) <= set(numbers) <= set(map(int, begun))
    assert len(begun) - len(done) <= kills
    check_images(place, arrived)


def test_a_sender_with_an_outbox(place: Place, kills: int) -> None:
    """What was accepted arrives, in order, doubled only where a kill struck between the send and its note."""
    outbox = {"outbox": {"enabled": True, "wait": 0.05}}
    for _ in place.kill_again_and_again("submit", kills, longest=0.25, settings=outbox):
        pass
    with place.client() as client:
        report = client.flush_outbox()
        assert (report.errors, report.held, client.outbox.count()) == ({}, [], 0)
    check_outbox(place, kills, {int(one) for one in place.diary.words("done")})


def check_outbox(place: Place, kills: int, accepted: set[int]) -> None:
    taken = place.take("orders")
    arrived = [json.loads(message.body) for message in taken]
    ids: dict[int, str] = {}
    for message, wire in zip(taken, arrived, strict=True):
        # a repeat has the id of what it repeats: a broker that knows ids drops it
        assert ids.setdefault(number_of(wire), message.id) == message.id
    assert len(accepted) > kills
    assert accepted <= set(ids)
    assert list(ids) == sorted(ids)
    assert len(taken) - len(ids) <= kills
    told = {int(line[2]): line[3] for line in place.diary.lines() if line[1] == "done"}
    assert {number: ids[number] for number in told} == told
    check_images(place, arrived)


def test_the_outbox_flusher(place: Place, kills: int) -> None:
    count = kills * 12
    with place.client(outbox={"enabled": True, "wait": 0}, endpoints={"orders": away(place)}) as client:
        for number in range(1, count + 1):
            local_id = f"ORD-{number}"
            images = [ImageFile(source=image_of(local_id), laterality="OD", suffix=".jpg")] if number % 3 == 0 else []
            assert client.submit(order(local_id), images).receipt is None
    left = []
    for _ in place.kill_again_and_again("flush", kills, longest=0.12):
        with place.client() as client:
            left.append(client.outbox.count())
    assert sum(one > 0 for one in left) > kills // 2, "it must be killed while there is something to send"
    with place.client() as client:
        assert client.flush_outbox().errors == {}
        assert client.outbox.count() == 0
    check_outbox(place, kills, set(range(1, count + 1)))


def away(place: Place) -> dict[str, Any]:
    """A queue whose broker cannot be reached."""
    return {"provider": "local", "path": str(place.directory / "nowhere" / "q.db"), "queue": "orders"}


def event(number: int) -> dict[str, Any]:
    return {"TransactionId": str(uuid.UUID(int=number)), "ResultObjectType": "OrderGradedEvent", "Success": True,
            "OrderLocalId": f"ORD-{number}"}  # fmt: skip


def result(number: int) -> dict[str, Any]:
    return {"TransactionId": str(uuid.UUID(int=1_000_000 + number)), "ResultCode": "F", "Success": True,
            "Order": {"LocalId": f"ORD-{number}"},
            "ResultsDocument": {"Type": "PDF", "Encoding": "Base64", "Content": REPORT}}  # fmt: skip


def test_a_consumer(place: Place, kills: int, tmp_path: Path) -> None:
    """Each event and result is handled; once, unless a kill struck between the handling and its note."""
    count = kills * 12
    place.put("events", *(event(number) for number in range(count)))
    place.put("results", *(result(number) for number in range(count // 4)))
    place.put("events", *(event(number) for number in range(0, count, 5)))  # repeats, under other ids
    reports = tmp_path / "reports"
    whole = len(REPORT) // 4 * 3
    for _ in place.kill_again_and_again("consume", kills, longest=0.2, reports=str(reports)):
        seen = [path for path in reports.glob("*") if not path.name.startswith(".")] if reports.is_dir() else []
        assert {path.stat().st_size for path in seen} <= {whole}
    rest = finish(place, reports)
    handled = Counter([*place.diary.words("done"), *rest])
    wanted = {str(uuid.UUID(int=number)) for number in (*range(count), *(1_000_000 + n for n in range(count // 4)))}
    assert set(handled) == wanted
    assert len(rest) < len(wanted), "the killed ones must have handled something"
    # each of the two threads for each queue may have been between the end of the handling and the note
    for unnoted in forgotten(place, rest).values():
        assert unnoted <= 4
    assert sorted(path.name for path in reports.glob("*.*") if not path.name.startswith(".")) == sorted(
        f"ORD-{number}.pdf" for number in range(count // 4)
    )
    for queue in ("events", "results"):
        assert place.take(queue) == []
        assert place.take(f"{queue}/$dead") == []


def finish(place: Place, reports: Path) -> list[str]:
    """Handle what is left, until nothing comes any more; returns what was."""
    from clouddirect.orders import save_report

    rest: list[str] = []

    def take(incoming: Any, handle: Any = lambda value: None) -> None:
        for one in incoming:
            with one as value:
                handle(value)
                rest.append(str(value.transaction_id))

    with place.client() as client:
        # what is being handled elsewhere, as far as the inbox knows, is given back for five seconds
        take(client.events(timeout=6, once=True))
        take(client.results(timeout=2 * LEASE, once=True), lambda value: save_report(value, reports))
    return rest


def forgotten(place: Place, rest: list[str]) -> Counter[str]:
    """How often what each process had handled was handled again by a later one."""
    later, counts = set(rest), Counter[str]()
    for pid, *words in reversed(place.diary.lines()):
        if words[0] == "done":
            counts[pid] += words[1] in later
            later.add(words[1])
    return counts


def test_a_consumer_that_notes_in_its_own_transaction(place: Place, kills: int) -> None:
    """Exactly once, wherever the kill strikes."""
    count = kills * 50
    place.put("events", *(event(number) for number in range(count)))
    place.put("events", *(event(number) for number in range(0, count, 5)))
    for _ in place.kill_again_and_again("transact", kills, longest=0.12):
        pass
    begun = len(set(place.diary.words("begun")))
    place._nursery.run("transact", settings=str(place.directory / "settings.json"), diary=str(place.diary.path),
                       timeout=2 * LEASE)  # fmt: skip
    with place.client() as client, client._journal.read() as database:
        handled = [row[0] for row in database.execute("SELECT tx FROM graded")]
    assert sorted(handled) == [str(uuid.UUID(int=number)) for number in range(count)]
    assert kills < begun < count, "it must be killed at its work, and not find all done"
    assert place.take("events/$dead") == []


def test_the_sandbox(place: Place, kills: int) -> None:
    """Every order gets each of its events and its result; a repeat has the TransactionId that it had before."""
    from clouddirect.sandbox import demo_image

    picture, count = demo_image(1, "OD"), kills * 4
    with place.client() as client:
        for number in range(count):
            client.submit(order(f"ORD-{number}"), [ImageFile(source=picture, laterality="OD", suffix=".jpg")])
    settings = place.values()
    settings["sandbox"]["stage_delay"] = 0.02
    for _ in place.kill_again_and_again("rehearse", kills, longest=0.25, settings=settings):
        pass
    said = [line[2] for line in place.diary.lines()]
    assert kills < len(set(said)) < 6 * count, "it must be killed at its work, and not find all done"
    assert len(said) > len(set(said)), "something must have been begun again"
    with place._nursery.start("rehearse", settings=str(place.directory / "settings.json"),
                              diary=str(place.diary.path)):  # fmt: skip
        events, results = collect(place, count)
    sent: dict[str, dict[str, set[str]]] = {}
    for one in events:
        sent.setdefault(one["OrderLocalId"], {}).setdefault(one["ResultObjectType"], set()).add(one["TransactionId"])
    for number in range(count):
        kinds = sent[f"ORD-{number}"]
        assert list(kinds) == EVENT_KINDS  # by their first arrival
        assert all(len(transactions) == 1 for transactions in kinds.values())
        assert len(results[f"ORD-{number}"]) == 1
    assert len(sent) == count
    for queue in ("orders/$dead", "events/$dead", "orders"):
        assert place.take(queue) == []


def collect(place: Place, count: int) -> tuple[list[dict[str, Any]], dict[str, set[str]]]:
    """Take events and results until no order is left that one is missing of."""
    results: dict[str, set[str]] = {}
    while len(results) < count:
        deliveries = place.far.receive("results", 10, wait=60)
        assert deliveries, f"a result is lost: {count - len(results)} orders have none"
        for delivery in deliveries:
            with delivery:
                wire = json.loads(delivery.message.body)
                results.setdefault(wire["Order"]["LocalId"], set()).add(wire["TransactionId"])
    events = [json.loads(message.body) for message in place.take("events")]
    return events, results
