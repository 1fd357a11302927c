"""Spans in a real Zipkin, of programs that end and of one that is killed: the trees are those that were.

They come there straight, and through a shipper that collects them by UDP, from a file and from Kafka, which
sends them on as OTLP as well, to a receiver that decodes with OpenTelemetry's own classes.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
import pytest
import yaml
from servers.faults import FaultServer
from servers.otlp import OtlpReceiver
from servers.zipkin import ZipkinServer

from logferry.handlers import Schema
from logferry.shipper.model import Batch, Delivered, Split
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.zipkin import ZipkinConfig, ZipkinSink

if TYPE_CHECKING:
    from servers.kafka import KafkaServer

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

T = TypeVar("T")

PROGRAM = """
import logging, os, sys, time
from wsgiref.util import setup_testing_defaults
import logferry
from logferry import job, span
from logferry.handlers.integrations.wsgi import TraceMiddleware

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
def work():
    with span("step") as step:
        print(step.trace_id, step.span_id, flush=True)
        time.sleep(600)

def application(environ, start_response):
    work()

if what == "job":
    with job("nightly"):
        work()
elif what == "request":
    environ = {"PATH_INFO": "/slow", "QUERY_STRING": "token=hunter2"}
    setup_testing_defaults(environ)
    TraceMiddleware(application)(environ, print)
"""


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


@pytest.mark.parametrize(
    ("what", "root", "kind"), [("job", "nightly", None), ("request", "get /slow", "SERVER")]
)
def test_what_a_killed_program_left_open_is_closed_as_unfinished(
    start: Callable[..., subprocess.Popen[str]], zipkin: ZipkinServer, what: str, root: str, kind: str | None
) -> None:
    """A job, a request, and the span inside: the tree has its root (Zipkin keeps names in lower case)."""
    process = start(what)
    assert process.stdout is not None
    trace_id, span_id = process.stdout.readline().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The next start of the service delivers what the killed one left, and then sees no end of it.
    another = start(what)
    spans = by_name(wait_for(lambda: zipkin.trace(trace_id), lambda found: len(found) == 2))
    another.kill()
    assert (spans["step"]["id"], spans["step"]["parentId"]) == (span_id, spans[root]["id"])
    assert spans[root].get("kind") == kind
    for name in ("step", root):
        assert spans[name]["tags"]["error"] == "unfinished: no end was seen"
        assert spans[name]["duration"] == 2_000_000


WAYS = ["udp", "file", pytest.param("kafka", marks=pytest.mark.server("kafka"))]


class Shipper:
    """A program with its own spool, and a shipper beside it that collects the spans by `way`."""

    def __init__(self, way: str, place: Path, kafka: Callable[[], KafkaServer]) -> None:
        self.place, self.way, self.port = place, way, 0
        program: dict[str, Any] = {"here": {"type": "local", "path": "logs", "compact": "off"}}
        self.spans: dict[str, Any] = {}
        self.source: dict[str, Any]
        match way:
            case "udp":
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                    sock.bind(("127.0.0.1", 0))
                    self.port = sock.getsockname()[1]
                self.spans["to"] = f"udp://127.0.0.1:{self.port}"
                self.source = {"type": "udp", "listen": f"127.0.0.1:{self.port}"}
            case "file":
                self.spans["to"] = f"file://{place}/spans.ndjson"
                self.source = {"type": "file", "include": [f"{place}/*.ndjson"], "parser": "json"}
            case _:
                server = kafka()
                brokers, topic = [server.bootstrap], server.create(f"spans-{uuid.uuid4().hex}")
                only = "kind=span,span_start"
                program["spans"] = {"type": "kafka", "brokers": brokers, "topic": topic, "match": only}
                self.source = {"type": "kafka", "brokers": brokers, "topics": [topic], "group": topic}
        self.configure("program.yaml", service="shop", spans=self.spans, sinks=program)

    def configure(self, name: str, **sections: Any) -> None:
        spool = {"path": str(self.place / f"spool-{name}")}
        common = {"environment": "prod", "logging": {"console": "off"}, "spool": spool}
        (self.place / name).write_text(yaml.safe_dump(common | sections))

    def collect(self, sinks: dict[str, Any]) -> subprocess.Popen[bytes]:
        self.configure("shipper.yaml", service="collector", sources={"spans": self.source}, sinks=sinks)
        command = [sys.executable, "-m", "logferry", "run", "-c", "shipper.yaml"]
        with (self.place / "shipper.log").open("wb") as log:
            return subprocess.Popen(command, cwd=self.place, stdout=log, stderr=log)

    def listening(self) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("127.0.0.1", self.port))
            except OSError:
                return True
        return self.port == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_shipper_collects_spans_and_sends_them_on(
    way: str, tmp_path: Path, zipkin: ZipkinServer, request: pytest.FixtureRequest
) -> None:
    """By UDP, from a file, from Kafka, to Zipkin and as OTLP: the same trees, also of what was killed."""
    shipper = Shipper(way, tmp_path, lambda: request.getfixturevalue("kafka"))
    (tmp_path / "program.py").write_text(PROGRAM.replace("logferry.yaml", "program.yaml"))
    taken, count = OtlpReceiver(), 20
    with FaultServer(rest=taken) as server:
        sinks = {
            "zipkin": {"type": "zipkin", "url": zipkin.url, "unfinished_after": "3s"},
            "otlp": {"type": "otlp", "url": server.url, "unfinished_after": "3s"},
        }
        running = [shipper.collect(sinks)]
        try:
            wait_for(shipper.listening, bool)

            def program(*words: str) -> subprocess.Popen[str]:
                command = [sys.executable, "program.py", *words]
                running.append(subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True))
                return running[-1]

            out, _ = program("shop", str(count)).communicate(timeout=60)
            killed = program("job")
            assert killed.stdout is not None
            left = killed.stdout.readline().split()
            ids = [line.split() for line in out.splitlines()]
            assert len(ids) == count
            for trace_id, span_id in ids:
                spans = by_name(wait_for(lambda: zipkin.trace(trace_id), lambda found: len(found) == 3))  # noqa: B023
                also_there = lambda: [found for trace, found in list(taken.spans) if trace == trace_id]  # noqa: B023, E731
                wait_for(also_there, lambda found: len(found) == 3)
                assert spans["order"]["id"] == span_id
                for name, one in spans.items():
                    resource, also = taken.spans[trace_id, one["id"]]
                    assert one["localEndpoint"]["serviceName"] == resource["service.name"] == "shop"
                    assert also.name == name
                    assert also.parent_span_id.hex() == one.get("parentId", "")
                    assert also.start_time_unix_nano // 1000 == one["timestamp"]
                    assert also.status.message == one.get("tags", {}).get("error", "")
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            if way == "kafka":  # what waited in the spool is delivered by the next start
                program("job")
            wait_for(lambda: zipkin.trace(left[0]), bool)
            _, closed = wait_for(lambda: taken.spans.get((left[0], left[1])), bool)
            assert closed.status.message == "unfinished: no end was seen"
            assert taken.complaints == []
            logged = b"".join(file.read_bytes() for file in (tmp_path / "logs").rglob("*.ndjson"))
            assert b"order 19" in logged
            assert (b'"kind":"span"' in logged) is (way == "kafka")
        finally:
            for process in running:
                process.kill()
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()


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
