"""Two that would read the same: one reads, the other waits and goes on where that one was."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from logferry.handlers.schema import Schema
from logferry.shipper.builder import SourceBuilder
from logferry.shipper.pipeline import Pipeline
from logferry.shipper.plan import SinkSpec, SourceSpec
from logferry.shipper.ports import SinkKind
from logferry.shipper.sinks.memory import MemoryConfig, MemorySink
from logferry.shipper.sole_reader import sole_reader
from logferry.shipper.sources.file import SOURCE, FileConfig
from logferry.shipper.spool import Spool, SpoolSettings

SCHEMA = Schema("edge", "test")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def pipeline(place: Path, sink: MemorySink, *more: str) -> Pipeline:
    builder = SourceBuilder(SCHEMA)
    patterns = {"app": place / "*.log", **{name: place / name / "*.log" for name in more}}
    return Pipeline(
        schema=SCHEMA,
        spool=SpoolSettings(place / "spool", "edge"),
        sinks=[SinkSpec("mem", SinkKind("memory", MemoryConfig, lambda *_: sink), MemoryConfig())],
        sources=[
            SourceSpec(name, SOURCE, FileConfig(include=(pattern,)), builder)
            for name, pattern in patterns.items()
        ],
        builder=builder,
    )


def lines(sink: MemorySink) -> list[str]:
    return [event["message"] for event in sink.events()]


def test_a_second_one_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    """Each line comes once, whoever of the two has read it."""
    log = tmp_path / "app.log"
    log.write_text("one\ntwo\n")
    first, second = MemorySink(), MemorySink()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x.log").write_text("more\n")
    reading, waiting = pipeline(tmp_path, first), pipeline(tmp_path, second, "more")
    reading.start()
    try:
        until(lambda: lines(first) == ["one", "two"])
        waiting.start()
        until(lambda: any("another process" in feeder.error for feeder in waiting._feeders))
        until(lambda: lines(second) == ["more"])
        with log.open("a") as file:
            file.write("three\n")
        until(lambda: lines(first) == ["one", "two", "three"])
        assert reading.shutdown(10)
        with log.open("a") as file:
            file.write("four\n")
        until(lambda: lines(second) == ["more", "four"])
        until(lambda: not any(feeder.error for feeder in waiting._feeders))
    finally:
        reading.shutdown(10)
        waiting.shutdown(10)


def test_who_began_earlier_and_reads_later_has_the_newer_position(tmp_path: Path) -> None:
    """The third goes on behind the second's lines, although a segment of the first one is newer."""
    settings, clock = SpoolSettings(tmp_path / "spool", "edge"), count(1).__next__
    waiting, reading = Spool(settings, clock=clock), Spool(settings, clock=clock)
    waiting.append([b"{}"], b"1", "more")
    assert not waiting.last_position("app")
    reading.append([b"{}"], b"1", "app")
    reading.close()
    waiting.look_again()
    assert waiting.last_position("app") == b"1"
    waiting.append([b"{}"], b"2", "app")
    waiting.close()
    assert Spool(settings).last_position("app") == b"2"


def test_what_is_read_once_does_not_wait(tmp_path: Path) -> None:
    """It says who reads, and ends."""
    (tmp_path / "app.log").write_text("one\n")
    sink = MemorySink()
    once = pipeline(tmp_path, sink)
    with sole_reader(tmp_path / "spool" / "edge", "app", bool) as mine:
        assert mine
        once.start(sources=False)
        errors = once.read_sources_once()
    once.shutdown(10)
    assert "another process reads it" in errors["app"]
    assert not sink.events()


def test_a_place_that_cannot_be_had_keeps_nobody(tmp_path: Path) -> None:
    """Without a path, or where no file can be made, whoever wants may read."""
    (tmp_path / "file").write_text("")
    for place in (None, tmp_path / "file" / "edge"):
        with (
            sole_reader(place, "app", lambda: False) as first,
            sole_reader(place, "app", lambda: False) as other,
        ):
            assert first
            assert other
