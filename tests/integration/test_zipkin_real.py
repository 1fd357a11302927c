"""Spans in a real Zipkin, of programs that end and of one that is killed: the trees are those that were."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from servers.cache import binary
from servers.zipkin import ZipkinServer

from logferry.handlers import Schema
from logferry.shipper.model import Batch, Delivered, Split
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.zipkin import ZipkinConfig, ZipkinSink

pytestmark = pytest.mark.integration

T = TypeVar("T")

PROGRAM = """
import logging, os, sys, time
import logferry
from logferry import job, span

logferry.configure("logferry.yaml")
what = sys.argv[1]
if what == "shop":
    for number in range(int(sys.argv[2])):
        with span("order", span_kind="server", number=number) as order:
            logging.getLogger("shop").warning("order %d", number)
            with span("db.query", span_kind="client", table="orders"):
                pass
            try:
                with span("mail"):
                    if number % 10 == 0:
                        raise ConnectionError("no mail server")
            except ConnectionError:
                pass
            order.add_event("done", number=number)
        print(order.trace_id, order.span_id, flush=True)
    logferry.shutdown()
else:
    with job("nightly") as run, span("step") as step:
        print(step.trace_id, step.span_id, flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def zipkin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipkinServer]:
    if not binary("zipkin").exists():
        message = (
            "zipkin is not installed: python tests/servers/install.py zipkin (needs Maven and Java, once)"
        )
        if os.environ.get("LOGFERRY_REQUIRE_SERVERS") == "1":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with ZipkinServer(tmp_path_factory.mktemp("zipkin")) as server:
        yield server


@pytest.fixture
def start(tmp_path: Path, zipkin: ZipkinServer) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "logferry.yaml").write_text(
        "service: shop\nenvironment: prod\nlogging: {console: 'off'}\n"
        f"spool: {{path: {tmp_path / 'spool'}}}\n"
        f"sinks: {{zipkin: {{type: zipkin, url: '{zipkin.url}', unfinished_after: 2s}}}}\n"
    )
    running: list[subprocess.Popen[str]] = []

    def run(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "program.py", *words]
        running.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(get: Callable[[], T], good: Callable[[T], object], seconds: float = 60) -> T:
    deadline = time.monotonic() + seconds
    while not good(found := get()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def by_name(spans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {span["name"]: span for span in spans}


def test_the_trees_there_are_the_trees_there_were(
    start: Callable[..., subprocess.Popen[str]], zipkin: ZipkinServer
) -> None:
    out, _ = start("shop", "200").communicate(timeout=60)
    ids = [line.split() for line in out.splitlines()]
    assert len(ids) == 200
    for number, (trace_id, span_id) in enumerate(ids):
        spans = by_name(wait_for(lambda: zipkin.trace(trace_id), lambda found: len(found) == 3))  # noqa: B023
        order = spans["order"]
        assert (order["id"], order.get("parentId"), order["kind"]) == (span_id, None, "SERVER")
        assert order["localEndpoint"]["serviceName"] == "shop"
        assert order["tags"]["number"] == str(number)
        assert order["annotations"][0]["value"] == f'done {{"number":{number}}}'
        assert {spans[name]["parentId"] for name in ("db.query", "mail")} == {span_id}
        assert spans["db.query"]["kind"] == "CLIENT"
        failed = "ConnectionError: no mail server" if number % 10 == 0 else None
        assert spans["mail"]["tags"].get("error") == failed
        for name in ("db.query", "mail"):
            assert order["timestamp"] <= spans[name]["timestamp"]
            assert spans[name]["duration"] <= order["duration"]


def test_what_a_killed_program_left_open_is_closed_as_unfinished(
    start: Callable[..., subprocess.Popen[str]], zipkin: ZipkinServer
) -> None:
    process = start("job")
    assert process.stdout is not None
    trace_id, span_id = process.stdout.readline().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The next start of the service delivers what the killed one left, and then sees no end of it.
    another = start("job")
    spans = by_name(wait_for(lambda: zipkin.trace(trace_id), lambda found: len(found) == 2))
    another.kill()
    assert (spans["step"]["id"], spans["step"]["parentId"]) == (span_id, spans["nightly"]["id"])
    for name in ("step", "nightly"):
        assert spans[name]["tags"]["error"] == "unfinished: no end was seen"
        assert spans[name]["duration"] == 2_000_000


def span(number: int, **more: Any) -> bytes:
    event = {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()),
        "level": "INFO",
        "service": "shop",
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "message": f"s{number}",
        "kind": "span",
        "duration_ms": 1.5,
    }
    return orjson.dumps(event | more)


def test_what_the_server_really_says(zipkin: ZipkinServer) -> None:
    sink = ZipkinSink(ZipkinConfig(zipkin.url, compression="none"), SinkContext("z", Schema("shop")))
    assert sink.check() == []
    good = Batch("0" * 32, [1], [span(0xABC)])
    assert sink.send(good) == sink.send(good) == Delivered()
    assert len(zipkin.trace(f"{0xABC:032x}")) == 1  # a repeat is merged
    large = [
        span(n, tags={"t": "x" * 4_000, **{f"t{m}": "y" * 4_000 for m in range(20)}}) for n in range(1, 200)
    ]
    assert isinstance(sink.send(Batch("0" * 32, range(1, 200), large)), Split)
    sink.close()
    wrong = ZipkinSink(ZipkinConfig(f"{zipkin.url}/nowhere"), SinkContext("z", Schema("shop")))
    (problem,) = wrong.check()
    assert "there is no Zipkin at this url" in problem
    wrong.close()
