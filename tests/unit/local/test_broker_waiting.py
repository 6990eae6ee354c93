"""Receivers that wait: woken by what happens, cheap while nothing does."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable

from clouddirect.clock import ManualClock
from clouddirect.messaging import Message
from clouddirect.retry import Interrupt
from clouddirect_local.broker import LocalBroker

QUEUE = "orders"
Start = Callable[..., "subprocess.Popen[str]"]

# The tests on the manual clock let no time pass unless they say so: whoever wakes was woken.


def test_a_message_sent_by_another_thread_wakes(broker: LocalBroker, manual_clock: ManualClock, in_thread) -> None:
    waiting = in_thread(lambda: broker.receive(QUEUE, wait=60))
    assert manual_clock.wait_for_sleepers()
    broker.send(QUEUE, Message(body=b"x"))
    assert len(waiting.result(timeout=10)) == 1


def test_a_message_sent_by_another_broker_of_the_process_wakes(broker, open_local, manual_clock, in_thread) -> None:
    waiting = in_thread(lambda: broker.receive(QUEUE, wait=60))
    assert manual_clock.wait_for_sleepers()
    open_local(clock=manual_clock).send(QUEUE, Message(body=b"x"))
    assert len(waiting.result(timeout=10)) == 1


def test_a_message_given_back_wakes(broker: LocalBroker, manual_clock: ManualClock, in_thread) -> None:
    broker.send(QUEUE, Message(body=b"x"))
    (delivery,) = broker.receive(QUEUE)
    waiting = in_thread(lambda: broker.receive(QUEUE, wait=60))
    assert manual_clock.wait_for_sleepers()
    delivery.nack()
    (again,) = waiting.result(timeout=10)
    waiting = in_thread(lambda: broker.receive(QUEUE, wait=60))
    assert manual_clock.wait_for_sleepers()
    broker.settlement.release(QUEUE, [again])
    assert len(waiting.result(timeout=10)) == 1


def test_an_ack_wakes_who_waits_for_the_next_of_the_key(
    broker: LocalBroker, manual_clock: ManualClock, in_thread
) -> None:
    broker.send_many(QUEUE, [Message(body=b"%d" % place, ordering_key="k") for place in range(2)])
    (first,) = broker.receive(QUEUE)
    waiting = in_thread(lambda: broker.receive(QUEUE, wait=60))
    assert manual_clock.wait_for_sleepers()
    first.ack()
    assert waiting.result(timeout=10)[0].message.body == b"1"


def test_nothing_within_the_wait_is_an_empty_list(broker: LocalBroker, manual_clock: ManualClock, in_thread) -> None:
    waiting = in_thread(lambda: broker.receive(QUEUE, wait=2))
    while not waiting.done():
        manual_clock.wait_for_sleepers(timeout=0.1)
        manual_clock.advance(0.5)
    assert waiting.result(timeout=10) == []


def test_closing_ends_the_wait(broker: LocalBroker, manual_clock: ManualClock, in_thread) -> None:
    waiting = in_thread(lambda: broker._receive(QUEUE, 1, 60, None, broker._closing))
    assert manual_clock.wait_for_sleepers()
    broker.close()
    assert waiting.result(timeout=10) == []


def test_an_interrupt_ends_the_wait_of_its_own_receiver_alone(broker, manual_clock: ManualClock, in_thread) -> None:
    mine, other = Interrupt(manual_clock), Interrupt(manual_clock)
    waiting = [in_thread(lambda one=one: broker._receive(QUEUE, 1, 60, None, one)) for one in (mine, other)]
    assert manual_clock.wait_for_sleepers(2)
    mine.set()
    assert waiting[0].result(timeout=10) == []
    assert not waiting[1].done()
    other.set()
    assert waiting[1].result(timeout=10) == []


def test_what_is_there_is_returned_although_interrupted(broker: LocalBroker, manual_clock: ManualClock) -> None:
    broker.send(QUEUE, Message(body=b"x"))
    interrupt = Interrupt(manual_clock)
    interrupt.set()
    assert len(broker._receive(QUEUE, 1, 60, None, interrupt)) == 1
    assert broker._receive(QUEUE, 1, 60, None, interrupt) == []


SENDER = """
import sys, time
from clouddirect.messaging import Message
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions

with LocalBroker(LocalBrokerOptions(path=sys.argv[1])) as broker:
    for line in sys.stdin:
        broker.send("orders", Message(body=repr(time.monotonic()).encode()))
"""


def test_a_message_sent_by_another_process_arrives_within_100_ms(open_local, queue_file, run_python: Start) -> None:
    broker = open_local()
    sender = run_python(SENDER, queue_file, stdin=subprocess.PIPE)
    assert sender.stdin is not None
    delays = []
    for _ in range(11):
        sender.stdin.write("\n")
        sender.stdin.flush()
        (delivery,) = broker.receive(QUEUE, wait=30)
        delays.append(time.monotonic() - float(delivery.message.body))
        delivery.ack()
    assert sorted(delays)[len(delays) // 2] < 0.1


def test_an_idle_receiver_costs_under_one_percent_of_a_core(queue_file, run_python: Start) -> None:
    process = run_python(
        """
import sys, threading, time
from clouddirect_local.broker import LocalBroker
from clouddirect_local.broker_options import LocalBrokerOptions

with LocalBroker(LocalBrokerOptions(path=sys.argv[1])) as broker:
    broker.receive("orders", wait=0.1)
    receiver = threading.Thread(target=lambda: broker.receive("orders", wait=3))
    receiver.start()
    began, used = time.monotonic(), time.process_time()
    receiver.join()
    print((time.process_time() - used) / (time.monotonic() - began))
""",
        queue_file,
    )
    assert float(process.communicate(timeout=60)[0]) < 0.01


def test_waiting_receivers_leave_the_file_to_others(open_local, in_thread) -> None:
    receivers = [open_local() for _ in range(4)]
    stop, acked = threading.Event(), threading.Semaphore(0)

    def receive(broker: LocalBroker) -> int:
        count = 0
        while not stop.is_set():
            done = sum(result.ok for result in broker.ack_many(broker.receive(QUEUE, 10, wait=0.2)))
            count += done
            if done:
                acked.release(done)
        return count

    counts = [in_thread(lambda one=one: receive(one)) for one in receivers]
    sender = open_local()
    for _ in range(300):
        sender.send(QUEUE, Message(body=b"x"))
    assert all(acked.acquire(timeout=30) for _ in range(300))
    stop.set()
    assert sum(count.result(timeout=30) for count in counts) == 300
