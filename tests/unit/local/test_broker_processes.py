"""Many processes and threads on one file, and processes that die or fork."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clouddirect.messaging import Message
from clouddirect_local.queue_admin import create_queue, list_queues

QUEUE = "orders"
Start = Callable[..., "subprocess.Popen[str]"]

OPEN = """
import os, sys, threading, time
from clouddirect.messaging import Message
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions

broker = LocalBroker(LocalBrokerOptions(path=sys.argv[1]))
"""


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)])


SEND_FOR_EVER = (
    OPEN
    + """
batch = int(sys.argv[2])
while True:
    messages = [Message(body=os.urandom(500), ordering_key="k" if n % 2 else None) for n in range(batch)]
    for result in broker.send_many("orders", messages):
        if result.ok:
            sys.stdout.write(result.message.id + "\\n")
    sys.stdout.flush()
"""
)


@pytest.mark.parametrize("batch", [1, 50])
def test_what_was_confirmed_survives_a_kill(
    open_local, queue_file: Path, run_python: Start, long_run, batch: int
) -> None:
    for _ in range(100 if long_run else 4):
        sender = run_python(SEND_FOR_EVER, queue_file, batch)
        assert sender.stdout is not None
        confirmed = {sender.stdout.readline().strip() for _ in range(random.randint(1, 150))}
        sender.kill()
        confirmed |= {line.strip() for line in sender.communicate()[0].splitlines()}
        confirmed = {line for line in confirmed if len(line) == 36}  # the last line may be torn
        receiver = open_local()
        stored = set()
        while deliveries := receiver.receive(QUEUE, 1000):
            stored |= {delivery.message.id for delivery in deliveries}
            assert all(result.ok for result in receiver.ack_many(deliveries))
        assert confirmed <= stored
        receiver.close()
        assert sound(queue_file)


RECEIVE_FOR_EVER = (
    OPEN
    + """
while True:
    deliveries = broker.receive("orders", 7, wait=5)
    for result in broker.ack_many(deliveries):
        if result.ok:
            sys.stdout.write(result.delivery.message.id + "\\n")
    sys.stdout.flush()
"""
)


def test_what_a_killed_receiver_had_not_acked_comes_again(
    open_local, tmp_path: Path, run_python: Start, long_run: bool
) -> None:
    path = tmp_path / "short.db"
    create_queue(path, QUEUE, lease=1, max_deliveries=None)
    broker = open_local(path=path)
    for _ in range(50 if long_run else 3):
        sent = {result.message.id for result in broker.send_many(QUEUE, [Message(body=b"x") for _ in range(1000)])}
        receiver = run_python(RECEIVE_FOR_EVER, path)
        assert receiver.stdout is not None
        acked = {receiver.stdout.readline().strip() for _ in range(random.randint(1, 300))}
        receiver.kill()
        acked |= {line for line in receiver.communicate()[0].splitlines() if len(line) == 36}
        rest = Counter[str]()
        while deliveries := broker.receive(QUEUE, 1000, wait=1.5):
            rest.update(delivery.message.id for delivery in deliveries)
            assert all(result.ok for result in broker.ack_many(deliveries))
        # what was acked and not yet reported when the process died is in neither
        assert set(rest) & acked == set()
        assert len(sent - set(rest) - acked) <= 7
        assert set(rest.values()) <= {1}
    broker.close()
    assert sound(path)


SEND_THE_SAME = (
    OPEN
    + """
messages = [Message(body=b"x", id=f"id {n}") for n in range(300)]
print("ready", flush=True)
sys.stdin.readline()
for n in range(0, 300, 10):
    assert all(result.ok for result in broker.send_many("orders", messages[n : n + 10]))
broker.close()
"""
)


def test_processes_that_send_the_same_ids_store_one_of_each(open_local, queue_file: Path, run_python: Start) -> None:
    senders = [run_python(SEND_THE_SAME, queue_file, stdin=subprocess.PIPE) for _ in range(4)]
    for sender in senders:
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ready\n"
    for sender in senders:
        assert sender.stdin is not None
        sender.stdin.write("\n")
        sender.stdin.flush()
    for sender in senders:
        sender.communicate(timeout=60)
        assert sender.returncode == 0
    ids = [delivery.message.id for delivery in open_local().receive(QUEUE, 1000)]
    assert sorted(ids) == sorted(f"id {n}" for n in range(300))


CONSUME = (
    OPEN
    + """
done = []
consumer = broker.consume("orders", lambda delivery: done.append(delivery.message.body.decode()), concurrency=2)
sys.stdin.readline()
broker.close()
print(" ".join(done))
"""
)


def test_four_processes_share_a_queue_without_loss_or_repetition(open_local, queue_file, run_python: Start) -> None:
    consumers = [run_python(CONSUME, queue_file, stdin=subprocess.PIPE) for _ in range(4)]
    broker = open_local()
    keys = [None, "a", "b", "c"]
    for start in range(0, 1000, 20):
        messages = [Message(body=b"%d" % n, ordering_key=keys[n % 4]) for n in range(start, start + 20)]
        assert all(result.ok for result in broker.send_many(QUEUE, messages))
    waiter = threading.Event()
    while list_queues(queue_file)[0].messages:
        waiter.wait(0.05)
    handled = []
    for consumer in consumers:
        handled += consumer.communicate("\n", timeout=60)[0].split()
    assert sorted(map(int, handled)) == list(range(1000))


def test_sixteen_threads_send_receive_and_settle_on_one_broker(open_local, in_thread) -> None:
    broker = open_local()
    seen: list[str] = []

    def work(thread: int) -> list[str]:
        mine = []
        for number in range(20):
            message = Message(body=b"x", ordering_key=f"key {(thread + number) % 5}" if number % 2 else None)
            broker.send(QUEUE, message)
            mine.append(message.id)
            for place, delivery in enumerate(broker.receive(QUEUE, 3)):
                if place == 2:
                    delivery.nack()
                else:
                    delivery.extend(60)
                    delivery.ack()
                    seen.append(delivery.message.id)
        return mine

    sent = [one for thread in [in_thread(lambda n=n: work(n)) for n in range(16)] for one in thread.result(timeout=60)]
    while deliveries := broker.receive(QUEUE, 100):
        broker.ack_many(deliveries)
        seen += [delivery.message.id for delivery in deliveries]
    assert sorted(seen) == sorted(sent)


FORK = (
    OPEN
    + """
broker.send("orders", Message(body=b"before"))
broker.receive("nothing" if len(sys.argv) > 2 else "orders")[0].nack()
receiver = threading.Thread(target=lambda: broker.receive("orders/$dead", wait=60), daemon=True)
receiver.start()
child = os.fork()
name = b"parent" if child else b"child"
for n in range(100):
    broker.send("orders", Message(body=name))
for delivery in broker.receive("orders", 20):
    delivery.ack()
if child:
    assert os.waitpid(child, 0)[1] == 0
    broker.send("orders", Message(body=b"after"))
    print("done", flush=True)
os._exit(0)
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_broker_goes_on_in_both_processes_after_a_fork(open_local, queue_file: Path, run_python: Start) -> None:
    assert run_python(FORK, queue_file).communicate(timeout=60)[0] == "done\n"
    bodies = Counter(delivery.message.body for delivery in open_local().receive(QUEUE, 1000))
    assert bodies.total() == 202 - 40
    assert bodies[b"after"] == 1
    assert sound(queue_file)


FORK_WHILE_BUSY = (
    OPEN
    + """
stop = threading.Event()

def work():
    while not stop.is_set():
        broker.send("orders", Message(body=b"x"))

def fork():
    for _ in range(10):
        child = os.fork()
        if not child:
            LocalBroker(LocalBrokerOptions(path=sys.argv[1])).send("orders", Message(body=b"child"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
forking = [threading.Thread(target=fork) for _ in range(2)]  # at the same time
for thread in forking:
    thread.start()
for thread in forking:
    thread.join()
stop.set()
for thread in threads:
    thread.join()
broker.close()
print("done")
"""
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_in_the_middle_of_the_work_of_other_threads(open_local, queue_file: Path, run_python: Start) -> None:
    assert run_python(FORK_WHILE_BUSY, queue_file).communicate(timeout=60)[0] == "done\n"
    children = 0
    receiver = open_local()
    while deliveries := receiver.receive(QUEUE, 1000):
        children += sum(delivery.message.body == b"child" for delivery in deliveries)
        receiver.ack_many(deliveries)
    assert children == 20
    assert sound(queue_file)
