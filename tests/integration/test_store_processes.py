"""The local store under several processes, and processes that are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Duration, Size
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.local import SINK, LocalConfig
from logferry.shipper.store import Store, StoreError
from logferry.shipper.store.compact import Compactor
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.writer import StoreWriter

pytestmark = pytest.mark.integration

SPOOLS = ("ab" * 16, "cd" * 16)

WRITER = """
import sys
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.writer import StoreWriter
path, spool, first, count, size, roll = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
writer = StoreWriter(Layout(path), roll_bytes=roll)
at = first
while at < first + count:
    numbers = range(at, min(at + size, first + count))
    event = b'{"timestamp":"2026-11-21T08:00:00.%06dZ","service":"s","message":"event %d","n":%d}'
    lines = [event % (n % 1000000, n, n) for n in numbers]
    verdict = writer.write(Batch(spool, numbers, lines))
    if isinstance(verdict, Delivered):
        at = numbers[-1] + 1
        print(at - 1, flush=True)
"""

COMPACT_AND_DIE = """
import os, sys
from logferry.shipper.store.compact import Compactor
from logferry.shipper.store.layout import Layout
def step(name):
    if name == sys.argv[2]:
        os._exit(9)
now = lambda: float(sys.argv[3])
Compactor(Layout(sys.argv[1]), settle=0, idle=0, patience=0.1, step=step, now=now).run()
"""


COMPACT_ON = """
import sys
from logferry.shipper.store.compact import Compactor
from logferry.shipper.store.layout import Layout
while True:
    Compactor(Layout(sys.argv[1]), settle=0, idle=9, patience=0.05).run()
"""


def start_writer(
    path: Path, spool: str, first: int, count: int, size: int, roll: int
) -> subprocess.Popen[bytes]:
    arguments = [str(path), spool, *map(str, (first, count, size, roll))]
    return subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE)


def ids(path: Path) -> Counter[str]:
    with Store(path) as store:
        return Counter(row[0] for row in store.sql("SELECT event_id FROM events").rows)


def compact(path: Path) -> None:
    Compactor(Layout(path), settle=0, idle=0, patience=0.2).run()


def test_a_killed_writer_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Writers killed with SIGKILL at any moment, restarted where they were: each event once."""
    acknowledged, spool = 0, SPOOLS[0]
    for round_ in range(6):
        with start_writer(tmp_path, spool, acknowledged + 1, 1_000_000, 37, 200_000) as process:
            assert process.stdout is not None
            for _ in range(5 + 7 * round_):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
            acknowledged = int(rest[-1]) if rest else acknowledged
        if round_ % 2:
            compact(tmp_path)
    with start_writer(tmp_path, spool, acknowledged + 1, 50, 7, 200_000) as process:
        process.communicate()
    assert ids(tmp_path) == Counter(f"{spool}-{n}" for n in range(1, acknowledged + 51))


@pytest.mark.parametrize("step", ["split", "parquet", "placed", "manifest", "deleting", "merged"])
def test_a_compaction_killed_at_any_step_loses_and_doubles_nothing(tmp_path: Path, step: str) -> None:
    """After a compactor died at a step, readers see each event once; the next one cleans up."""
    layout, total = Layout(tmp_path), 0
    now = time.time()
    for round_ in range(3):
        for spool in SPOOLS:
            with start_writer(tmp_path, spool, 1 + round_ * 20, 20, 10, 1 << 20) as process:
                process.communicate()
        total += 20
        if round_ < 2:
            compact(tmp_path)
    command = [sys.executable, "-c", COMPACT_AND_DIE, str(tmp_path), step, str(now + 3 * 86_400)]
    died = subprocess.run(command, check=False)
    assert died.returncode == 9
    expected = Counter(f"{spool}-{n}" for spool in SPOOLS for n in range(1, total + 1))
    assert ids(tmp_path) == expected
    retry = [b'{"message":"again"}'] * total
    assert StoreWriter(layout).write(Batch(SPOOLS[0], range(1, total + 1), retry)) == Delivered(
        duplicates=total
    )
    compact(tmp_path)
    assert ids(tmp_path) == expected
    counted = {str(layout.events / file.path) for file in layout.read_manifest().files}
    assert {str(path) for path in layout.events.rglob("*.parquet")} == counted
    assert not list(layout.staging.iterdir())


def test_two_writers_and_readers_during_compaction(tmp_path: Path) -> None:
    """Whatever two writers and the compactor do, a reader sees a whole beginning of each spool, once."""
    count = 30_000
    writers = [start_writer(tmp_path, spool, 1, count, 250, 1_000_000) for spool in SPOOLS]
    deadline = time.monotonic() + 100
    while not (tmp_path / "fresh").is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    compactor = subprocess.Popen(
        [
            sys.executable,
            "-c",
            COMPACT_ON,
            str(tmp_path),
        ]
    )
    looks, layout = 0, Layout(tmp_path)
    try:
        with Store(tmp_path) as store:
            # On a busy machine the writers may be done before the compactor has begun.
            while (
                any(writer.poll() is None for writer in writers)
                or looks < 10
                or layout.read_manifest().generation < 1
            ):
                rows = store.sql(
                    "SELECT left(event_id, 32), count(*), count(DISTINCT event_id),"
                    " max(CAST(substr(event_id, 34) AS BIGINT)) FROM events GROUP BY 1"
                ).rows
                for _, events, different, last in rows:
                    assert events == different == last
                looks += 1
                assert time.monotonic() < deadline
    finally:
        compactor.kill()
        compactor.wait()
        for writer in writers:
            writer.communicate()
    compact(tmp_path)
    assert ids(tmp_path) == Counter(f"{spool}-{n}" for spool in SPOOLS for n in range(1, count + 1))
    assert layout.read_manifest().generation > 1


def test_an_event_is_visible_within_two_seconds(tmp_path: Path) -> None:
    """What was acknowledged is found by a query at once, and by a tail that waits, within two seconds."""
    writer = StoreWriter(Layout(tmp_path))
    line = b'{"timestamp":"2026-11-21T08:00:00.000000Z","message":"needle %d"}'
    writer.write(Batch(SPOOLS[0], [1], [line % 1]))
    with Store(tmp_path) as store:
        found = store.tail("needle", stop=lambda: False)
        writer.write(Batch(SPOOLS[0], [2], [line % 2]))
        began = time.monotonic()
        assert next(found)["message"] == "needle 2"
        assert [event["message"] for event in store.query("needle", order="asc")] == ["needle 1", "needle 2"]
        assert time.monotonic() - began < 2


def test_the_sink_has_its_store_compacted(tmp_path: Path) -> None:
    """The sink starts compaction in a process of its own, takes its exit status, and imports no DuckDB."""
    program = f"""
import os, subprocess, sys, time
from pathlib import Path
from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Duration, Size
from logferry.shipper.model import Batch, Delivered
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks.local import SINK, LocalConfig
config = LocalConfig(path=Path({str(tmp_path)!r}), roll_bytes=Size(1 << 16), compact_every=Duration(1.0))
sink = SINK.build(config, SinkContext("here", Schema("s", fields={{"order_id": "integer"}})))
deadline, at = time.monotonic() + 60, 1
events = Path({str(tmp_path)!r}) / "events"
while not list(events.glob("*/*.parquet")) and time.monotonic() < deadline:
    line = b'{{"timestamp":"2026-11-21T08:00:00.000000Z","message":"m","order_id":%d}}'
    lines = [line % n for n in range(at, at + 500)]
    assert sink.send(Batch("ab" * 16, range(at, at + 500), lines)) == Delivered()
    at += 500
    time.sleep(0.1)
time.sleep(0.3)
sink.close()
assert "duckdb" not in sys.modules
children = subprocess.run(["ps", "-A", "-o", "ppid=,stat="], capture_output=True, text=True).stdout
mine = [line.split()[1] for line in children.splitlines() if line.split()[0] == str(os.getpid())]
assert not [state for state in mine if "Z" in state], mine
print(at - 1)
"""
    made = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=90, check=False
    )
    assert made.returncode == 0, made.stderr
    deadline = time.monotonic() + 30
    with Store(tmp_path) as store:
        while not store.stats().compacted:
            assert time.monotonic() < deadline, store.stats()
            time.sleep(0.1)
        (row,) = store.sql(
            "SELECT count(*), count(DISTINCT order_id), typeof(any_value(order_id)) FROM events"
        ).rows
        assert row == (int(made.stdout), int(made.stdout), "BIGINT")


def test_a_fork_lets_go_of_the_parents_files(tmp_path: Path) -> None:
    """A child that outlives its killed parent does not keep the parent's file locked."""
    program = """
import os, sys, time
from logferry.shipper.model import Batch
from logferry.shipper.store.layout import Layout
from logferry.shipper.store.writer import StoreWriter
writer = StoreWriter(Layout(sys.argv[1]))
batch = Batch("ab" * 16, [1], [b'{"message":"m"}'])
writer.write(batch)
writer._hold(batch)  # as in the middle of an append
child = os.fork()
if child == 0:
    time.sleep(20)
    os._exit(0)
print(child, flush=True)
time.sleep(0.3)
os.kill(os.getpid(), 9)
"""
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.wait()
        try:
            os.kill(child, 0)
            writer = StoreWriter(Layout(tmp_path))
            assert writer.write(Batch(SPOOLS[0], [2], [b'{"message":"m"}'])) == Delivered()
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_sink_tells_what_is_wrong(tmp_path: Path) -> None:
    """`check` finds nothing wrong with a good place, and says what is wrong with a bad one."""
    context = SinkContext("here", Schema("s"))
    sink = SINK.build(LocalConfig(path=tmp_path / "good"), context)
    assert sink.check() == []
    sink.close()
    (tmp_path / "file").write_text("")
    bad = SINK.build(LocalConfig(path=tmp_path / "file", retention_bytes=Size(1 << 20)), context)
    assert re.search("file", bad.check()[0])
    bad.close()


def test_without_compaction_the_sink_bounds_the_store(tmp_path: Path) -> None:
    """`compact: off` keeps NDJSON only, and removes the oldest files beyond the bound."""
    config = LocalConfig(
        path=tmp_path,
        compact="off",
        compact_every=Duration(1.0),
        retention_bytes=Size(1 << 20),
        roll_bytes=Size(1 << 16),
    )
    from logferry.shipper.sinks.local import LocalSink

    now = [0.0]
    sink = LocalSink(config, {}, clock=lambda: now[0])
    line = orjson.dumps({"timestamp": "2026-11-21T08:00:00.000000Z", "message": "x" * 1000})
    for number in range(100):
        now[0] += 10
        numbers = range(1 + number * 50, 51 + number * 50)
        assert sink.send(Batch(SPOOLS[0], numbers, [line] * 50)) == Delivered()
    sink.close()
    size = sum(path.stat().st_size for path in (tmp_path / "fresh").iterdir())
    assert size < (1 << 20) + (1 << 18)
    found = sorted(int(name.rpartition("-")[2]) for name in ids(tmp_path))
    assert found == list(range(found[0], 5_001))
    with pytest.raises(StoreError), Store(tmp_path / "fresh"):
        pass
