"""Deduplication, dead letters, access, limits and administration of the local broker's queues."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from clouddirect.clock import ManualClock
from clouddirect.errors import (
    AlreadyExistsError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    TooLargeError,
    UnsupportedError,
)
from clouddirect.messaging import (
    DEAD_LETTER_DESCRIPTION,
    DEAD_LETTER_QUEUE,
    DEAD_LETTER_REASON,
    BrokerRuntime,
    Message,
)
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions
from clouddirect_local.queue_admin import create_queue, delete_queue, list_queues

QUEUE = "orders"
DEAD = "orders/$dead"


class TestDeduplication:
    def test_a_repeated_id_is_confirmed_and_not_stored(self, broker: LocalBroker) -> None:
        message = Message(body=b"x")
        first, again = broker.send(QUEUE, message), broker.send(QUEUE, message)
        assert again == first
        assert len(broker.receive(QUEUE, 9)) == 1

    def test_it_holds_after_the_first_one_is_gone(self, broker: LocalBroker) -> None:
        message = Message(body=b"x")
        broker.send(QUEUE, message)
        broker.receive(QUEUE)[0].ack()
        broker.send(QUEUE, message)
        assert broker.receive(QUEUE) == []

    def test_it_ends_with_the_window(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        message = Message(body=b"x")
        broker.send(QUEUE, message)
        manual_clock.advance(299)
        broker.send(QUEUE, message)
        manual_clock.advance(2)  # the window began with the first one
        broker.send(QUEUE, message)
        broker.send(QUEUE, message)
        assert len(broker.receive(QUEUE, 9)) == 2

    def test_within_a_batch_and_beside_new_ones(self, broker: LocalBroker) -> None:
        old, new = Message(body=b"old", ordering_key="k"), Message(body=b"new", ordering_key="k")
        broker.send(QUEUE, old)
        last = Message(body=b"last", ordering_key="k")
        results = broker.send_many(QUEUE, [old, new, old, new, last])
        assert all(result.ok for result in results)
        numbers = [result.receipt.broker_id for result in results if result.receipt]
        assert numbers[0] == numbers[2]
        assert numbers[1] == numbers[3]
        assert [each.message.body for each in broker.receive(QUEUE, 9)] == [b"old", b"new", b"last"]

    def test_ids_are_remembered_by_queue(self, broker: LocalBroker, queue_file: Path) -> None:
        create_queue(queue_file, "other")
        message = Message(body=b"x")
        broker.send(QUEUE, message)
        broker.send("other", message)
        assert len(broker.receive("other")) == 1

    def test_a_window_of_zero_turns_it_off(self, broker: LocalBroker, queue_file: Path) -> None:
        create_queue(queue_file, "plain", deduplication_window=0)
        message = Message(body=b"x")
        assert broker.send("plain", message) != broker.send("plain", message)
        assert len(broker.receive("plain", 9)) == 2

    def test_a_dead_letter_may_be_sent_again_under_a_new_id_alone(self, broker: LocalBroker) -> None:
        broker.send(QUEUE, Message(body=b"x"))
        broker.receive(QUEUE)[0].dead_letter("unreadable")
        (dead,) = broker.receive(DEAD)
        broker.send(QUEUE, dead.message)
        assert broker.receive(QUEUE) == []
        broker.send(QUEUE, Message(body=dead.message.body))
        assert len(broker.receive(QUEUE)) == 1

    def test_old_ids_are_forgotten_bit_by_bit(self, broker: LocalBroker, manual_clock: ManualClock) -> None:
        broker.send_many(QUEUE, [Message(body=b"") for _ in range(3000)])
        manual_clock.advance(301)
        for _ in range(32):
            broker.send(QUEUE, Message(body=b""))
        with broker._file.read() as connection:
            assert connection.execute("SELECT count(*) FROM seen").fetchone() == (32,)


class TestDeadLetters:
    def test_the_whole_message_is_there_with_the_reason(self, broker: LocalBroker) -> None:
        sent = Message(
            body=b"\xff\x00",
            correlation_id="c",
            content_type="t/u",
            subject="s",
            attributes={"ä": "ö"},
            ordering_key="k",
        )
        broker.send(QUEUE, sent)
        broker.receive(QUEUE)[0].dead_letter("unreadable", "line 3 is broken")
        (dead,) = broker.receive(DEAD)
        assert dead.message.body == sent.body
        assert dead.delivery_count == 1
        for name in ("id", "correlation_id", "content_type", "subject", "ordering_key"):
            assert getattr(dead.message, name) == getattr(sent, name)
        assert dict(dead.message.attributes) == {
            "ä": "ö",
            DEAD_LETTER_REASON: "unreadable",
            DEAD_LETTER_DESCRIPTION: "line 3 is broken",
            DEAD_LETTER_QUEUE: QUEUE,
        }
        dead.ack()
        assert broker.receive(DEAD) == []

    def test_a_message_delivered_too_often_goes_there(self, broker: LocalBroker, queue_file: Path) -> None:
        create_queue(queue_file, "twice", max_deliveries=2)
        broker.send("twice", Message(body=b"x"))
        for count in (1, 2):
            (delivery,) = broker.receive("twice")
            assert delivery.delivery_count == count
            delivery.nack()
        assert broker.receive("twice") == []
        (dead,) = broker.receive("twice/$dead")
        assert dead.message.attributes[DEAD_LETTER_REASON] == "MaxDeliveryCountExceeded"
        assert "2 times" in dead.message.attributes[DEAD_LETTER_DESCRIPTION]

    def test_a_receiver_that_dies_again_and_again_counts_too(self, broker, queue_file, manual_clock) -> None:
        create_queue(queue_file, "twice", max_deliveries=2)
        broker.send("twice", Message(body=b"x"))
        for _ in range(2):
            assert len(broker.receive("twice")) == 1
            manual_clock.advance(31)
        assert broker.receive("twice") == []
        assert len(broker.receive("twice/$dead")) == 1

    def test_a_receiver_waiting_there_is_told(self, broker: LocalBroker, manual_clock: ManualClock, in_thread) -> None:
        broker.send(QUEUE, Message(body=b"x"))
        (delivery,) = broker.receive(QUEUE)
        waiting = in_thread(lambda: broker.receive(DEAD, wait=60))
        assert manual_clock.wait_for_sleepers()
        delivery.dead_letter("unreadable")
        assert len(waiting.result(timeout=10)) == 1

    def test_nobody_sends_there(self, broker: LocalBroker) -> None:
        with pytest.raises(UnsupportedError, match="dead-letter queue"):
            broker.send(DEAD, Message(body=b"x"))

    def test_what_dies_there_as_well_goes_to_the_quarantine(self, queue_file: Path, tmp_path: Path) -> None:
        runtime = BrokerRuntime(quarantine=tmp_path / "quarantine")
        with LocalBroker(LocalBrokerOptions(path=queue_file), runtime) as broker:
            broker.send(QUEUE, Message(body=b"x"))
            broker.receive(QUEUE)[0].dead_letter("unreadable")
            broker.receive(DEAD)[0].dead_letter("unreadable")
            assert broker.receive(DEAD) == []
            assert [each.message.body for each in broker.quarantine] == [b"x"]


class TestAccess:
    def test_a_send_only_broker_sends_and_no_more(self, open_local) -> None:
        sender = open_local(access="send")
        sender.send(QUEUE, Message(body=b"x"))
        with pytest.raises(PermissionDeniedError, match="access = 'send'"):
            sender.receive(QUEUE)
        assert sender.check(QUEUE, "send").status == "ok"
        denied = sender.check(QUEUE, "receive")
        assert denied.status == "failed"
        assert isinstance(denied.error, PermissionDeniedError)

    def test_a_receive_only_broker_receives_and_settles(self, open_local) -> None:
        open_local().send_many(QUEUE, [Message(body=b"%d" % place) for place in range(4)])
        receiver = open_local(access="receive")
        first, second, third, fourth = receiver.receive(QUEUE, 9)
        first.ack()
        second.nack()
        third.dead_letter("unreadable")
        fourth.extend(5)
        with pytest.raises(PermissionDeniedError, match="access = 'receive'"):
            receiver.send(QUEUE, Message(body=b"x"))
        assert [result.status for result in receiver.send_many(QUEUE, [Message(body=b"x")])] == ["failed"]
        assert receiver.check(QUEUE, "receive").status == "ok"
        assert receiver.check(QUEUE, "send").status == "failed"

    def test_a_refusal_touches_no_file(self, open_local, tmp_path: Path) -> None:
        broker = open_local(path=tmp_path / "missing.db", create=True, access="send")
        with pytest.raises(PermissionDeniedError):
            broker.receive(QUEUE)
        assert os.listdir(tmp_path) == ["queues.db"]


class TestCheck:
    @pytest.mark.parametrize("access", ["send", "receive"])
    def test_what_is_there_is_ok_and_stays_as_it_is(self, open_local, tmp_path: Path, access) -> None:
        before = (tmp_path / "queues.db").read_bytes()
        assert open_local().check(QUEUE, access).status == "ok"
        assert open_local().check(DEAD, "receive").status == "ok"
        assert os.listdir(tmp_path) == ["queues.db"]
        assert (tmp_path / "queues.db").read_bytes() == before

    @pytest.mark.parametrize("create", [False, True])
    def test_what_is_missing_is_named_and_not_made(self, open_local, tmp_path: Path, queue_file, create: bool) -> None:
        status = "likely" if create else "failed"
        for broker, queue in (
            (open_local(path=tmp_path / "sub" / "missing.db", create=create), QUEUE),
            (open_local(create=create), "nothing"),
        ):
            result = broker.check(queue, "send")
            assert result.status == status
            assert create or isinstance(result.error, NotFoundError)
        assert os.listdir(tmp_path) == ["queues.db"]
        assert [queue.name for queue in list_queues(queue_file)] == [QUEUE]

    def test_a_file_of_somebody_else_fails(self, open_local, tmp_path: Path) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("not a database " * 100)
        assert isinstance(open_local(path=path).check(QUEUE, "send").error, ConfigurationError)


class TestLimits:
    def test_size_counts_every_field_and_the_limit_is_exact(self, open_local) -> None:
        broker = open_local(max_message_bytes=100)
        fields = {"id": "i", "subject": "s", "attributes": {"ä": "b"}}
        room = 100 - (1 + 1 + 2 + 1)
        broker.send(QUEUE, Message(body=b"x" * room, **fields))
        with pytest.raises(TooLargeError, match="100"):
            broker.send(QUEUE, Message(body=b"x" * (room + 1), **fields))
        assert len(broker.receive(QUEUE, 9)) == 1

    def test_the_default_is_one_mebibyte(self, broker: LocalBroker) -> None:
        message = Message(body=bytes(2**20 - 36))
        broker.send(QUEUE, message)
        assert broker.receive(QUEUE)[0].message.body == message.body

    def test_one_call_returns_a_bounded_number_of_bytes(self, broker: LocalBroker) -> None:
        assert all(result.ok for result in broker.send_many(QUEUE, [Message(body=bytes(10**6)) for _ in range(40)]))
        first = broker.receive(QUEUE, 40)
        assert 16 <= len(first) < 20
        assert len(first) + len(broker.receive(QUEUE, 40)) + len(broker.receive(QUEUE, 40)) == 40

    def test_a_limit_above_a_batch_still_sends(self, open_local) -> None:
        broker = open_local(max_message_bytes=32 * 2**20)
        broker.send(QUEUE, Message(body=bytes(20 * 2**20)))
        assert len(broker.receive(QUEUE)[0].message.body) == 20 * 2**20

    def test_fields_survive_exactly(self, broker: LocalBroker) -> None:
        sent = Message(
            body=b"", id="\u2603\x00'\"", correlation_id="\U0001f441", content_type="\u200b", subject="\n",
            attributes={"\x00": "\x00", " ": "", "\U0010ffff": "\ud7ff\ue000", "a" * 500: "b" * 5000},
        )  # fmt: skip
        broker.send(QUEUE, sent)
        assert broker.receive(QUEUE)[0].message == sent


class TestAdministration:
    def test_queues_are_listed_with_settings_and_counts(self, broker: LocalBroker, queue_file: Path) -> None:
        create_queue(queue_file, "a", lease=1.5, max_deliveries=None, deduplication_window=0)
        broker.send_many(QUEUE, [Message(body=b"x") for _ in range(3)])
        broker.receive(QUEUE)[0].dead_letter("unreadable")
        first, second = list_queues(queue_file)
        assert (first.name, first.messages, first.dead_letters) == ("a", 0, 0)
        assert (first.settings.lease, first.settings.max_deliveries, first.settings.deduplication_window) == (
            1.5,
            None,
            0,
        )
        assert (second.name, second.messages, second.dead_letters) == (QUEUE, 2, 1)

    def test_a_queue_is_made_once(self, queue_file: Path) -> None:
        with pytest.raises(AlreadyExistsError, match="'orders'"):
            create_queue(queue_file, QUEUE, lease=5)
        assert list_queues(queue_file)[0].settings.lease == 30

    def test_deleting_takes_messages_dead_letters_and_remembered_ids(
        self, broker: LocalBroker, queue_file: Path
    ) -> None:
        kept, gone = Message(body=b"kept"), Message(body=b"gone")
        create_queue(queue_file, "other")
        broker.send("other", kept)
        broker.send(QUEUE, gone)
        broker.send(QUEUE, Message(body=b"x"))
        broker.receive(QUEUE)[0].dead_letter("unreadable")
        delete_queue(queue_file, QUEUE)
        with pytest.raises(NotFoundError):
            broker.receive(DEAD)
        create_queue(queue_file, QUEUE)
        assert broker.receive(DEAD) == []
        assert broker.receive(QUEUE) == []
        broker.send(QUEUE, gone)
        assert [each.message.body for each in broker.receive(QUEUE, 9)] == [b"gone"]
        assert [each.message.body for each in broker.receive("other")] == [b"kept"]
        with broker._file.read() as connection:
            assert connection.execute("SELECT count(*) FROM content").fetchone() == (2,)

    @pytest.mark.parametrize("name", ["", "a\nb", "a\x00", DEAD, "/$dead"])
    def test_impossible_names_are_refused(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "new.db"
        for call in (create_queue, delete_queue):
            with pytest.raises(ConfigurationError):
                call(path, name)
        assert not path.exists()

    def test_impossible_names_are_refused_by_create_too(self, open_local) -> None:
        with pytest.raises(ConfigurationError):
            open_local(create=True).send("a\nb", Message(body=b"x"))

    @pytest.mark.parametrize(
        "setting",
        [
            {"lease": 0}, {"lease": float("nan")}, {"lease": 1e9}, {"max_deliveries": 0},
            {"deduplication_window": -1}, {"deduplication_window": 1e9},
        ],
    )  # fmt: skip
    def test_impossible_settings_are_refused_by_name(self, tmp_path: Path, setting: dict[str, float]) -> None:
        path = tmp_path / "new.db"
        with pytest.raises(ConfigurationError, match=next(iter(setting))):
            create_queue(path, "a", **setting)  # type: ignore[arg-type]
        with pytest.raises(ValidationError, match=next(iter(setting))):
            LocalBrokerOptions(path=path, **setting)
        assert not path.exists()

    def test_what_is_missing_is_not_found(self, tmp_path: Path, queue_file: Path) -> None:
        for call in (lambda: list_queues(tmp_path / "no.db"), lambda: delete_queue(tmp_path / "no.db", "a")):
            with pytest.raises(NotFoundError) as caught:
                call()
            assert caught.value.provider == "local"
        with pytest.raises(NotFoundError, match="'a'"):
            delete_queue(queue_file, "a")


def test_an_unknown_option_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="max_delivery"):
        LocalBrokerOptions.model_validate({"path": tmp_path / "q.db", "max_delivery": 3})


def test_a_path_may_begin_with_the_home_directory(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with LocalBroker(LocalBrokerOptions(path=Path("~/q.db"), create=True)) as broker:
        broker.send(QUEUE, Message(body=b"x"))
    assert (tmp_path / "q.db").is_file()


def test_a_path_is_fixed_when_the_broker_is_opened(monkeypatch, tmp_path: Path, queue_file: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with LocalBroker(LocalBrokerOptions(path=Path("queues.db"))) as broker:
        monkeypatch.chdir("/")
        broker.send(QUEUE, Message(body=b"x"))
    assert list_queues(queue_file)[0].messages == 1


def test_odd_characters_in_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a b%20?mode=memory#ü.db"
    with LocalBroker(LocalBrokerOptions(path=path, create=True)) as broker:
        broker.send(QUEUE, Message(body=b"x"))
    assert path.is_file()
    assert list_queues(path)[0].messages == 1
