"""Where the soak's records go, and what has arrived there: for each run of a program, which numbers.

`Loki` is the real one, `Standin` takes its place. Both can be killed and started again, and both tell at the
end what they really hold.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from servers.loki import LokiServer, free_port

from logferry.shipper.store import Store

__all__ = ["Arrivals", "Loki", "Server", "Standin", "in_store"]

_EVENT = re.compile(r'"message":"r(\d+)-n(\d+)"')


class Arrivals:
    """A bit for each number of each run; `doubled` counts what came more than once."""

    def __init__(self) -> None:
        self._bits: dict[int, bytearray] = {}
        self._top: Counter[int] = Counter()
        self.doubled = 0

    def add(self, run: int, number: int) -> None:
        bits = self._bits.setdefault(run, bytearray())
        at, bit = divmod(number, 8)
        if at >= len(bits):
            bits.extend(bytes(at + 65536 - len(bits)))
        self.doubled += bits[at] >> bit & 1
        bits[at] |= 1 << bit
        self._top[run] = max(self._top[run], number + 1)

    def missing(self, run: int, count: int) -> int:
        """Return how many of the numbers below `count` did not arrive."""
        bits = self._bits.get(run, bytearray())
        whole, rest = divmod(count, 8)
        there = int.from_bytes(bits[:whole], "little").bit_count()
        there += (bits[whole] & (1 << rest) - 1).bit_count() if whole < len(bits) else 0
        return count - there

    def beyond(self, run: int, count: int) -> int:
        """Return how many arrived with `count` and higher numbers: their calls had not returned."""
        return max(0, self._top[run] - count)


class Server(Protocol):
    """What the soak needs of a server."""

    url: str

    def start(self) -> object: ...

    def kill(self) -> None: ...

    def arrived(self, since: float, progress: Callable[[str], None]) -> Arrivals: ...


class Loki:
    """A real Loki."""

    def __init__(self, directory: Path) -> None:
        self._server = LokiServer(directory)
        self.url = self._server.url
        self.kill = self._server.kill

    def start(self) -> object:
        return self._server.start(300)  # it reads all that it had in memory from its log first

    def arrived(self, since: float, progress: Callable[[str], None]) -> Arrivals:
        """Read everything back, in windows that a page can hold."""
        found, step = Arrivals(), 10**9
        # With their metadata, each entry would come as a stream of its own.
        query = '{service=~"soak.*"} | keep service'
        windows = range(int(since * 1e9) - step, int(time.time() * 1e9) + step, step)
        for number, at in enumerate(windows):
            progress(f"reading Loki back: {number * 100 // len(windows)} %")
            for _, line, _ in self._server.entries(query, at, at + step):
                if event := _EVENT.search(line):
                    found.add(int(event[1]), int(event[2]))
        return found


class Standin:
    """The process of standin.py."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "arrived"
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> object:
        command = [sys.executable, "-P", str(Path(__file__).with_name("standin.py"))]
        self._process = subprocess.Popen([*command, str(self._port), str(self._file)])
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return self
            time.sleep(0.02)
        raise RuntimeError("the stand-in did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def arrived(self, since: float, progress: Callable[[str], None]) -> Arrivals:
        found = Arrivals()
        progress("reading what arrived")
        data = self._file.read_bytes()
        for run, number in struct.iter_unpack("<II", data[: len(data) // 8 * 8]):
            found.add(run, number)
        return found


def in_store(path: Path, parts: int = 16) -> Arrivals:
    """Return what a local store holds, read in so many parts to bound the memory."""
    found, store = Arrivals(), Store(path)
    ours = "SELECT message FROM events WHERE message LIKE 'r%-n%'"
    for part in range(parts):
        for (message,) in store.sql(f"{ours} AND hash(message) % {parts} = {part}").rows:
            run, _, number = message[1:].partition("-n")
            found.add(int(run), int(number))
    return found
