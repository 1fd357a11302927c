"""What Kafka costs, CPU per event in µs, against a real broker of the tests on this machine.

    python benchmarks/through_kafka.py [--lines 100000] [--rounds 3] [--json FILE]

`sink kafka` is the sink alone: batches handed to `send`, librdkafka's threads included, acknowledged by the
broker. The others are whole processes, `logferry run --once` over all lines less the same over a quarter of
them: what starting costs is not an event's. "file → memory" is the agent without Kafka, for comparison. The
smallest CPU time of the rounds counts. Needs the broker: python tests/servers/install.py kafka
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from agent import LINE, lines
from machine import write
from rows import Row, plain, text
from servers.kafka import KafkaServer

from logferry.handlers.schema import Schema
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.kafka import KafkaConfig, KafkaSink

SECTION = "through Kafka"
BATCH = 5_000


def sink_alone(kafka: KafkaServer, events: list[bytes], rounds: int) -> float:
    """Return the CPU µs that an event costs in `KafkaSink.send`."""
    config = KafkaConfig((kafka.bootstrap,), kafka.create(f"b-{uuid.uuid4().hex}"))
    sink = KafkaSink(config, SinkContext("kafka", Schema("bench")))
    best = float("inf")
    for number in range(rounds + 1):  # the first one connects
        begun = time.process_time()
        for at in range(0, len(events), BATCH):
            some = events[at : at + BATCH]
            assert sink.send(Batch(f"{number:032x}", range(at + 1, at + 1 + len(some)), some)) == Delivered()
        if number:
            best = min(best, time.process_time() - begun)
    sink.close()
    return best / len(events) * 1e6


def cpu_of_run(config: dict[str, object]) -> float:
    """Return the CPU seconds of `logferry run --once` with a fresh spool."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "logferry.json"
        path.write_text(json.dumps({"service": "bench", "spool": {"path": f"{place}/spool"}, **config}))
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "logferry", "run", "--once", "-c", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def per_event(run: Callable[[str], float], count: int, rounds: int) -> float:
    """Return the CPU µs of an event: `run` with all of them, less `run` with a quarter."""
    whole = min(run("all") for _ in range(rounds))
    part = min(run("quarter") for _ in range(rounds))
    return (whole - part) / (count - count // 4) * 1e6


def rows(count: int, rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name, number in (("all", count), ("quarter", count // 4)):
            lines(number, place / f"{name}.log")
        kafka = KafkaServer(place / "kafka").start()
        try:
            return _rows(kafka, place, count, rounds)
        finally:
            kafka.kill()


def _rows(kafka: KafkaServer, place: Path, count: int, rounds: int) -> list[Row]:
    to_memory = {"sinks": {"mem": {"type": "memory"}}}
    brokers = {"type": "kafka", "brokers": [kafka.bootstrap]}

    def files(name: str) -> dict[str, object]:
        return {"app": {"type": "file", "include": [f"{place}/{name}.log"]}}

    def through_file(name: str) -> float:
        return cpu_of_run({"sources": files(name), **to_memory})

    def into_kafka(name: str) -> float:
        topic = kafka.create(f"b-{uuid.uuid4().hex}")
        return cpu_of_run({"sources": files(name), "sinks": {"kafka": {**brokers, "topic": topic}}})

    for name in ("all", "quarter"):
        topic = kafka.create(f"full-{name}")
        cpu_of_run({"sources": files(name), "sinks": {"kafka": {**brokers, "topic": topic}}})

    def out_of_kafka(name: str, *, trust: bool) -> float:
        source = {**brokers, "topics": [f"full-{name}"], "group": uuid.uuid4().hex, "trust": trust}
        return cpu_of_run({"sources": {"in": source}, **to_memory})

    stored = [message.value() for message in kafka.read("full-quarter")]
    ways: dict[str, Callable[[str], float]] = {
        "agent: file → memory": through_file,
        "agent: file → Kafka": into_kafka,
        "consumer: Kafka → memory": lambda name: out_of_kafka(name, trust=True),
        "consumer: Kafka → memory, redacted again": lambda name: out_of_kafka(name, trust=False),
    }
    made = [Row(SECTION, "sink kafka", {"cpu": sink_alone(kafka, stored, rounds)})]
    return made + [Row(SECTION, way, {"cpu": per_event(run, count, rounds)}) for way, run in ways.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = rows(options.lines, options.rounds)
    print(f"{options.lines} lines of {LINE} bytes\n{text(found)}")
    if options.json:
        write(options.json, {"rows": plain(found)})


if __name__ == "__main__":
    main()
