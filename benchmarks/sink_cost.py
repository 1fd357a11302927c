"""What a sink costs on top of the spool: CPU time per event of `send`, in this process.

    python benchmarks/sink_cost.py [elasticsearch loki ...] [--events 100000] [--json FILE] [--check]

Ready batches of access-like events (as `record.py` logs them) go to a server in another process, whose time
does not count: a real Elasticsearch and Kafka (`make servers`; left out where they are missing), the
benchmarks' own server for others, the disk for those that write files. The sinks take turns, batch by batch,
and the cheapest batch of each counts. All of this process's time counts, its clients' own threads as well.
`--check` exits 1 when a sink costs more than its budget.
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
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from machine import write
from rows import Row, plain
from server import Server

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Secret
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.ports import Sink, SinkContext
from logferry.shipper.registry import sink_kind

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

SINKS = (
    "loki",
    "elasticsearch",
    "kafka",
    "cloudwatch",
    "s3",
    "s3 zstd",
    "otlp",
    "http",
    "syslog",
    "local",
    "file",
)
BUDGET = {"elasticsearch": 3.0, "loki": 3.0}  # µs an event


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
def place(kind: str) -> Iterator[dict[str, Any] | None]:
    """Run what the sink delivers to; the options that lead there. None: it is not installed."""
    with contextlib.ExitStack() as stack:
        if kind in {"elasticsearch", "kafka", "local", "file"}:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="logferry-bench-")))
            yield real(kind, directory, stack)
            return
        answering = stack.enter_context(Server())
        keys = {"access_key_id": "a", "secret_access_key": Secret("b"), "region": "eu-west-1"}
        ways: dict[str, tuple[str, dict[str, Any]]] = {
            "loki": ("healthy", {"url": answering.url}),
            "http": ("healthy", {"url": answering.url}),
            "otlp": ("otlp", {"url": answering.url}),
            "syslog": ("healthy", {"host": "127.0.0.1", "port": answering.raw, "protocol": "tcp"}),
            "cloudwatch": ("aws", {"log_group": "bench", "endpoint_url": answering.url, **keys}),
            "s3": ("aws", {"bucket": "bench", "path_style": True, "endpoint_url": answering.url, **keys}),
        }
        ways["s3 zstd"] = ("aws", {**ways["s3"][1], "compression": "zstd"})
        mode, options = ways[kind]
        answering.mode(mode)
        yield options


def real(kind: str, directory: Path, stack: contextlib.ExitStack) -> dict[str, Any] | None:
    """Start a real server where there is one to start; return the options that lead there."""
    if kind == "local":
        return {"path": directory / "store", "compact": "off"}
    if kind == "file":
        return {"path": directory / "events.ndjson"}
    from servers.cache import binary
    from servers.elasticsearch import ElasticsearchServer
    from servers.kafka import KafkaServer

    if not binary(kind).exists():
        return None
    if kind == "kafka":
        broker = KafkaServer(directory).start()
        stack.callback(broker.kill)
        return {"brokers": (broker.bootstrap,), "topic": broker.create("bench", 3)}
    node = ElasticsearchServer(directory / "node").start()
    stack.callback(node.kill)
    return {"hosts": (node.url,), "index_settings": {"number_of_replicas": "0"}}


@dataclass(slots=True)
class Turn:
    """One sink's way through the events."""

    sink: Sink
    spool: str = field(default_factory=lambda: uuid.uuid4().hex)
    at: int = 0
    best: float = float("inf")

    def go(self, lines: Sequence[bytes]) -> bool:
        """Send the next batch; whether there was one."""
        limits = self.sink.limits
        size = min(limits.max_events, limits.max_bytes // (len(lines[0]) + limits.overhead + 50))
        part = lines[self.at : self.at + size]
        if not part:
            return False
        batch = Batch(self.spool, range(self.at + 1000, self.at + 1000 + len(part)), part)
        begun = time.process_time()
        verdict = self.sink.send(batch)
        spent = time.process_time() - begun
        if verdict != Delivered():
            raise SystemExit(f"not delivered: {verdict}")
        if len(part) == size or not self.at:
            self.best = min(self.best, spent / len(part))
        self.at += len(part)
        return True


def measure(names: Sequence[str], lines: Sequence[bytes]) -> list[Row]:
    """Return what one event costs at best, for each sink."""
    turns: dict[str, Turn] = {}
    with contextlib.ExitStack() as stack:
        for name in names:
            options = stack.enter_context(place(name))
            if options is None:
                print(f"{name} is left out: python tests/servers/install.py {name}", file=sys.stderr)
                continue
            kind = sink_kind(name.partition(" ")[0])
            made = kind.build(kind.config(**options), SinkContext(name, Schema("bench")))
            stack.callback(made.close)
            turns[name] = Turn(made)
        waiting = list(turns.values())
        while waiting:
            waiting = [turn for turn in waiting if turn.go(lines)]
    cheapest = {name: turn.best * 1e6 for name, turn in turns.items()}
    loki = cheapest.get("loki")
    return [
        Row("sinks", name, {"cpu": cost, **({} if loki is None else {"loki_ratio": cost / loki})})
        for name, cost in cheapest.items()
    ]


def main() -> int:
    """Measure, print, and compare with the budgets when asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("sinks", nargs="*", metavar="sink", help=", ".join(SINKS))
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.sinks) - set(SINKS):
        parser.error(f"no such sink: {', '.join(unknown)}")
    lines = events(arguments.events)
    size = sum(map(len, lines)) / len(lines)
    rows = measure(arguments.sinks or SINKS, lines)
    for row in rows:
        budget = f", budget {BUDGET[row.name]:.1f}" if row.name in BUDGET else ""
        print(f"{row.name:<16}{row.figures['cpu']:6.2f} µs an event of {size:.0f} bytes{budget}")
    if arguments.json:
        write(arguments.json, {"events": arguments.events, "bytes": size, "rows": plain(rows)})
    return int(arguments.check and any(row.figures["cpu"] > BUDGET.get(row.name, 1e9) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
