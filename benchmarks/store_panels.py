"""Every dashboard panel and the usual searches over a local store of ten million events.

    make bench-panels
    python benchmarks/store_panels.py [--events 10000000] [--path DIR] [--json FILE]

The store is made with DuckDB in the form that compaction leaves behind (30 % access events, 0.6 % errors, two
days), with 100,000 further events fresh. Each figure is the best and the median of five; the budget is 1 s.

Then stores of fresh lines alone, as a busy minute or an import leaves them: what it costs to draw a page of
panels again (CPU, the best of five), beside what one panel costs a reader who comes new. The bound is a
ratio, so a busy machine does not matter; what is over it ends with exit code 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from machine import write
from rows import Row, plain

from logferry.shipper.model import Batch
from logferry.shipper.store import Store, parquet
from logferry.shipper.store.layout import Layout, Manifest, ParquetFile
from logferry.shipper.store.panels import PANELS
from logferry.shipper.store.rewrite import SQL_TYPES, columns
from logferry.shipper.store.writer import StoreWriter

START = datetime(2026, 11, 19, tzinfo=UTC)
SPAN = 2 * 86_400
PER_FILE = 1_250_000
SPOOL = "ab" * 16
PAGE_RATIO = 6.0
BUCKETS = "[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]"
VALUES = {
    "event_id": f"'{SPOOL}-' || (n + 1)",
    "timestamp": "TIMESTAMP '2026-11-19' + to_microseconds(CAST(n * {step} AS BIGINT))",
    "level": "CASE WHEN h % 1000 < 6 THEN 'ERROR' WHEN h % 1000 < 40 THEN 'WARNING' ELSE 'INFO' END",
    "service": "['shop', 'stock', 'mailer', 'billing', 'edge'][h % 5 + 1]",
    "trace_id": "md5((n // 6)::VARCHAR)",
    "span_id": "left(md5(n::VARCHAR), 16)",
    "message": "CASE WHEN access THEN 'GET /orders/' || (h % 9999) || ' 200'"
    " ELSE 'order ' || n || ' moved to step ' || (h % 7) END",
    "request_id": "md5('r' || (n // 6))",
    "user_id": "'u' || (h % 50000)",
    "endpoint": "CASE WHEN access THEN '/api/v1/resource' || (h % 40) || '/{id}' END",
    "kind": "CASE WHEN access THEN 'access' END",
    "method": "CASE WHEN access THEN 'GET' END",
    "path": "CASE WHEN access THEN '/api/v1/resource' || (h % 40) || '/' || (h % 9999) END",
    "status_code": "CASE WHEN access THEN CASE WHEN h % 1000 < 6 THEN 503 ELSE 200 END END",
    "duration_ms": "CASE WHEN access THEN d END",
    "duration_le": "CASE WHEN access THEN"
    f" coalesce(list_filter({BUCKETS}, lambda b: b >= d)[1]::VARCHAR, '+Inf') END",
    "failed": "CASE WHEN access THEN h % 1000 < 6 END",
    "logger": "'shop.orders'",
    "module": "'orders'",
    "function": "'move'",
    "line": "h % 300",
    "environment": "'prod'",
    "host": "'web-' || (h % 4)",
    "process": "1000 + h % 8",
    "thread": "'MainThread'",
    "error": "CASE WHEN h % 1000 < 6 THEN"
    """ '{"type":"TimeoutError","message":"bank ' || (h % 9) || ' did not answer"}' END""",
    "error_pattern": "CASE WHEN h % 1000 < 6 THEN 'bank # did not answer' END",
    "fields": "'{\"order_id\":' || n || ',\"amount\":' || (h % 100) / 10 || '}'",
    "error_type": "CASE WHEN h % 1000 < 6 THEN 'TimeoutError' END",
    "error_message": "CASE WHEN h % 1000 < 6 THEN 'bank did not answer' END",
}


def make(layout: Layout, events: int) -> None:
    """Fill a store; the files are what compaction would have written."""
    layout.create()
    step = SPAN * 1_000_000 / events
    known = columns({}) | {"fields": "object", "error_type": "string", "error_message": "string"}
    values = {name: value.replace("{step}", str(step)) for name, value in VALUES.items()}
    files = []
    with parquet.session(layout.staging) as connection:
        for number, first in enumerate(range(0, events, PER_FILE)):
            last = min(first + PER_FILE, events)
            picked = ", ".join(
                f'CAST({values.get(name, "NULL")} AS {SQL_TYPES[kind]}) AS "{name}"'
                for name, kind in known.items()
            )
            source = (
                "(SELECT range AS n, CAST(hash(range) % 1000000 AS BIGINT) AS h, hash(range + 3) % 10 < 3 AS"
                " access, round(exp(CAST(hash(range + 7) % 8000 AS BIGINT) / 1000.0), 2) AS d"
                f" FROM range({first}, {last}))"
            )
            name = f"date=2026-11-{19 + first * 2 // events}/{number + 1:08}-0000.parquet"
            target = layout.events / name
            target.parent.mkdir(exist_ok=True)
            made = parquet._write(connection, picked, source, target)  # noqa: SLF001 - as compaction writes
            files.append(ParquetFile(name, made.rows, made.bytes, made.oldest, made.newest, time.time()))
    layout.write_manifest(Manifest(1, tuple(files), {SPOOL: (events, time.time())}))
    began = time.perf_counter()
    add_fresh(layout, events + 1, 100_000)
    print(f"writing 100,000 fresh events: {(time.perf_counter() - began) * 10:.2f} µs each, fsync included")


def add_fresh(layout: Layout, first: int, count: int) -> None:
    """Write `count` events as lines, numbered from `first` on: an hour of them at most."""
    access = {"kind": "access", "endpoint": "/a", "duration_ms": 7, "duration_le": "10"}
    writer = StoreWriter(layout)
    for begin in range(0, count, 5_000):
        some = [
            orjson.dumps(
                {
                    "timestamp": f"2026-11-21T00:{n // 10_000 % 60:02}:00.{n % 10**6:06}Z",
                    "level": "INFO",
                    "service": "shop",
                    "trace_id": f"{n // 6:032x}",
                    "span_id": f"{n:016x}",
                    "message": f"order {n} moved",
                    **(access if n % 3 else {}),
                    "order_id": n,
                }
            )
            for n in range(begin, min(begin + 5_000, count))
        ]
        writer.write(Batch(SPOOL, range(first + begin, first + begin + len(some)), some))
    writer.close()


def fresh_page(count: int) -> Row:
    """Draw a page five times over `count` lines that are not compacted; a page is a dozen questions."""
    with tempfile.TemporaryDirectory() as scratch:
        layout = Layout(Path(scratch) / "store")
        layout.create()
        add_fresh(layout, 1, count)
        pages, news = [], []
        with Store(layout.path) as store:
            for _ in range(5):
                with Store(layout.path) as new:
                    news.append(cpu(partial(new.panel, "volume", "2026-11-21", "2026-11-22")))
                pages.append(cpu(partial(page, store)))
    ratio = min(pages) / min(news)
    name = f"fresh lines: {count:,}, the page again"
    print(f"{name:<44} {pages[0]:6.3f} {min(pages):6.3f} s of CPU, {ratio:.1f} x one panel anew")
    return Row("panels", name, {"ratio": ratio})


def page(store: Store) -> None:
    """Ask what a page asks."""
    for panel in PANELS:
        store.panel(panel, since="2026-11-21", until="2026-11-22")
    store.topology("2026-11-21", "2026-11-22")
    list(store.query("", limit=200))


def cpu(run: Callable[[], Any]) -> float:
    """Return the CPU seconds of a run, all threads together."""
    began = time.process_time()
    run()
    return time.process_time() - began


def timed(name: str, run: Callable[[], Any]) -> Row:
    """Run five times; print the best and the median, which is what counts."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        found = run()
        took.append(time.perf_counter() - began)
    rows = len(found) if found is not None else 0
    print(f"{name:<44} {min(took):6.3f} {statistics.median(took):6.3f} s  {rows:>6} rows")
    return Row("panels", name, {"seconds": statistics.median(took)})


def make_once(layout: Layout, events: int) -> None:
    """Make the store, unless it was kept from before."""
    if not layout.manifest.exists():
        began = time.perf_counter()
        make(layout, events)
        print(f"made {events:,} events in {time.perf_counter() - began:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--path", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        layout = Layout(options.path or Path(scratch) / "store")
        make_once(layout, options.events)
        with Store(layout.path) as store:
            stats = store.stats()
            print(
                f"{stats.compacted:,} events in {stats.parquet_files} files, {stats.parquet_bytes >> 20} MiB"
            )
            middle = f"{SPOOL}-{options.events // 2}"
            trace = (store.get(middle) or {})["trace_id"]
            for panel in PANELS:
                run = partial(store.panel, panel, since="2026-11-19", until="2026-11-22")
                rows += [timed(f"panel {panel}", run)]
            rows.append(
                timed("panel qps, last six hours", lambda: store.panel("qps", since="2026-11-20T18:00Z"))
            )
            searches = {
                "newest 100": "",
                "errors, newest 100": "level>=ERROR",
                "a trace by its id": trace,
                "an event by its id": middle,
                "a word, newest 100": "refused OR 'step 3'",
                "a rare word": "'order 1234567 '",
                "service and duration": "service=shop duration_ms>2900",
                "an undeclared field": "order_id=1234567",
            }
            for name, text in searches.items():
                rows.append(timed(name, lambda text=text: list(store.query(text, limit=100))))
    rows += [fresh_page(count) for count in (100_000, 500_000)]
    if options.json:
        write(options.json, {"events": options.events, "rows": plain(rows)})
    if any(row.figures.get("ratio", 0) > PAGE_RATIO for row in rows):
        print(f"a page over fresh lines is to cost at most {PAGE_RATIO:.0f} x one panel anew")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
