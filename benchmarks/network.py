"""What a line costs that comes over the network, by the way it comes.

    python benchmarks/network.py [--lines 20000] [--rounds 5] [--json FILE]

Microseconds of CPU for each line, with schema and redaction, the least of some rounds that go through all
ways in turn. A process of its own sends over loopback what was made before; counted is what this one needs
from its socket to the events, everything but the spool. Each way is measured twice, in turns: as it is, and
with every event composed by itself. Kafka's messages do not come through a socket
here: counted is what comes behind its library.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from machine import write
from parsers import clock, json_line, said

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Size
from logferry.shipper.ports import SourceContext
from logferry.shipper.sources.beats import BeatsConfig, BeatsSource
from logferry.shipper.sources.blocks import LineBlocks
from logferry.shipper.sources.http import HttpSource, HttpSourceConfig
from logferry.shipper.sources.http.labels import Fronts
from logferry.shipper.sources.http.records import Entry, told_of_entry
from logferry.shipper.sources.kafka.messages import Reader as KafkaReader
from logferry.shipper.sources.parsed_blocks import ParsedBlocks
from logferry.shipper.sources.tcp import TcpConfig, TcpSource

AT_ONCE = 1000  # lines of a request or of a window of a Beat
JSON = {"Content-Type": "application/json"}


@dataclass
class Count:
    """A spool that only counts."""

    events: int = 0
    size: int = 0

    def append(
        self,
        lines: Sequence[bytes],
        position: bytes = b"",  # noqa: ARG002 - as the port says
        part: str = "",  # noqa: ARG002
        *,
        waiting: Callable[[], object] | None = None,  # noqa: ARG002
    ) -> int:
        self.events += len(lines)
        self.size += len(getattr(lines, "payload", b""))
        return 0

    def last_position(self, source: str) -> bytes:  # noqa: ARG002
        return b""

    def positions(self) -> Mapping[str, bytes]:
        return {}


class Listens(Protocol):
    address: tuple[str, int] | None

    def run(self, *, once: bool) -> None: ...
    def stop(self) -> None: ...


@dataclass
class Way:
    """How lines come: what is sent (each with an answer of so many bytes, 0: none), and who listens."""

    make: Callable[[SourceContext], Listens]
    sent: list[bytes]
    answers: int = 0
    took: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)


def builder() -> EventBuilder:
    schema = Schema("bench", host="h")
    return EventBuilder(schema, Redactor(schema=schema))


def text_line(number: int) -> str:
    return f"2026-11-21 {clock(number)},{number % 1000:03} INFO {said(number)}"


def own_line(number: int) -> str:
    """Return an event of another logferry, with its id in front."""
    return f'{{"event_id":"{"ab" * 16}-{number + 1}",{json_line(number)[1:]}'


def syslog(number: int, text: str) -> str:
    return f"<134>1 2026-11-21T{clock(number)}.{number % 1_000_000:06}Z gate till {number % 99} - - {text}"


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def in_parts(lines: Sequence[str]) -> Iterable[Sequence[str]]:
    return (lines[at : at + AT_ONCE] for at in range(0, len(lines), AT_ONCE))


def ndjson(lines: Sequence[str]) -> list[bytes]:
    return [request("/", "\n".join(part).encode(), {}) for part in in_parts(lines)]


def loki(lines: Sequence[str]) -> list[bytes]:
    """Return pushes of four streams each."""
    found = []
    for part in in_parts(lines):
        streams = [
            {
                "stream": {"app": "shop", "pod": f"shop-{pod}", "namespace": "prod", "level": "info"},
                "values": [[f"1795292262{n:09}", line] for n, line in enumerate(part[pod::4])],
            }
            for pod in range(4)
        ]
        found.append(request("/loki/api/v1/push", json.dumps({"streams": streams}).encode(), JSON))
    return found


def otlp(lines: Sequence[str]) -> list[bytes]:
    found = []
    for at, part in enumerate(in_parts(lines)):
        records = [
            {
                "timeUnixNano": f"1795292262{n:09}",
                "severityNumber": 9,
                "body": {"stringValue": line},
                "attributes": [
                    {"key": "code.function", "value": {"stringValue": "pay"}},
                    {"key": "order_id", "value": {"intValue": str(at * AT_ONCE + n)}},
                ],
                "traceId": f"{n + 1:032x}",
            }
            for n, line in enumerate(part)
        ]
        resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
        content = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
        found.append(request("/v1/logs", json.dumps(content).encode(), JSON))
    return found


def beat(line: str, number: int) -> dict[str, Any]:
    """Return what Filebeat says of a line."""
    return {
        "@timestamp": f"2026-11-21T{clock(number)}.678Z",
        "@metadata": {"beat": "filebeat", "type": "_doc", "version": "8.19.0"},
        "message": line,
        "log": {"offset": number * 100, "file": {"path": "/var/log/app.log"}},
        "input": {"type": "filestream"},
        "ecs": {"version": "8.0.0"},
        "host": {"name": "box"},
        "agent": {"type": "filebeat", "id": "a", "ephemeral_id": "e", "version": "8.19.0", "name": "box"},
    }


def bulk(lines: Sequence[str]) -> list[bytes]:
    """Return what Filebeat sends to Elasticsearch."""
    found = []
    for part in in_parts(lines):
        body = "".join(f'{{"create":{{}}}}\n{json.dumps(beat(line, n))}\n' for n, line in enumerate(part))
        found.append(request("/logs/_bulk", body.encode(), {"Content-Type": "application/x-ndjson"}))
    return found


def beats(lines: Sequence[str]) -> list[bytes]:
    found = []
    for part in in_parts(lines):
        frames = b""
        for number, line in enumerate(part):
            payload = json.dumps(beat(line, number)).encode()
            frames += b"2J" + struct.pack(">II", number + 1, len(payload)) + payload
        body = zlib.compress(frames, 3)
        found.append(struct.pack(">2sI2sI", b"2W", len(part), b"2C", len(body)) + body)
    return found


def joined(lines: Sequence[str]) -> list[bytes]:
    return ["".join(f"{one}\n" for one in lines).encode()]


def tcp(context: SourceContext) -> Listens:
    return TcpSource(TcpConfig("127.0.0.1:0"), context)


def http(context: SourceContext) -> Listens:
    return HttpSource(HttpSourceConfig("127.0.0.1:0"), context)


def beats_source(context: SourceContext) -> Listens:
    return BeatsSource(BeatsConfig("127.0.0.1:0", max_line_bytes=Size(1 << 20)), context)


def ways(lines: int) -> dict[str, Way]:
    objects = [json_line(n) for n in range(lines)]
    texts = [text_line(n) for n in range(lines)]
    owns = [own_line(n) for n in range(lines)]
    messages = [syslog(n, said(n)) for n in range(lines)]
    return {
        "tcp: JSON": Way(tcp, joined(objects)),
        "tcp: JSON of another logferry": Way(tcp, joined(owns)),
        "tcp: text": Way(tcp, joined(texts)),
        "tcp: syslog": Way(tcp, joined(messages)),
        "http: JSON lines": Way(http, ndjson(objects), 1),
        "http: Loki push, JSON lines": Way(http, loki(objects), 1),
        "http: Loki push, text": Way(http, loki(texts), 1),
        "http: OTLP, text": Way(http, otlp(texts), 1),
        "http: `_bulk` of Filebeat": Way(http, bulk(texts), 1),
        "beats: text": Way(beats_source, beats(texts), 6),
        "beats: JSON in the message": Way(beats_source, beats(objects), 6),
    }


@dataclass(slots=True)
class Message:
    """What Kafka's library gives."""

    text: bytes
    place: int

    def value(self) -> bytes:
        return self.text

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_795_292_262_123

    def topic(self) -> str:
        return "logs"

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return self.place


def cost_of_messages(messages: Sequence[Message]) -> float:
    """Microseconds of CPU for each message of Kafka's."""
    reader, count = KafkaReader(builder(), cluster="bench"), 0
    start = time.process_time()
    for part in (messages[at : at + AT_ONCE] for at in range(0, len(messages), AT_ONCE)):
        known = [found for message in part if (found := reader.known(message)) is not None]
        count += sum(len(events) for events, _ in reader.events(known))
    assert count == len(messages)
    return (time.process_time() - start) / len(messages) * 1e6


def library_ways(lines: int) -> dict[str, Callable[[], float]]:
    objects = [Message(json_line(n).encode(), n) for n in range(lines)]
    texts = [Message(text_line(n).encode(), n) for n in range(lines)]
    return {
        "kafka: JSON": lambda: cost_of_messages(objects),
        "kafka: text": lambda: cost_of_messages(texts),
    }


def send(address: tuple[str, int], sent: Sequence[bytes], answers: int) -> None:
    """Send one after the other, each when the one before was answered."""
    with socket.create_connection(address, 60) as sock:
        for one in sent:
            sock.sendall(one)
            if answers:
                assert sock.recv(65536)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def cost(way: Way, lines: int) -> float:
    """Microseconds of CPU for each line."""
    count = Count()
    source = way.make(SourceContext("bench", builder(), count))
    thread = threading.Thread(target=source.run, kwargs={"once": False}, daemon=True)
    thread.start()
    while source.address is None:
        time.sleep(0.001)
    sender = multiprocessing.get_context("fork").Process(
        target=send, args=(source.address, way.sent, way.answers)
    )
    sender.start()
    start = time.process_time()
    sender.join(300)
    while thread.is_alive() and count.events < lines:
        time.sleep(0.001)
    took = time.process_time() - start
    source.stop()
    thread.join(30)
    assert sender.exitcode == 0
    assert count.events == lines, count.events
    return took / lines * 1e6


@contextmanager
def one_by_one() -> Iterator[None]:
    """Have every event composed by itself, as where nothing is known of its neighbours."""
    kept = LineBlocks.__post_init__, ParsedBlocks.__init__, Fronts.told, KafkaReader.__post_init__

    def lines(self: LineBlocks) -> None:
        kept[0](self)
        self._able = False

    def blocks(self: ParsedBlocks, builder: EventBuilder) -> None:
        kept[1](self, builder)
        self._singly = True

    def told(self: Fronts, entries: Sequence[Entry]) -> list[Any]:  # noqa: ARG001 - in place of a method
        return [one for entry in entries if (one := told_of_entry(entry)) is not None]

    def reader(self: KafkaReader) -> None:
        kept[3](self)
        self._plain = False

    patched: Any = (
        (LineBlocks, "__post_init__", lines),
        (ParsedBlocks, "__init__", blocks),
        (Fronts, "told", told),
        (KafkaReader, "__post_init__", reader),
    )
    for holder, name, made in patched:
        setattr(holder, name, made)
    try:
        yield
    finally:
        for (holder, name, _), made in zip(patched, kept, strict=True):
            setattr(holder, name, made)


def main() -> None:
    options = argparse.ArgumentParser(description="what a line costs that comes over the network")
    options.add_argument("--lines", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    all_ways = ways(given.lines)
    others = library_ways(given.lines)
    for name in others:
        all_ways[name] = Way(tcp, [])  # only its figures
    for _ in range(given.rounds):
        for name, way in all_ways.items():
            one = others.get(name) or partial(cost, way, given.lines)
            way.took.append(one())
            with one_by_one():
                way.alone.append(one())
    found = {name: {"us": min(way.took), "alone": min(way.alone)} for name, way in all_ways.items()}
    print("| way | µs a line | one by one | of it |\n|---|---|---|---|")
    for name, row in found.items():
        print(f"| {name} | {row['us']:.1f} | {row['alone']:.1f} | {row['us'] / row['alone']:.2f} |")
    if given.json:
        write(given.json, {"rows": found})


if __name__ == "__main__":
    main()
