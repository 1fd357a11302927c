"""Spans in a real Jaeger, by OpenTelemetry's protocol and in Zipkin's format.

Jaeger is not among the servers that the project installs. It is tried where LOGFERRY_JAEGER names its
program:

    go build -o jaeger github.com/jaegertracing/jaeger/cmd/all-in-one
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from servers.jaeger import JaegerServer

JAEGER = os.environ.get("LOGFERRY_JAEGER", "")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(200),
    pytest.mark.skipif(not JAEGER, reason="LOGFERRY_JAEGER names no Jaeger"),
]

PROGRAM = """
import logging, logferry
from logferry import span
logferry.configure("logferry.yaml")
for number in range(50):
    with span("order", span_kind="server", number=number) as order:
        logging.getLogger("shop").warning("order %d", number)
        try:
            with span("db.query", span_kind="client", table="orders"):
                if number % 10 == 0:
                    raise ConnectionError("no database")
        except ConnectionError:
            pass
        order.add_event("done", number=number)
    print(order.trace_id, order.span_id, flush=True)
assert logferry.shutdown()
"""


@pytest.mark.parametrize("form", ["otlp", "zipkin"])
def test_the_trees_there_are_the_trees_there_were(form: str, tmp_path: Path) -> None:
    """Ids, parents, kinds, service, times, tags, failure."""
    with JaegerServer(Path(JAEGER), tmp_path) as jaeger:
        sink: dict[str, Any] = {"type": form, "url": getattr(jaeger, form)}
        if form == "otlp":
            sink["signals"] = "traces"
        config = {"service": "shop", "logging": {"console": "off"}, "sinks": {"jaeger": sink}}
        config["spool"] = {"path": str(tmp_path / "spool")}
        (tmp_path / "logferry.yaml").write_text(yaml.safe_dump(config))
        (tmp_path / "program.py").write_text(PROGRAM)

        def run(*words: str) -> str:
            command = [sys.executable, *words]
            return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

        run("-m", "logferry", "check", "--connect", "-c", "logferry.yaml")
        ids = [line.split() for line in run("program.py").splitlines()]
        assert len(ids) == 50
        for number, (trace_id, span_id) in enumerate(ids):
            deadline = time.monotonic() + 30
            while len(spans := jaeger.trace(trace_id)) < 2:
                assert time.monotonic() < deadline, spans
                time.sleep(0.1)
            order, query = spans["order"], spans["db.query"]
            assert (order["spanID"], order["parent"], query["parent"]) == (span_id, "", span_id)
            assert order["service"] == query["service"] == "shop"
            assert (order["tag"]["span.kind"], query["tag"]["span.kind"]) == ("server", "client")
            assert str(order["tag"]["number"]) == str(number)
            assert query["tag"]["table"] == "orders"
            assert bool(query["tag"].get("error")) is (number % 10 == 0)
            assert order["startTime"] <= query["startTime"]
            assert query["duration"] <= order["duration"]
            assert len(order["logs"]) == 1
