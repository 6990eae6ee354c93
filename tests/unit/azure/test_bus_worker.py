"""The thread that owns a connection: jobs in order, deadlines, and results that nobody waits for any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from clouddirect.errors import TimeoutError, UnavailableError
from clouddirect_azure.bus_worker import Job, Worker


class Recorder(Worker):
    """Notes what is done to its connection."""

    def __init__(self) -> None:
        super().__init__("test-worker")
        self.done: list[str] = []
        self.broken = threading.Event()

    def shut(self) -> None:
        self.done.append("shut")

    def abort(self) -> None:
        self.broken.set()


@pytest.fixture
def worker() -> Iterator[Recorder]:
    """A worker that is ended with the test."""
    worker = Recorder()
    yield worker
    worker.end(10)
    assert worker._thread is None or not worker._thread.is_alive()


def test_jobs_run_in_order_in_one_thread(worker: Recorder) -> None:
    threads: set[int] = set()
    jobs = [worker.submit(lambda number=number: (threads.add(threading.get_ident()), number)[1]) for number in range(9)]
    assert [job.wait(10) and job.result() for job in jobs] == list(range(9))
    assert len(threads) == 1


def test_what_a_job_raises_is_raised_where_it_is_waited_for(worker: Recorder) -> None:
    with pytest.raises(KeyError):
        worker.call(lambda: {}["missing"], 10)
    assert worker.call(lambda: 7, 10) == 7


def test_a_job_that_overruns_breaks_the_connection_and_fails_those_behind_it(worker: Recorder) -> None:
    begun = threading.Event()

    def hang() -> None:
        begun.set()
        assert worker.broken.wait(20)

    with pytest.raises(TimeoutError, match="given up"):
        worker.call(hang, 0.01)
    assert begun.is_set()
    with pytest.raises(UnavailableError):
        worker.submit(lambda: None)


def test_waiting_jobs_fail_when_the_connection_is_given_up(worker: Recorder) -> None:
    begun = threading.Event()
    worker.submit(lambda: (begun.set(), worker.broken.wait(20)))
    behind = worker.submit(lambda: None)
    assert begun.wait(10)
    worker.kill()
    assert behind.wait(10)
    with pytest.raises(UnavailableError):
        behind.result()


def test_ending_finishes_the_waiting_jobs_and_closes_in_good_order(worker: Recorder) -> None:
    for number in range(3):
        worker.submit(lambda number=number: worker.done.append(str(number)))
    worker.end(10)
    assert worker.done == ["0", "1", "2", "shut"]
    assert not worker.broken.is_set()


def test_a_long_job_lets_others_in(worker: Recorder) -> None:
    release, inner = threading.Event(), threading.Event()

    def long() -> None:
        assert release.wait(10)
        worker.run_waiting()
        assert inner.is_set()

    job = worker.submit(long)
    worker.submit(inner.set)
    release.set()
    assert job.wait(10)
    job.result()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_result_that_nobody_waits_for_goes_elsewhere(when: str) -> None:
    got: list[int] = []
    job = Job(lambda: 7)
    if when == "before":
        job.abandon(got.append)
        job.run()
    else:
        job.run()
        job.abandon(got.append)
    assert got == [7]
