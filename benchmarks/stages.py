"""Where the microseconds go: the stages of a record's way, each by itself, in turns with the floor.

    make profile
    python benchmarks/stages.py [--rounds 40] [--json FILE] [--whole]

One process, one thread: a portion of 2,000 records (ten extras, two per cent with a traceback) goes through
every stage by hand, then the next portion. Of each stage the smallest CPU time of all rounds counts; the
ratio is that to the floor, the standard library's call with a handler that does nothing. What comes before an
append is the difference of two ways (`event made` is the whole call less the floor). `--whole` measures the
whole way beside it, as an application has it: what the sum of the stages does not explain is what the two
threads cost each other.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import record
from machine import write
from one_record import Nothing
from rows import Row, plain, text
from server import Server

SECTION = "stage"
PORTION = 2_000
STAGES = {
    "floor": "floor: the standard library's call",
    "made": "event made (LogRecord to JSON bytes)",
    "redacted": "… redacted",
    "append, disk": "append to the disk spool",
    "append, memory": "append to the memory spool",
    "read": "read from the spool, check sums compared",
    "frame": "framed for Loki (decoded, labels, protobuf)",
    "compress": "compressed (snappy)",
    "send": "sent over HTTP, answer read",
    "acknowledge": "acknowledged (the cursor's place on disk)",
    "store": "instead of Loki: written to the local store, fsync",
}
LOKI = ("floor", "made", "redacted", "append, disk", "read", "frame", "compress", "send", "acknowledge")


class Keep:
    """An outlet that keeps what it is offered: it becomes the portion of the next stages."""

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def offer(self, event: bytes, /) -> bool:
        """Take one event."""
        self.events.append(event)
        return True


class Line:
    """A sink's transport, timed."""

    def __init__(self, request: Callable[..., Any]) -> None:
        self.request = request


class Stages:
    """Everything that a record meets on its way to Loki, the parts that `pipeline` puts together."""

    def __init__(self, place: Path, url: str) -> None:
        from logferry.handlers.forward import ForwardHandler
        from logferry.handlers.record import EventBuilder
        from logferry.handlers.redaction import Redactor
        from logferry.handlers.schema import Schema
        from logferry.shipper.ports import SinkContext
        from logferry.shipper.sinks.loki import LokiConfig, LokiSink
        from logferry.shipper.spool import Spool
        from logferry.shipper.spool.settings import SpoolSettings
        from logferry.shipper.store.layout import Layout
        from logferry.shipper.store.writer import StoreWriter

        schema, self.kept = Schema("bench"), Keep()
        self.floor = logger("floor", Nothing())
        self.made = logger("made", ForwardHandler(self.kept, EventBuilder(schema, None)))
        redactor = Redactor(schema=schema)
        self.redacted = logger("redacted", ForwardHandler(self.kept, EventBuilder(schema, redactor)))
        self.spool = Spool(SpoolSettings(place / "spool", "bench"))
        self.memory = Spool(SpoolSettings(None, "bench"))
        self.spent: dict[str, float] = {}
        sink: Any = LokiSink(LokiConfig(url=url), SinkContext("loki", schema))
        sink._compress = self.timing("compress", sink._compress)  # noqa: SLF001 - looked at inside `send`
        sink._transport = Line(self.timing("send", sink._transport.request))  # noqa: SLF001
        self.send = sink.send
        layout = Layout(place / "logs")
        layout.create()
        self.store = StoreWriter(layout)

    def timing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return `call`, with its time added to what `name` has spent."""

        def timing(*given: Any) -> Any:
            began = time.process_time()
            try:
                return call(*given)
            finally:
                self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - began

        return timing

    def portion(self) -> dict[str, float]:
        """Send one portion through; return each stage's seconds of CPU time."""
        from logferry.shipper.model import Batch
        from logferry.shipper.ports import Outcome

        took: dict[str, float] = {}
        took["floor"] = record.work(PORTION, self.floor)
        self.kept.events.clear()
        took["made"] = record.work(PORTION, self.made)
        self.kept.events.clear()
        took["redacted"] = record.work(PORTION, self.redacted)
        events = self.kept.events
        for name, spool in (("append, disk", self.spool), ("append, memory", self.memory)):
            self.spool.prepare()  # what the upkeep thread does: the next segment is made ahead
            took[name] = timed(lambda spool=spool: [spool.offer(event) for event in events])
        cursors = self.spool.own_cursor("loki"), self.memory.own_cursor("loki")
        lines: list[bytes] = []
        sequences: list[int] = []

        def read() -> None:
            while len(lines) < PORTION:
                batch = cursors[0].read(PORTION, 8_000_000)
                assert batch is not None
                lines.extend(batch.lines)
                sequences.extend(batch.sequences)

        took["read"] = timed(read)
        cursors[1].read(PORTION, 8_000_000)
        cursors[1].commit(self.memory.accepted, Outcome())
        batch = Batch(self.spool.id, range(sequences[0], sequences[-1] + 1), lines)
        self.spent.clear()
        sent = timed(lambda: self.send(batch))
        took |= self.spent | {"frame": sent - sum(self.spent.values())}
        took["store"] = timed(lambda: self.store.write(batch))
        took["acknowledge"] = timed(lambda: cursors[0].commit(sequences[-1], Outcome(delivered=len(lines))))
        return took


def timed(run: Callable[[], object]) -> float:
    """Return the seconds of CPU time that a call takes."""
    began = time.process_time()
    run()
    return time.process_time() - began


def logger(name: str, handler: logging.Handler) -> logging.Logger:
    """Return a logger of its own with one handler."""
    log = logging.getLogger(name)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return log


def measure(rounds: int) -> list[Row]:
    """Send portions through; return the smallest time of each stage, and the sum of the way to Loki."""
    best: dict[str, float] = {}
    with Server() as server, tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
        stages = Stages(Path(name), server.url)
        stages.portion()  # imports and caches
        for _ in range(rounds):
            took = stages.portion()
            best = {stage: min(seconds, best.get(stage, seconds)) for stage, seconds in took.items()}
        arrived = server.events()
        if arrived != (rounds + 1) * PORTION:
            raise SystemExit(f"{arrived} of {(rounds + 1) * PORTION} events arrived")
        stages.spool.close()
    best["redacted"] = max(0.0, best["redacted"] - best["made"])
    best["made"] -= best["floor"]
    rows = [row(STAGES[stage], best[stage], best["floor"]) for stage in STAGES]
    return [*rows, row("sum of the way to Loki", sum(best[stage] for stage in LOKI), best["floor"])]


def row(name: str, seconds: float, floor: float) -> Row:
    """Return a stage's row; `seconds` and `floor` are of one portion."""
    return Row(SECTION, name, {"cpu": seconds / PORTION * 1e6, "ratio": seconds / floor})


def whole(rows: list[Row], records: int, rounds: int) -> list[Row]:
    """Return the whole way as an application has it, and what the stages do not explain of it."""
    way = f"{record.DISK} → Loki"
    floor, loki = record.measure(records, rounds, [way])
    ratio = loki.figures["ratio"]
    left = ratio - rows[-1].figures["ratio"]
    base = floor.figures["cpu"]
    return [
        Row(SECTION, "the whole way, two threads", {"cpu": loki.figures["cpu"], "ratio": ratio}),
        Row(SECTION, "not explained by the stages", {"cpu": left * base, "ratio": left}),
    ]


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--whole", action="store_true", help="measure the whole way beside its stages")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = measure(given.rounds)
    if given.whole:
        rows += whole(rows, 50_000, 3)
    print(text(rows))
    if given.json:
        write(given.json, {"rounds": given.rounds, "rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
