"""Real servers under concurrency: a thousand requests at once, each line with the right ids and no other's.

uvicorn with FastAPI (coroutines and threads of its pool), gunicorn with Flask (processes and threads): every
request brings ids of its own, and every line that any process has written is checked.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

REQUESTS = 1_000

HEAD = """
import asyncio, logging, os, threading, time
from logferry.handlers import context
from logferry.handlers.stream import JsonHandler

here = os.environ["LINES"]

def log_to_a_file():
    handler = JsonHandler(filename=f"{here}/{os.getpid()}.jsonl", service="shop")
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)

log = logging.getLogger("shop")
"""

FASTAPI = (
    HEAD
    + """
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from logferry.handlers.integrations.fastapi import install

log_to_a_file()
app = FastAPI()
install(app, exclude=["/entered", "/go"])
entered = 0
gate = asyncio.Event()

@app.get("/entered")
async def count():
    return entered

@app.get("/go")
async def go():
    gate.set()

@app.get("/held/{name}")
async def held(name: str):
    global entered
    entered += 1
    context.bind(user_id=name)
    log.info("in %s", name)
    await gate.wait()
    await asyncio.gather(*(inner(name) for _ in range(2)))
    log.info("out %s", name)
    return name

async def inner(name):
    await asyncio.sleep(0)
    log.info("task %s", name)

@app.get("/bound/{name}")
async def bound(name: str):
    context.bind(user_id=name)  # in the request's own context, where the server begins what comes next
    log.info("in %s", name)
    return name

@app.get("/sync/{name}")
def sync(name: str):
    context.bind(user_id=name)
    log.info("in %s", name)
    time.sleep(0)
    log.info("out %s", name)
    return name

@app.get("/stream/{name}")
async def stream(name: str):
    async def parts():
        for _ in range(2):
            log.info("part %s", name)
            await asyncio.sleep(0)
            yield b"x"
    return StreamingResponse(parts())

@app.get("/boom/{name}")
async def boom(name: str):
    log.info("in %s", name)
    raise RuntimeError(name)
"""
)

FLASK = (
    HEAD
    + """
import flask
from logferry.handlers.integrations.flask import install

log_to_a_file()
app = flask.Flask("shop")
install(app)

@app.get("/sync/<name>")
def sync(name):
    assert "user_id" not in context.current()
    context.bind(user_id=name)
    log.info("in %s", name)
    thread = threading.Thread(target=context.wrap(lambda: log.info("thread %s", name)))
    thread.start()
    thread.join()
    log.info("out %s", name)
    return name

@app.get("/stream/<name>")
def stream(name):
    def parts():
        for _ in range(2):
            log.info("part %s", name)
            time.sleep(0)
            yield b"x"
    return flask.Response(parts())

@app.get("/boom/<name>")
def boom(name):
    log.info("in %s", name)
    raise RuntimeError(name)
"""
)

# kind of request → how many lines of the application it writes, by server
LINES = {
    "uvicorn": {"held": 4, "bound": 1, "sync": 2, "stream": 2, "boom": 1},
    "gunicorn": {"sync": 3, "stream": 2, "boom": 1},
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(server: str, place: Path) -> Iterator[int]:
    """Run a server with its application until the block ends; yield its port."""
    port = free_port()
    (place / "app.py").write_text(FASTAPI if server == "uvicorn" else FLASK)
    (place / "lines").mkdir()
    command = {
        "uvicorn": [
            *("uvicorn", "app:app", "--port", str(port), "--no-access-log", "--log-level", "error"),
            *("--backlog", "2048"),
        ],
        "gunicorn": [
            *("gunicorn", "app:app", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--threads", "8"),
            *("--log-level", "error"),
        ],
    }[server]
    environ = {**os.environ, "LINES": str(place / "lines")}
    with (place / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=place, env=environ, stdout=said, stderr=said
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (place / "said").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def ask(port: int, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Ask over a connection of its own; return status and headers when the last byte is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = [f"GET {path} HTTP/1.1", "Host: test", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        head, _, _ = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
        await writer.wait_closed()
    first, *rest = head.decode().split("\r\n")
    named = (line.partition(": ") for line in rest)
    return int(first.split()[1]), {name.lower(): value for name, _, value in named}


class Visitor:
    """One request with ids of its own."""

    def __init__(self, number: int, kinds: list[str]) -> None:
        self.kind = kinds[number % len(kinds)]
        self.name = f"r{number:04}"
        self.trace = f"{number + 1:032x}"
        self.headers = {
            "X-Request-ID": self.name,
            "traceparent": f"00-{self.trace}-00f067aa0ba902b7-01",
        }

    async def visit(self, port: int) -> None:
        status, answer = await ask(port, f"/{self.kind}/{self.name}", self.headers)
        assert status == (500 if self.kind == "boom" else 200), (self.kind, status)
        assert answer["x-request-id"] == self.name
        assert answer["traceparent"].split("-")[1] == self.trace


async def release(port: int, held: int) -> None:
    """Let the held requests go when all of them are in."""
    deadline = time.monotonic() + 120
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /entered HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        entered = int((await reader.read()).rpartition(b"\r\n")[2])
        writer.close()
        await writer.wait_closed()
        if entered == held:
            break
        assert time.monotonic() < deadline, f"{entered} of {held} are in"
        await asyncio.sleep(0.05)
    await ask(port, "/go", {})


async def pipelined(port: int, visitors: list[Visitor]) -> None:
    """Send requests over one connection without waiting: a server may begin one from within the last one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for visitor in visitors:
        lines = [f"GET /{visitor.kind}/{visitor.name} HTTP/1.1", "Host: test"]
        lines += [f"{name}: {value}" for name, value in visitor.headers.items()]
        lines += ["Connection: close"] if visitor is visitors[-1] else []
        writer.write("\r\n".join([*lines, "", ""]).encode())
    assert (await reader.read()).count(b"HTTP/1.1 200 OK") == len(visitors)
    writer.close()
    await writer.wait_closed()


async def everybody(port: int, visitors: list[Visitor], in_a_row: list[Visitor]) -> None:
    visits = [visitor.visit(port) for visitor in visitors]
    if in_a_row:
        visits.append(pipelined(port, in_a_row))
    held = sum(visitor.kind == "held" for visitor in visitors)
    if held:
        visits.append(release(port, held))
    await asyncio.gather(*visits)


def read(place: Path) -> list[dict[str, Any]]:
    files = sorted((place / "lines").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.parametrize("server", sorted(LINES))
def test_a_thousand_requests_at_once(server: str, tmp_path: Path) -> None:
    """Every line carries its request's ids, user and endpoint; each request has its lines and one event."""
    visitors = [Visitor(number, list(LINES[server])) for number in range(REQUESTS)]
    in_a_row = [Visitor(REQUESTS + number, ["bound", "stream"]) for number in range(20)]
    if server == "gunicorn":  # closes after each answer
        in_a_row = []
    with running(server, tmp_path) as port:
        asyncio.run(everybody(port, visitors, in_a_row))
    visitors += in_a_row
    lines = Counter[str]()
    accesses = Counter[str]()
    by_name = {visitor.name: visitor for visitor in visitors}
    for event in read(tmp_path):
        if event.get("kind") == "access":
            name = event["path"].rpartition("/")[2]
            accesses[name] += 1
            kind = by_name[name].kind
            assert event["endpoint"] == f"/{kind}/" + ("{name}" if server == "uvicorn" else "<name>")
            assert (event["level"] == "ERROR") == (kind == "boom") == ("error" in event)
            assert event["failed"] == (kind == "boom")
        else:
            assert event["logger"] == "shop", event  # no server's second word on an exception
            name = event["message"].split()[-1]
            lines[name] += 1
        assert (event["request_id"], event["trace_id"]) == (name, by_name[name].trace), event
        assert event["parent_id"] == "00f067aa0ba902b7"
        assert event.get("user_id", name) == name
    assert accesses == {visitor.name: 1 for visitor in visitors}
    assert lines == {visitor.name: LINES[server][visitor.kind] for visitor in visitors}
