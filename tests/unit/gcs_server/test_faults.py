"""Faults on demand, and the command that runs the server by itself."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from google.cloud import storage

from emulators.gcs import CutResponse, Delay, GcsServer, LoseReply, Reply, Stall
from emulators.processes import Server, accepts, free_port

_TESTS = Path(__file__).resolve().parents[2]


def test_a_status_in_place_of_the_answer(server: GcsServer) -> None:
    server.faults.add("PUT", "/clinic/one", Reply(503, b"busy", {"Retry-After": "1"}), times=2)
    url = f"{server.url}/clinic/one"
    for _ in range(2):
        answer = requests.put(url, data=b"x", timeout=30)
        assert (answer.status_code, answer.content, answer.headers["Retry-After"]) == (503, b"busy", "1")
    assert server.names("clinic") == []
    assert requests.put(url, data=b"x", timeout=30).status_code == 200
    assert server.calls == {"PUT clinic": 3}


def test_the_sdk_retries_a_503(server: GcsServer, bucket: storage.Bucket) -> None:
    server.put("clinic", "one", b"x")
    server.faults.add("GET", "/o/one", Reply(503))
    assert bucket.get_blob("one").size == 1
    assert server.faults.pending() == 0


def test_other_requests_do_not_meet_a_fault(server: GcsServer) -> None:
    server.faults.add("DELETE", "/clinic/two", Reply(500))
    server.put("clinic", "one", b"x")
    assert requests.get(f"{server.url}/clinic/two", timeout=30).status_code == 404
    assert requests.delete(f"{server.url}/clinic/one", timeout=30).status_code == 204
    assert server.faults.pending() == 1


def test_a_lost_answer_leaves_the_work_done(server: GcsServer) -> None:
    server.faults.add("PUT", "one", LoseReply())
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.put(f"{server.url}/clinic/one", data=b"x", timeout=30)
    assert server.read("clinic", "one") == b"x"


def test_a_download_that_breaks_off(server: GcsServer) -> None:
    server.put("clinic", "one", b"x" * 100_000)
    server.faults.add("GET", "one", CutResponse(after=1_000))
    with requests.get(f"{server.url}/clinic/one", stream=True, timeout=30) as answer:
        assert answer.headers["Content-Length"] == "100000"
        with pytest.raises(requests.exceptions.RequestException):
            _ = answer.content


def test_a_stalled_request_goes_on_once_released(server: GcsServer) -> None:
    server.put("clinic", "one", b"x")
    server.faults.add("GET", "one", Stall())
    url = f"{server.url}/clinic/one"
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(url, timeout=0.2)
    server.faults.add("GET", "one", Stall())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(requests.get, url, timeout=30)
        while server.faults.pending():
            threading.Event().wait(0.005)
        server.faults.release()
        assert waiting.result(30).content == b"x"


def test_a_delayed_request_is_served(server: GcsServer) -> None:
    server.put("clinic", "one", b"x")
    server.faults.add("GET", "one", Delay(0.1))
    assert requests.get(f"{server.url}/clinic/one", timeout=30).elapsed.total_seconds() >= 0.1


def test_cut_connections_and_new_ones(server: GcsServer) -> None:
    server.put("clinic", "one", b"x")
    server.faults.add("GET", "one", Stall())
    url = f"{server.url}/clinic/one"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(requests.get, url, timeout=30)
        while server.faults.pending():
            threading.Event().wait(0.005)
        server.cut_connections()
        with pytest.raises(requests.exceptions.ConnectionError):
            waiting.result(30)
    assert requests.get(url, timeout=30).content == b"x"


def test_a_chunked_body(server: GcsServer) -> None:
    pieces = iter([b"one", b"two"])
    assert requests.put(f"{server.url}/clinic/one", data=pieces, timeout=30).status_code == 200
    assert server.read("clinic", "one") == b"onetwo"


def test_it_runs_by_itself() -> None:
    port = free_port()
    options = ["--port", str(port), "--bucket", "clinic", "--token", "t=buckets.get"]
    command = [sys.executable, "-m", "emulators.gcs", *options]
    url = f"http://127.0.0.1:{port}"
    with Server(command, ready=lambda: accepts(port), environment={"PYTHONPATH": str(_TESTS)}) as process:
        bucket = f"{url}/storage/v1/b/clinic"
        assert requests.get(bucket, headers={"Authorization": "Bearer t"}, timeout=30).json()["name"] == "clinic"
        assert requests.get(bucket, timeout=30).status_code == 401
        assert url in process.output()
