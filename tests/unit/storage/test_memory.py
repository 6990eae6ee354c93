"""Transfers in parallel parts keep within the memory that their settings imply, whatever the size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, sys, threading
import psutil
from clouddirect.storage import FileStore, RangeRead, StoreCapabilities, StoredFile, Upload

class Sink(Upload):
    # slow enough that the crew always has four parts under way
    begun, ended, condition = 0, False, threading.Condition()
    def write_part(self, part, timeout):
        with self.condition:
            self.begun += 1
            self.ended = self.ended or part.last
            self.condition.notify_all()
            self.condition.wait_for(lambda: self.ended or self.begun >= part.index + 4)
        stream = part.open()
        while stream.read(65536):
            pass
    def commit(self, size, digest, last, timeout):
        return StoredFile(key="key", size=size)
    def abort(self, timeout):
        pass

class Endless(FileStore):
    provider, container = "endless", "none"
    def _capabilities(self):
        return StoreCapabilities(upload_digest="crc32", max_whole_bytes=8 << 20)
    def _begin_upload(self, request, timeout):
        return Sink()
    def _read(self, key, offset, length, version, timeout):
        pieces = (os.urandom(1 << 20) for _ in range(length >> 20))
        return RangeRead(file=StoredFile(key=key, size=SIZE, version="1"), chunks=pieces, close=lambda: None)
    def _nothing(self, *arguments):
        raise NotImplementedError
    _stat = _list = _delete = _check = _native = _nothing

class Source:
    left = SIZE = 200 << 20
    def read(self, size):
        size = min(size, self.left, 1 << 20)
        self.left -= size
        return os.urandom(size)

SIZE = Source.SIZE
def resident():
    return psutil.Process().memory_info().rss

store = Endless()
idle = peak = resident()
done = threading.Event()
def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, resident())
watcher = threading.Thread(target=watch)
watcher.start()
store.put("key", Source())
store.download("key", sys.argv[1])
done.set()
watcher.join()
print((peak - idle) >> 20)
"""


def test_parallel_parts_of_200_mib_need_less_than_64_mib(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "out")], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out").stat().st_size == 200 << 20
    assert int(run.stdout) <= 64
