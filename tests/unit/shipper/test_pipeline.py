"""Spool, workers and upkeep together, in one process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from logferry.handlers.outlet import Violation
from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema
from logferry.shipper.builder import SourceBuilder
from logferry.shipper.core.sift import Routes
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry, Verdict
from logferry.shipper.pipeline import Pipeline
from logferry.shipper.plan import SinkSpec, SourceSpec
from logferry.shipper.ports import SinkContext, SinkKind
from logferry.shipper.sinks.memory import MemoryConfig, MemorySink
from logferry.shipper.sources.file import SOURCE, FileConfig
from logferry.shipper.spool import Spool, SpoolSettings
from logferry.shipper.spool.share import usage

SCHEMA = Schema("checkout", "test")
BUILDER = EventBuilder(SCHEMA, None)


def kind(sink: MemorySink) -> SinkKind[MemoryConfig]:
    return SinkKind("memory", MemoryConfig, lambda _config, _context: sink)


@pytest.fixture(params=["disk", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    made: list[Pipeline] = []

    def pipeline(sinks: dict[str, MemorySink], **options: Any) -> Pipeline:
        specs = [SinkSpec(n, kind(s), MemoryConfig(), Routes(options.pop(n, None))) for n, s in sinks.items()]
        path = tmp_path / "spool" if request.param == "disk" else None
        one = Pipeline(
            schema=SCHEMA, spool=SpoolSettings(path, "checkout"), sinks=specs, builder=BUILDER, **options
        )
        made.append(one)
        return one

    yield pipeline
    for one in made:
        one.shutdown(2.0)
        for name, account in one.accounts().items():
            assert account.balance == 0, name


def event(message: str, level: str = "INFO") -> bytes:
    return BUILDER.compose(level=level, message=message)


def messages(sink: MemorySink) -> list[str]:
    return [one["message"] for one in sink.events()]


def test_every_sink_gets_every_event(make: Callable[..., Pipeline]) -> None:
    """What was offered before and after the start arrives at each sink in order, and the books say so."""
    one, two = MemorySink(), MemorySink()
    pipeline = make({"one": one, "two": two})
    assert pipeline.outlet.offer(event("before"))
    pipeline.start()
    for n in range(1000):
        assert pipeline.outlet.offer(event(f"n{n}"))
    assert pipeline.flush(10)
    assert messages(one) == messages(two) == ["before", *(f"n{n}" for n in range(1000))]
    assert one.ids() == two.ids()
    account = pipeline.accounts()["one"]
    assert (account.accepted, account.delivered, account.pending) == (1001, 1001, 0)
    assert pipeline.shutdown()
    assert one.closed
    assert pipeline.accounts()["two"].delivered == 1001


def test_a_dead_sink_does_not_hold_up_the_other(make: Callable[..., Pipeline]) -> None:
    """One sink refuses for ever; the other gets everything, and the state names the trouble."""
    bad, good = MemorySink(), MemorySink()
    bad.answers.extend([Retry("connection refused")] * 10_000)
    pipeline = make({"bad": bad, "good": good})
    pipeline.start()
    pipeline.outlet.offer(event("a"))
    assert not pipeline.flush(0.3)
    assert messages(good) == ["a"]
    state = pipeline.states()["bad"]
    assert (state.state, state.error, state.pending) == ("retrying", "connection refused", 1)
    assert pipeline.states()["good"].state == "ok"
    began = time.monotonic()
    assert not pipeline.shutdown(0.5)
    assert time.monotonic() - began < 2
    assert pipeline.accounts()["bad"].pending == 1


def test_levels_violations_and_rejections_have_their_places(make: Callable[..., Pipeline]) -> None:
    """Filtered, dead-lettered and delivered, each counted once."""
    sink = MemorySink()
    sink.answers.append(Partial({0: Rejected("too old")}))
    pipeline = make({"mem": sink}, mem="WARNING")
    for line in (
        event("low"),
        event("bad", "ERROR"),
        Violation(event("odd", "ERROR"), "amount"),
        event("ok", "ERROR"),
    ):
        pipeline.outlet.offer(line)
    pipeline.start()
    assert pipeline.flush(10)
    account = pipeline.accounts()["mem"]
    assert (account.delivered, account.dead_lettered, account.filtered) == (1, 2, {"min_level": 1})
    assert messages(sink) == ["ok"]
    assert {letter.reason for letter in pipeline.dead_letters("mem").read()} == {"too old", "amount"} or (
        pipeline.dead_letters("mem").path is None
    )


class Hanging(MemorySink):
    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def send(self, batch: Batch) -> Verdict:
        self.go_on.wait(30)
        return Delivered()


def test_a_hanging_sink_costs_the_shutdown_its_bound(make: Callable[..., Pipeline]) -> None:
    """Shutdown returns in time although `send` does not, and what was in flight is still pending."""
    hanging = Hanging()
    pipeline = make({"hang": hanging}, shutdown_timeout=0.2)
    pipeline.start()
    pipeline.outlet.offer(event("a"))
    began = time.monotonic()
    assert not pipeline.flush(0.05)
    assert not pipeline.shutdown()
    assert time.monotonic() - began < 2
    assert pipeline.accounts()["hang"].pending == 1
    hanging.go_on.set()


def test_start_and_shutdown_may_be_repeated(make: Callable[..., Pipeline]) -> None:
    """A second start or shutdown does nothing."""
    pipeline = make({"mem": MemorySink()}, metrics=("127.0.0.1", 0))
    pipeline.start()
    pipeline.start()
    assert pipeline.stopped_threads() == []
    assert pipeline.health_address is not None
    assert pipeline.shutdown()
    assert pipeline.shutdown()
    assert not pipeline.running
    names = [thread.name for thread in threading.enumerate()]
    assert "logferry-mem" not in names
    assert "logferry-upkeep" not in names


def test_what_waits_goes_out_next_time(tmp_path: Path) -> None:
    """After a shutdown with a dead sink, the next start delivers the rest under the same ids."""
    settings = SpoolSettings(tmp_path, "checkout")
    bad, good = MemorySink(), MemorySink()
    bad.answers.extend([Retry("down")] * 100)
    for sink, expected in ((bad, False), (good, True)):
        spec = SinkSpec("mem", kind(sink), MemoryConfig())
        pipeline = Pipeline(schema=SCHEMA, spool=settings, sinks=[spec], builder=BUILDER)
        pipeline.start()
        if sink is bad:
            for n in range(3):
                pipeline.outlet.offer(event(f"n{n}"))
        else:
            deadline = time.monotonic() + 10
            while len(good.lines()) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert pipeline.shutdown(0.2 if sink is bad else 5.0) is expected
        account = pipeline.accounts()["mem"]
        assert (account.accepted, account.pending, account.balance) == (3, 0 if expected else 3, 0)
    assert messages(good) == ["n0", "n1", "n2"]
    assert [name.rsplit("-", 1)[1] for name in good.ids()] == ["1", "2", "3"]


def test_dead_letters_lie_where_the_architecture_says(tmp_path: Path) -> None:
    """`<path>/<service>/dead-letters/<sink>.ndjson`."""
    pipeline = Pipeline(schema=SCHEMA, spool=SpoolSettings(tmp_path, "checkout"), sinks=[], builder=BUILDER)
    assert pipeline.dead_letters("loki").path == tmp_path / "checkout" / "dead-letters" / "loki.ndjson"


def test_the_sink_is_made_with_its_context(tmp_path: Path) -> None:
    """Name, schema and state directory reach the sink's factory, in the worker's thread."""
    seen: list[tuple[SinkContext, str]] = []
    done = threading.Event()

    def build(_config: MemoryConfig, context: SinkContext) -> MemorySink:
        seen.append((context, threading.current_thread().name))
        done.set()
        return MemorySink()

    spec = SinkSpec("mem", SinkKind("memory", MemoryConfig, build), MemoryConfig())
    pipeline = Pipeline(
        schema=SCHEMA, spool=SpoolSettings(tmp_path, "checkout"), sinks=[spec], builder=BUILDER
    )
    pipeline.start()
    assert done.wait(5)
    assert seen == [(SinkContext("mem", SCHEMA, tmp_path), "logferry-mem")]
    assert pipeline.shutdown()


def test_what_another_process_has_yet_to_deliver_is_not_late(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The end of one process says nothing of the spool that a living other one delivers itself."""
    settings = SpoolSettings(tmp_path / "spool", "checkout")
    other = Spool(settings)
    assert other.offer(event("of another process"))
    spec = SinkSpec("out", kind(MemorySink()), MemoryConfig())
    pipeline = Pipeline(schema=SCHEMA, spool=settings, sinks=[spec], builder=BUILDER)
    pipeline.start()
    pipeline.outlet.offer(event("of this one"))
    assert pipeline.shutdown(5)
    assert pipeline.accounts()["out"].pending == 1
    assert capfd.readouterr().err == ""
    other.close()


def test_a_death_is_told_when_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what a source had read, and the path is full of, is given up for the notice."""
    settings = SpoolSettings(tmp_path / "spool", "checkout", max_bytes=1_000_000)
    dead = Spool(settings)
    for number in range(500):
        dead.append([event(f"{number} {'m' * 1000}")], b"here", "app")
    dead.close(clean=False)
    dead.home.close()
    ballast = tmp_path / "spool" / "ballast"
    ballast.write_bytes(bytes(1_000_000 - usage(tmp_path / "spool")))
    tried, report = threading.Event(), Pipeline._report

    def reporting(pipeline: Pipeline, adopted: Any) -> None:
        report(pipeline, adopted)
        tried.set()

    monkeypatch.setattr(Pipeline, "_report", reporting)
    sink = MemorySink()
    sink.answers.extend([Retry("not now")] * 10_000)
    pipeline = Pipeline(
        schema=SCHEMA, spool=settings, sinks=[SinkSpec("mem", kind(sink), MemoryConfig())], builder=BUILDER
    )
    pipeline.start()
    try:
        assert tried.wait(30)
        assert pipeline.accounts()["mem"].pending == 500
        ballast.unlink()
        sink.answers.clear()
        deadline = time.monotonic() + 30
        while len(messages(sink)) <= 500 and time.monotonic() < deadline:
            pipeline.flush(0.1)
    finally:
        pipeline.shutdown(5)
    assert len(messages(sink)) == 501
    assert sum(message.endswith("died without shutdown") for message in messages(sink)) == 1
    assert not pipeline.accounts()["mem"].dropped


def test_drained_spools_that_fill_the_path_do_not_keep_sources_out(tmp_path: Path) -> None:
    """They go when the deaths are told, and that must not wait for the room which they take."""
    settings = SpoolSettings(tmp_path / "spool", "edge", max_bytes=256 * 1024)
    dead, room = 0, True
    while room:
        spool = Spool(settings)
        room = spool.tell(event(f"last {dead}"))
        dead += room
        spool.close(clean=False)
        spool.home.close()
    log = tmp_path / "app.log"
    log.write_text("one\ntwo\n")
    sink, builder = MemorySink(), SourceBuilder(SCHEMA)
    pipeline = Pipeline(
        schema=SCHEMA,
        spool=settings,
        sinks=[SinkSpec("mem", kind(sink), MemoryConfig())],
        sources=[SourceSpec("app", SOURCE, FileConfig(include=(log,)), builder)],
        builder=builder,
    )
    pipeline.start()
    try:
        deadline = time.monotonic() + 60
        while len(sink.events()) < 2 * dead + 2 and time.monotonic() < deadline:
            pipeline.flush(0.1)
    finally:
        pipeline.shutdown(10)
    assert dead > 5
    told = [message for message in messages(sink) if message.endswith("died without shutdown")]
    assert len(told) == dead
    assert sorted(set(messages(sink)) - set(told)) == sorted(
        [*(f"last {n}" for n in range(dead)), "one", "two"]
    )
    assert usage(tmp_path / "spool") <= settings.max_bytes
