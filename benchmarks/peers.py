"""What today's libraries cost for the same records, beside logferry, in one run.

    make bench-peers            # installs them: pip install '.[peers]'
    python benchmarks/peers.py [--records 50000] [--rounds 3] [--only NAME]... [--json FILE]

Every way logs the same access-like records (ten extras, two per cent with a traceback) in a process of its
own, in turn; the smallest CPU time of the whole process (all threads, the close included) counts, as a ratio
to the floor: the standard library's call with a handler that does nothing. One small server process takes all
deliveries. p50, p99, p99.9, max: the time in the call. "delivered" is how many of the records without a
traceback had arrived when the process had ended: everything else is lost.

Ways that send each record by itself get fewer records. logferry's ways do more than the others': schema,
redaction and (on disk) a spool that survives the process.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

from machine import write
from one_record import Nothing
from record import EXTRAS, resident
from rows import Row, plain, text
from server import Server

LONGEST = 180  # seconds that a process may take
TEXT = "GET /api/v1/products/1234 200"
Finish = Callable[[], object]
Calls = tuple[Callable[[], object], Callable[[], object]]  # a usual record, and one with a traceback


def nothing() -> None:
    """No close to wait for."""


def add(handler: logging.Handler, finish: Finish | None = None) -> Finish:
    """Add a handler to the root logger; closing it is the end, unless `finish` is."""
    logging.getLogger().addHandler(handler)
    return finish or handler.close


def floor(_place: Path, _url: str, _raw: int) -> Finish:
    """Take the standard library's call alone."""
    return add(Nothing())


def logferry_to(sink: dict[str, Any], spool: object) -> Finish:
    """Ship with everything on."""
    import logferry

    quiet = {"level": "INFO", "console": "off"}
    logferry.configure({"service": "bench", "logging": quiet, "spool": spool, "sinks": {"sink": sink}})
    return lambda: logferry.flush(120) and logferry.shutdown(30)


def logferry_loki(place: Path, url: str, _raw: int) -> Finish:
    """Ship to Loki over the spool on disk."""
    return logferry_to({"type": "loki", "url": url}, {"path": str(place / "spool")})


def logferry_loki_memory(_place: Path, url: str, _raw: int) -> Finish:
    """Ship to Loki over a spool in memory."""
    return logferry_to({"type": "loki", "url": url}, "memory")


def logferry_file(place: Path, _url: str, _raw: int) -> Finish:
    """Write JSON lines with JsonHandler."""
    from logferry.handlers import JsonHandler

    return add(JsonHandler((place / "out").open("w", encoding="utf-8")))


def json_logger(place: Path, _url: str, _raw: int) -> Finish:
    """Write JSON lines with python-json-logger and orjson."""
    from pythonjsonlogger.orjson import OrjsonFormatter

    handler = logging.FileHandler(place / "out")
    handler.setFormatter(OrjsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    return add(handler)


def ecs(place: Path, _url: str, _raw: int) -> Finish:
    """Write JSON lines with ecs-logging."""
    import ecs_logging

    handler = logging.FileHandler(place / "out")
    handler.setFormatter(ecs_logging.StdlibFormatter())
    return add(handler)


def watchtower(_place: Path, url: str, _raw: int) -> Finish:
    """Ship to CloudWatch Logs."""
    import boto3
    import watchtower as library

    client = boto3.client(
        "logs",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="example",
    )
    handler = library.CloudWatchLogHandler(
        log_group_name="bench", log_stream_name="bench", boto3_client=client, create_log_group=False
    )
    return add(handler)


def logging_loki(_place: Path, url: str, _raw: int) -> Finish:
    """Ship to Loki, one push a record, in the call."""
    import logging_loki as library

    return add(library.LokiHandler(url=f"{url}/loki/api/v1/push", tags={"service": "bench"}, version="1"))


def logging_loki_queue(_place: Path, url: str, _raw: int) -> Finish:
    """Ship to Loki through its queue."""
    import logging_loki as library

    handler = library.LokiQueueHandler(
        Queue(-1), url=f"{url}/loki/api/v1/push", tags={"service": "bench"}, version="1"
    )
    return add(handler, handler.listener.stop)


def loki_logger_handler(_place: Path, url: str, _raw: int) -> Finish:
    """Ship to Loki in bulk."""
    from loki_logger_handler.loki_logger_handler import LokiLoggerHandler

    handler = LokiLoggerHandler(url=f"{url}/loki/api/v1/push", labels={"service": "bench"}, timeout=1)
    return add(handler, handler._send)  # noqa: SLF001 - what its own exit hook calls


def logstash_async(_place: Path, _url: str, raw: int) -> Finish:
    """Ship to Logstash over TCP."""
    from logstash_async.formatter import LogstashFormatter
    from logstash_async.handler import AsynchronousLogstashHandler

    handler = AsynchronousLogstashHandler("127.0.0.1", raw, database_path=None)
    handler.setFormatter(LogstashFormatter())
    return add(handler)


def opentelemetry(_place: Path, url: str, _raw: int) -> Finish:
    """Ship over OTLP with the batch processor's default queue."""
    return otlp(url)


def opentelemetry_large(_place: Path, url: str, _raw: int) -> Finish:
    """Ship over OTLP with a queue of a million."""
    return otlp(url, max_queue_size=1_000_000)


def otlp(url: str, **options: int) -> Finish:
    """Ship over OTLP."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider()
    exporter = OTLPLogExporter(endpoint=f"{url}/v1/logs")
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, **options))
    return add(LoggingHandler(logger_provider=provider), provider.shutdown)


def from_structlog(place: Path, _url: str, _raw: int) -> tuple[Calls, Finish]:
    """Write JSON lines with structlog's own loggers and orjson."""
    import orjson
    import structlog

    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=(place / "out").open("wb")),
    )
    return structlog_calls(), nothing


def structlog_to_logferry(place: Path, url: str, raw: int) -> tuple[Calls, Finish]:
    """Ship what structlog's own loggers say, without a LogRecord."""
    from logferry.handlers import ForwardHandler, configure_structlog

    finish = logferry_loki(place, url, raw)
    configure_structlog(next(h for h in logging.getLogger().handlers if isinstance(h, ForwardHandler)))
    return structlog_calls(), finish


def structlog_calls() -> Calls:
    """Return the two calls with structlog's logger."""
    import structlog

    log = structlog.get_logger("shop.api")
    return (lambda: log.info(TEXT, **EXTRAS), lambda: log.error("request failed", exc_info=True, **EXTRAS))  # noqa: LOG014 - it is called in one


def from_loguru(place: Path, _url: str, _raw: int) -> tuple[Calls, Finish]:
    """Write JSON lines with loguru."""
    from loguru import logger

    logger.remove()
    logger.add(place / "out", serialize=True)
    return (
        lambda: logger.info(TEXT, **EXTRAS),
        lambda: logger.opt(exception=True).error("request failed", **EXTRAS),
    ), logger.complete


def standard_calls() -> Calls:
    """Return the two calls with the standard library's logger."""
    log = logging.getLogger("shop.api")
    return (
        lambda: log.info("GET %s %d", "/api/v1/products/1234", 200, extra=EXTRAS),
        lambda: log.error("request failed", extra=EXTRAS, exc_info=True),  # noqa: LOG014 - it is called in one
    )


# name → (how it is set up, the share of the records that it gets)
WAYS: dict[str, tuple[Callable[[Path, str, int], Finish | tuple[Calls, Finish]], float]] = {
    "floor": (floor, 1),
    "logferry → Loki, spool on disk": (logferry_loki, 1),
    "logferry → Loki, spool in memory": (logferry_loki_memory, 1),
    "structlog → logferry → Loki": (structlog_to_logferry, 1),
    "logferry JsonHandler → file": (logferry_file, 1),
    "python-json-logger, orjson → file": (json_logger, 1),
    "structlog, orjson → file": (from_structlog, 1),
    "loguru, serialize → file": (from_loguru, 0.5),
    "ecs-logging → file": (ecs, 0.5),
    "watchtower → CloudWatch": (watchtower, 1),
    "loki-logger-handler → Loki": (loki_logger_handler, 1),
    "python-logging-loki → Loki": (logging_loki, 0.05),
    "python-logging-loki, queue → Loki": (logging_loki_queue, 0.05),
    "python-logstash-async → TCP": (logstash_async, 1),
    "OpenTelemetry batch → OTLP": (opentelemetry, 1),
    "OpenTelemetry, queue of 1 M → OTLP": (opentelemetry_large, 1),
}


def work(calls: Calls, records: int, times: list[int]) -> int:
    """Log `records` records; note each call's nanoseconds; return how many had no traceback."""
    usual, failing = calls
    clock, note = time.perf_counter_ns, times.append
    plain = 0
    for number in range(records):
        if number % 50 == 0:
            try:
                raise ValueError(number)
            except ValueError:
                before = clock()
                failing()
                note(clock() - before)
        else:
            plain += 1
            before = clock()
            usual()
            note(clock() - before)
    return plain


def one(name: str, records: int, url: str, raw: int) -> None:
    """Measure one way in this process; print its figures as JSON."""
    logging.getLogger().setLevel(logging.INFO)
    set_up, share = WAYS[name]
    records = max(1_000, int(records * share))
    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as place:
        made = set_up(Path(place), url, raw)
        calls, finish = made if isinstance(made, tuple) else (standard_calls(), made)
        times: list[int] = []
        plain = work(calls, min(records, 1_000), times)  # imports and caches
        times.clear()
        memory = resident()
        before, began = time.process_time(), time.perf_counter()
        plain += work(calls, records, times)
        finish()
        total, wall = time.process_time() - before, time.perf_counter() - began
        grown = resident() - memory
        written = sum(path.read_bytes().count(TEXT.encode()) for path in Path(place).glob("out*"))
    times.sort()
    figures = {
        "cpu": total / records * 1e6,
        "seconds": wall,
        "p50": times[len(times) // 2] / 1e3,
        "p99": times[len(times) * 99 // 100] / 1e3,
        "p99.9": times[len(times) * 999 // 1000] / 1e3,
        "max": times[-1] / 1e3,
        "memory": grown,
        "sent": plain,
        "written": written,
    }
    print(json.dumps(figures), flush=True)
    os._exit(0)  # what would be sent only now was not part of the measurement


def measure(names: list[str], records: int, rounds: int) -> dict[str, dict[str, float]]:
    """Run every way `rounds` times, in turn; return the smallest figures and what arrived at worst."""
    best: dict[str, dict[str, float]] = {}
    with Server() as server:
        for _ in range(rounds):
            for name in names:
                command = [sys.executable, __file__, "--way", name, "--records", str(records)]
                command += ["--url", server.url, "--raw", str(server.raw)]
                try:
                    done = subprocess.run(
                        command, capture_output=True, text=True, check=False, timeout=LONGEST
                    )
                except subprocess.TimeoutExpired:
                    print(f"{name}: not done after {LONGEST} s", file=sys.stderr)
                    server.found(TEXT)
                    continue
                if done.returncode:
                    print(f"{name}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                    continue
                figures = json.loads(done.stdout.splitlines()[-1])
                arrived = server.found(TEXT) + figures.pop("written")
                figures["delivered"] = min(1.0, arrived / figures["sent"]) if name != "floor" else 0.0
                held = best.setdefault(name, figures)
                for figure, value in figures.items():
                    held[figure] = min(held[figure], value)
    return best


def row(name: str, figures: dict[str, float], floor: float) -> Row:
    """Return a way's row; the floor delivers nothing."""
    shown = ["cpu", "p50", "p99", "p99.9", "max", "memory", *(["delivered"] if name != "floor" else [])]
    return Row("peers", name, {**{key: figures[key] for key in shown}, "ratio": figures["cpu"] / floor})


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", action="append", default=[], help="ways whose names hold this, and the floor"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--raw", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        one(given.way, given.records, given.url, given.raw)
    wanted = [name for name in WAYS if not given.only or any(part in name for part in ["floor", *given.only])]
    best = measure(wanted, given.records, given.rounds)
    rows = [row(name, figures, best["floor"]["cpu"]) for name, figures in best.items()]
    print(text(rows))
    if given.json:
        write(given.json, {"records": given.records, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
