"""A real OpenTelemetry collector: `deploy/otel` between a program and real stores, and its own file receiver
before the agent's `http` source, with the agent killed in between.
"""  # fmt: skip

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from effort import effort, factor
from servers.cache import absent, found
from servers.collector import Collector
from servers.elasticsearch import SearchServer
from servers.loki import LokiServer, free_port
from servers.zipkin import ZipkinServer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.skipif(found("otelcol") is None, reason=absent("otelcol")),
]

ORDERS = effort(300)
LINES = effort(5_000)

PROGRAM = """
import logging, sys
import logferry
from logferry import span

logferry.configure("logferry.yaml")
for number in range(int(sys.argv[1])):
    with span("order", span_kind="server", number=number) as order:
        logging.getLogger("shop").warning("order %d für Zoë", number, extra={"order_id": number})
        with span("mail"):
            pass
    print(order.trace_id, order.span_id)
assert logferry.shutdown(60)
"""


def until(true: Callable[[], object], said: Callable[[], str], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


def addresses(port: int, loki: str, zipkin: str, search: str) -> dict[str, Any]:
    """Return what is told to the collector over its file: addresses alone."""
    here = "127.0.0.1"
    protocols = {"http": {"endpoint": f"{here}:{port}"}, "grpc": {"endpoint": f"{here}:{free_port()}"}}
    return {
        "receivers": {"otlp": {"protocols": protocols}, "zipkin": {"endpoint": f"{here}:{free_port()}"}},
        "exporters": {
            "otlphttp/loki": {"endpoint": f"{loki}/otlp"},
            "zipkin": {"endpoint": f"{zipkin}/api/v2/spans"},
            "elasticsearch": {"endpoints": [search]},
        },
        "service": {"telemetry": {"metrics": {"level": "none"}}},
    }


def test_what_the_otlp_sink_sends_comes_through_the_collector(
    tmp_path: Path, loki: LokiServer, zipkin: ZipkinServer, request: pytest.FixtureRequest
) -> None:
    """Lines into Loki with their fields, spans into Zipkin as trees; with more effort Elasticsearch, too."""
    search: SearchServer | None = request.getfixturevalue("elasticsearch") if factor() > 1 else None
    service, port, begin = f"shop-{uuid.uuid4().hex[:8]}", free_port(), time.time()
    if search is not None:  # the template that Elasticsearch ships for this (in a module that is not here)
        template = {"settings": {"number_of_replicas": 0}}
        body = {"index_patterns": ["logs-*.otel-*"], "data_stream": {}, "priority": 150, "template": template}
        search.ask("PUT", "/_index_template/logs-otel", body)
    more = addresses(port, loki.url, zipkin.url, search.url if search else "http://127.0.0.1:1")
    if search is None:
        more["service"]["pipelines"] = {"logs": {"exporters": ["otlphttp/loki"]}}
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "logferry.yaml").write_text(
        f"service: {service}\nenvironment: prod\nlogging: {{console: 'off'}}\nspool: {{path: spool}}\n"
        f"sinks: {{collector: {{type: otlp, url: 'http://127.0.0.1:{port}'}}}}\n"
    )
    collector = Collector(tmp_path / "collector", more)
    checked = collector.validate()
    assert checked.returncode == 0, checked.stderr
    with collector:
        until(lambda: answers(port) or not collector.runs, lambda: collector.said)
        command = [sys.executable, "program.py", str(ORDERS)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        traces = [line.split() for line in done.stdout.splitlines()]
        assert len(traces) == ORDERS

        def entries() -> list[tuple[int, str, dict[str, str]]]:
            query = f'{{service_name="{service}"}}'
            return loki.entries(query, int((begin - 60) * 1e9), int((time.time() + 60) * 1e9))

        until(lambda: len(entries()) >= ORDERS, lambda: f"{len(entries())}: {collector.said}")
        found = entries()
        assert len({labels["log_record_uid"] for _, _, labels in found}) == len(found) == ORDERS
        by_order = {labels["order_id"]: (text, labels) for _, text, labels in found}
        for number, (trace_id, span_id) in enumerate(traces):
            text, labels = by_order[str(number)]
            assert text == f"order {number} für Zoë"
            assert (labels["trace_id"], labels["span_id"]) == (trace_id, span_id)
            assert labels["severity_text"] == "WARNING"
        trace_id, span_id = traces[-1]
        until(lambda: len(zipkin.trace(trace_id)) == 2, lambda: f"{zipkin.trace(trace_id)} {collector.said}")
        spans = {one["name"]: one for one in zipkin.trace(trace_id)}
        assert (spans["order"]["id"], spans["order"]["kind"]) == (span_id, "SERVER")
        assert spans["mail"]["parentId"] == span_id
        assert spans["order"]["localEndpoint"]["serviceName"] == service
        if search is not None:
            node = search

            def documents() -> list[dict[str, Any]]:
                try:
                    found = node.hits("logs-generic.otel-default", sort=())
                    return [hit["_source"] for hit in found if service in json.dumps(hit)]
                except RuntimeError:  # not there yet
                    return []

            until(lambda: len(documents()) >= ORDERS, lambda: f"{len(documents())}: {collector.said}", 60)
            assert {one["attributes"]["order_id"] for one in documents()} == set(range(ORDERS))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Return what starts the agent with an `http` source; it stands at the same port again."""
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "logferry", "run"]
        with (tmp_path / "said").open("ab") as said:
            running.append(subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said))
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_collector_reads_files_and_sends_them_to_the_agent(
    tmp_path: Path, agent: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """Lines that it parsed keep their fields; what it was told to be stored survives a kill of the agent."""
    port, log = free_port(), tmp_path / "app.log"
    config = {
        "service": "agent",
        "spool": {"path": "spool"},
        "sinks": {"here": {"type": "local", "path": "logs", "compact": "off"}},
        "sources": {"http": {"type": "http", "listen": f"127.0.0.1:{port}"}},
    }
    (tmp_path / "logferry.yaml").write_text(yaml.safe_dump(config))
    severity = {"parse_from": "attributes.level"}
    stamp = {"parse_from": "attributes.at", "layout_type": "gotime", "layout": "2006-01-02T15:04:05.000000Z"}
    more = {
        "receivers": {
            "filelog": {
                "include": [str(log)],
                "start_at": "beginning",
                "operators": [{"type": "json_parser", "severity": severity, "timestamp": stamp}],
            }
        },
        "exporters": {
            "otlphttp": {
                "endpoint": f"http://127.0.0.1:{port}",
                "retry_on_failure": {"initial_interval": "100ms", "max_interval": "500ms"},
            }
        },
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"logs": {"receivers": ["filelog"], "exporters": ["otlphttp"]}},
        },
    }
    with log.open("w") as file:
        for number in range(LINES):
            said = {"at": f"2026-01-02T03:04:05.{number:06}Z", "level": "error", "order": number}
            file.write(json.dumps({**said, "message": f"order {number}", "cart": {"items": [1, 2]}}) + "\n")

    def stored() -> list[dict[str, Any]]:
        return [
            event
            for file in (tmp_path / "logs" / "fresh").glob("*.ndjson")
            for line in file.read_bytes().splitlines()
            if line.endswith(b"}") and (event := json.loads(line)).get("kind") != "death"
        ]

    def said() -> str:
        return f"{collector.said}\n{(tmp_path / 'said').read_text()[-2000:]}\n{len(stored())}"

    first = agent()
    until(lambda: answers(port), (tmp_path / "said").read_text)
    with Collector(tmp_path / "collector", more, deployed=False) as collector:
        until(lambda: len(stored()) > 0, said)
        first.send_signal(signal.SIGKILL)
        first.wait()
        second = agent()
        until(lambda: len({one["order"] for one in stored()}) == LINES, said)
    second.terminate()
    assert second.wait(60) == 0, said()
    for one in stored():
        assert one["level"] == "ERROR"
        assert one["timestamp"] == f"2026-01-02T03:04:05.{one['order']:06}Z"
        assert one["cart"] == {"items": [1, 2]}
        assert one["message"] == f"order {one['order']}"
        assert one["log.file.name"] == "app.log"
        assert "extra" not in one  # what the attributes repeat of the body is there once
