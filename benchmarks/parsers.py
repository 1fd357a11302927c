"""What understanding a line costs, by parser: split, joined, parsed, checked, redacted, encoded.

    python benchmarks/parsers.py [--lines 20000] [--rounds 5] [--json FILE]

Microseconds of CPU for each line, the least of some rounds that go through all parsers in turn. Lines vary in
what varies in real ones: time, address, path, duration, message.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import write

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.core.lines import LineSplitter
from logferry.shipper.sources.blocks import LineBlocks
from logferry.shipper.sources.parsers import ParserConfig
from logferry.shipper.sources.parsers.joiners import joiner_of

CHUNK = 256 * 1024
TALE = "the order was created and paid by the customer with a card at the till of the shop in the town"
WORDS = re.findall("[a-z]+", TALE)


def clock(number: int) -> str:
    return f"20:{number // 600 % 60:02}:{number // 10 % 60:02}"


def said(number: int) -> str:
    return f"order {number * 7919 % 100_000}: " + " ".join(WORDS[number % 9 : number % 9 + 8])


def json_line(number: int) -> str:
    return json.dumps(
        {
            "timestamp": f"2026-11-21T{clock(number)}.{number % 1_000_000:06}Z",
            "level": "INFO",
            "message": said(number),
            "logger": "shop.orders",
            "trace_id": f"{number + 1:032x}",
            "method": "GET",
            "path": f"/api/v1/orders/{number % 1000}",
            "status_code": 200,
            "duration_ms": number % 500 + 0.25,
            "order_id": number,
        }
    )


def access(number: int) -> str:
    return (
        f"10.0.{number % 256}.{number % 99} - - [21/Nov/2026:{clock(number)} +0000] "
        f'"GET /api/v1/orders/{number % 1000}?page={number % 7} HTTP/1.1" 200 {number % 9000} '
        '"https://shop.example/" '
        f'"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" rt=0.{number % 1000:03}'
    )


def slow(number: int) -> str:
    return (
        f"# Time: 261121 {clock(number)}\n# User@Host: shop[shop] @ localhost [127.0.0.1]\n"
        f"# Thread_id: {number}  Schema: shop  QC_hit: No\n"
        f"# Query_time: 0.{number % 1000:06}  Lock_time: 0.000012  Rows_sent: 1  Rows_examined: {number}\n"
        f"SET timestamp=1795292262;\nSELECT * FROM orders WHERE id = {number};"
    )


def ms(number: int) -> str:
    return f"{number % 1000:03}"


LINES: dict[str, Callable[[int], str]] = {
    "json": json_line,
    "text": lambda n: f"2026-11-21 {clock(n)},{ms(n)} {said(n)}",
    "logfmt": lambda n: f'time=2026-11-21T{clock(n)}Z level=info msg="{said(n)}" order={n} took={n % 500}.25',
    "python": lambda n: f"2026-11-21 {clock(n)},{ms(n)} - shop.orders - INFO - {said(n)}",
    "jvm": lambda n: f"2026-11-21 {clock(n)}.{ms(n)}  INFO 12 --- [  main] c.shop.Orders : {said(n)}",
    "go": lambda n: f"2026/11/21 {clock(n)}.{ms(n)}000 till.go:{n % 900}: {said(n)}",
    "node": lambda n: f"2026-11-21T{clock(n)}.{ms(n)}Z [orders] info: {said(n)}",
    "nginx": access,
    "postgresql": lambda n: (
        f"2026-11-21 {clock(n)}.{ms(n)} UTC [{n % 30_000}] shop@shop LOG:  duration: {n % 500}.125 ms  "
        f"statement: SELECT * FROM orders WHERE id = {n}"
    ),
    "mysql": slow,
    "redis": lambda n: f"12:M 21 Nov 2026 {clock(n)}.{ms(n)} * {said(n)}",
    "syslog": lambda n: f"Nov 21 {clock(n)} gate till[{n % 30_000}]: {said(n)}",
    "klog": lambda n: (
        f'I1121 {clock(n)}.{n % 1_000_000:06}      12 pod.go:{n % 900}] "{said(n)}" pod="a/b" n={n}'
    ),
    "cri": lambda n: f"2026-11-21T{clock(n)}.{n:09}Z stdout F {json_line(n)}",
    "docker": lambda n: json.dumps(
        {"log": json_line(n) + "\n", "stream": "stdout", "time": f"2026-11-21T{clock(n)}.{n:09}Z"},
        separators=(",", ":"),
    ),
    "regex": lambda n: f"2026-11-21 {clock(n)},{ms(n)} INFO {n} {said(n)}",
}
PATTERN = r"(?P<timestamp>\S+ \S+) (?P<level>\w+) (?P<order_id>\d+) (?P<message>.*)"


def cost(parser: ParserConfig, data: bytes, lines: int) -> float:
    """Microseconds of CPU for each line, from the bytes of a file to its events."""
    schema = Schema("bench", host="h")
    builder = EventBuilder(schema, Redactor(schema=schema))
    splitter, joiner = LineSplitter(256 << 10), joiner_of(parser, "auto", 256 << 10)
    blocks = LineBlocks(builder, parser, {"log_file": "/var/log/bench.log"})
    made = 0
    start = time.process_time()
    for at in range(0, len(data), CHUNK):
        got = splitter.feed(data[at : at + CHUNK])
        if joiner is not None and not joiner.passes(got):
            got = [record for record, _ in joiner.feed_all(got)]
        made += sum(len(block) for block, _ in blocks.blocks(got))
    rest = [record for record, _ in joiner.flush()] if joiner is not None else []
    made += sum(len(block) for block, _ in blocks.blocks(rest))
    took = time.process_time() - start
    assert made == lines, (parser.format, made)
    assert blocks.unparsed == 0, parser.format
    return took / lines * 1e6


def main() -> None:
    options = argparse.ArgumentParser(description="what understanding a line costs, by parser")
    options.add_argument("--lines", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    logs = {
        name: "".join(f"{line(n)}\n" for n in range(given.lines)).encode() for name, line in LINES.items()
    }
    found: dict[str, dict[str, Any]] = {
        name: {"bytes": len(data) // given.lines, "named": [], "auto": []} for name, data in logs.items()
    }
    for _ in range(given.rounds):
        for name, data in logs.items():
            pattern = PATTERN if name == "regex" else None
            parser: Any = ParserConfig(name, pattern=pattern)  # type: ignore[arg-type]  # a key of LINES
            found[name]["named"].append(cost(parser, data, given.lines))
            if name not in {"regex", "text"}:
                found[name]["auto"].append(cost(ParserConfig("auto"), data, given.lines))
    print("| parser | bytes | µs a line | of `json` | with `auto` |\n|---|---|---|---|---|")
    floor = min(found["json"]["named"])
    for name, row in found.items():
        row["named"], row["auto"] = min(row["named"]), min(row["auto"], default=None)
        auto = "" if row["auto"] is None else f"{row['auto']:.1f}"
        times = row["named"] / floor
        print(f"| `{name}` | {row['bytes']} | {row['named']:.1f} | {times:.1f} | {auto} |")
    if given.json:
        write(given.json, {"rows": found})


if __name__ == "__main__":
    main()
