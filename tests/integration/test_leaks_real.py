"""Real servers under many requests: nothing of one is in the next one's lines, and the memory does not grow.

uvicorn with FastAPI (tasks that outlive their request, threads of its pool), gunicorn with Flask (threads),
with spool, worker thread and sink. Every request leaves behind what it can: fields, a span that it never
ends, a task or a thread, now and then an exception. 3,000 requests here, 100,000 under LOGFERRY_EFFORT=10.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from effort import factor
from servers.loki import free_port

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

REQUESTS = 100_000 if factor() >= 10 else 2_000
WARM = max(1_000, REQUESTS // 4)  # what is remembered is bounded, and fills up
CLIENTS = 4
GROWN = 8 << 20  # bytes of a process's own memory: 84 a request of the full size
ALIVE = 60  # objects of requests, of a kind: those of the moment

HEAD = """
import asyncio, gc, logging, threading
from collections import Counter
import logferry
from logferry.handlers import context
from logferry.handlers.spans import start_span

logferry.configure("logferry.yaml")
log = logging.getLogger("leaks")
KINDS = {"Exchange", "Span", "Opening", "Inside", "Received", "Incoming", "Task", "Fields"}

def leave(number):
    assert not [name for name in context.current() if name.startswith("left")], context.current()
    context.bind(**{f"left_{number % 7}": number, "user_id": f"u-{number}"})
    start_span("never ended")
    log.info("in %d", number)

def count():
    gc.collect()
    return dict(Counter(name for thing in gc.get_objects() if (name := type(thing).__name__) in KINDS))
"""

FASTAPI = (
    HEAD
    + """
from fastapi import FastAPI
from logferry.handlers.integrations.fastapi import install

app = FastAPI()
install(app)

async def later(number):
    await asyncio.sleep(0.01)
    start_span("never ended, in a task")
    log.info("after %d", number)

@app.get("/well/{number}")
async def well(number: int):
    leave(number)
    asyncio.get_running_loop().create_task(later(number))
    return "well"

@app.get("/thread/{number}")
def thread(number: int):
    leave(number)
    return "well"

@app.get("/boom/{number}")
async def boom(number: int):
    leave(number)
    raise RuntimeError(number)

@app.get("/alive")
async def alive():
    return count()
"""
)

FLASK = (
    HEAD
    + """
import flask
from logferry.handlers.integrations.flask import install

app = flask.Flask("leaks")
install(app)

@app.get("/well/<int:number>")
def well(number):
    leave(number)
    return "well"

def later(number):
    start_span("never ended, in a thread")
    log.info("after %d", number)

@app.get("/thread/<int:number>")
def thread(number):
    leave(number)
    threading.Thread(target=context.wrap(later), args=(number,)).start()
    return "well"

@app.get("/boom/<int:number>")
def boom(number):
    leave(number)
    raise RuntimeError(number)

@app.get("/alive")
def alive():
    return count()
"""
)

CONFIG = """
service: leaks
logging: {level: INFO, console: "off"}
spool: {path: ./spool}
sinks:
  out: {type: file, path: ./out.ndjson}
"""


@dataclass(frozen=True)
class Server:
    """A running one; `workers` says which processes serve."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def workers(self) -> list[int]:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in children] or [pid]

    def memory(self) -> int:
        """Return the bytes that only its workers have: no files, no maps of the spool."""
        return sum(anonymous(pid) for pid in self.workers)


def anonymous(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@contextmanager
def running(name: str, place: Path) -> Iterator[Server]:
    port = free_port()
    (place / "app.py").write_text(FASTAPI if name == "uvicorn" else FLASK)
    (place / "logferry.yaml").write_text(CONFIG)
    options = {
        "uvicorn": ["uvicorn", "app:app", "--port", str(port), "--no-access-log", "--log-level", "critical"],
        "gunicorn": [
            "gunicorn",
            "app:app",
            "--bind",
            f"127.0.0.1:{port}",
            "--threads",
            "4",
            "--keep-alive",
            "75",
        ],
    }[name]
    with (place / "said").open("wb") as said:
        process = subprocess.Popen([sys.executable, "-m", *options], cwd=place, stdout=said, stderr=said)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (place / "said").read_text()[-3000:]
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield Server(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Client:
    """One connection, kept for all of its requests."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)

    def get(self, path: str, *headers: str) -> tuple[int, bytes]:
        self._socket.sendall("\r\n".join([f"GET {path} HTTP/1.1", "Host: test", *headers, "", ""]).encode())
        data = b""
        while True:
            part = self._socket.recv(65_536)
            assert part, data
            data += part
            head, found, body = data.partition(b"\r\n\r\n")
            if found:
                length = re.search(rb"(?i)content-length: (\d+)", head)
                assert length, head
                if len(body) >= int(length[1]):
                    return int(head.split()[1]), body

    def close(self) -> None:
        self._socket.close()


def kind(number: int) -> str:
    return "boom" if number % 50 == 3 else "thread" if number % 10 == 5 else "well"


def visit(port: int, numbers: range) -> None:
    client = Client(port)
    for number in numbers:
        trace = f"00-{number + 1:032x}-00f067aa0ba902b7-01"
        ids = (f"X-Request-ID: r-{number}", f"traceparent: {trace}", "tracestate: a=b")
        status, _ = client.get(f"/{kind(number)}/{number}", *ids)
        if status == 500:
            client.close()  # a server may close after it
            client = Client(port)
        assert (status == 500) == (kind(number) == "boom"), number
    client.close()


def visit_all(port: int, first: int, count: int) -> None:
    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = [range(first + part, first + count, CLIENTS) for part in range(CLIENTS)]
        list(pool.map(lambda part: visit(port, part), parts))


def read(place: Path) -> Iterator[dict[str, object]]:
    for file in sorted(place.glob("out*.ndjson")):  # a large one is rotated
        with file.open("rb") as lines:
            for line in lines:
                yield json.loads(line)


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn"])
def test_nothing_stays(name: str, tmp_path: Path) -> None:
    """No object of a request, no memory, and no field in another one's lines."""
    with running(name, tmp_path) as server:
        visit_all(server.port, 0, WARM)
        before = server.memory()
        visit_all(server.port, WARM, REQUESTS)
        after = server.memory()
        client = Client(server.port)
        deadline = time.monotonic() + 60
        while True:  # tasks and threads that outlive their request have a moment to do so
            alive = json.loads(client.get("/alive")[1])
            if max(alive.values(), default=0) <= ALIVE or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        client.close()
    assert {kind: number for kind, number in alive.items() if number > ALIVE} == {}
    assert after - before < GROWN, (before, after)
    seen = Counter[str]()
    for event in read(tmp_path):
        if event.get("path") == "/alive" or not event["trace_id"]:
            continue
        number = int(str(event["trace_id"]), 16) - 1
        left = {field: value for field, value in event.items() if field.startswith("left_")}
        assert left in ({}, {f"left_{number % 7}": number}), event
        assert event["request_id"] == f"r-{number}", event
        assert event.get("user_id", f"u-{number}") == f"u-{number}", event
        seen[str(event.get("kind") or str(event["message"]).split()[0])] += 1
    every = WARM + REQUESTS
    later = "well" if name == "uvicorn" else "thread"
    assert seen["access"] == seen["in"] == every
    assert seen["after"] == sum(kind(number) == later for number in range(every))
    for file in tmp_path.glob("out*.ndjson"):
        file.unlink()
