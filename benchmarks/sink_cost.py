"""What a sink costs on top of the spool: CPU time per event of `send`, in this process.

    python benchmarks/sink_cost.py elasticsearch loki [--events 200000] [--json FILE] [--check]

Ready batches of access-like events (as `record.py` logs them) go to a server in another process, whose time
does not count: a real Elasticsearch (`make servers`), the benchmarks' own server for others. The
cheapest batch counts. `--check` exits 1 when a sink costs more than its budget.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from machine import write
from server import Server

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Secret
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.ports import Sink, SinkContext
from logferry.shipper.registry import sink_kind

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

BUDGET = {"elasticsearch": 3.0, "loki": 3.0, "cloudwatch": 4.0, "s3": 8.0}  # µs an event; s3's is mostly gzip


def events(count: int) -> Sequence[bytes]:
    """Return events as an application's access log has them; their ids and numbers are random."""
    chance = random.Random(7)
    now, made = datetime.now(UTC).replace(tzinfo=None), []
    for number in range(count):
        fields: dict[str, Any] = {
            "timestamp": (now + timedelta(microseconds=number)).isoformat(timespec="microseconds") + "Z",
            "level": "INFO",
            "service": "bench",
            "trace_id": f"{chance.getrandbits(128):032x}",
            "span_id": f"{chance.getrandbits(64):016x}",
            "message": f"GET /api/v1/products/{chance.randrange(10_000)} 200",
            "request_id": f"r-{chance.getrandbits(40):x}",
            "logger": "shop.api",
            "module": "api",
            "function": "show",
            "line": 72,
            "environment": "dev",
            "host": "web-1",
            "process": 4711,
            "thread": "MainThread",
            "kind": "access",
            "method": "GET",
            "path": f"/api/v1/products/{number % 10_000}",
            "endpoint": "/api/v1/products/{product}",
            "status_code": 200,
            "duration_ms": chance.randrange(100_000) / 1000,
            "duration_le": "100",
        }
        made.append(orjson.dumps(fields))
    return made


@contextlib.contextmanager
def server(kind: str) -> Iterator[dict[str, Any]]:
    """Run what the sink delivers to; the options that lead there."""
    if kind == "loki":
        with Server() as answering:
            yield {"url": answering.url}
        return
    if kind in {"cloudwatch", "s3"}:
        with Server() as answering:
            answering.mode("aws")
            keys = {"access_key_id": "a", "secret_access_key": Secret("b"), "region": "eu-west-1"}
            place = (
                {"log_group": "bench"} if kind == "cloudwatch" else {"bucket": "bench", "path_style": True}
            )
            yield {**place, **keys, "endpoint_url": answering.url}
        return
    from servers.cache import binary
    from servers.elasticsearch import ElasticsearchServer

    if not binary("elasticsearch").exists():
        raise SystemExit("Elasticsearch is not installed: python tests/servers/install.py elasticsearch")
    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
        node = ElasticsearchServer(Path(name) / "node").start()
        try:
            yield {"hosts": (node.url,), "index_settings": {"number_of_replicas": "0"}}
        finally:
            node.kill()


def measure(sink: Sink, lines: Sequence[bytes]) -> float:
    """Return the seconds of CPU time that one event costs at best."""
    spool, best = uuid.uuid4().hex, float("inf")
    size = min(sink.limits.max_events, sink.limits.max_bytes // (len(lines[0]) + sink.limits.overhead + 50))
    for at in range(0, len(lines), size):
        part = lines[at : at + size]
        batch = Batch(spool, range(at + 1000, at + 1000 + len(part)), part)
        begun = time.process_time()
        verdict = sink.send(batch)
        spent = time.process_time() - begun
        if verdict != Delivered():
            raise SystemExit(f"not delivered: {verdict}")
        best = min(best, spent / len(part))
    return best


def main() -> int:
    """Measure, print, and compare with the budgets when asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("sinks", nargs="+", choices=sorted(BUDGET))
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    lines = events(arguments.events)
    size = sum(map(len, lines)) / len(lines)
    figures = {}
    for name in arguments.sinks:
        with server(name) as options:
            kind = sink_kind(name)
            sink = kind.build(kind.config(**options), SinkContext(name, Schema("bench")))
            figures[name] = measure(sink, lines) * 1e6
            sink.close()
        print(f"{name:<16}{figures[name]:6.2f} µs an event of {size:.0f} bytes, budget {BUDGET[name]:.1f}")
    if arguments.json:
        write(arguments.json, {"events": arguments.events, "bytes": size, "microseconds": figures})
    return int(arguments.check and any(cost > BUDGET[name] for name, cost in figures.items()))


if __name__ == "__main__":
    sys.exit(main())
