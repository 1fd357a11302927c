"""The sinks `memory`, `console` and `file`."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
from cramjam import zstd

from logferry.handlers.schema import Schema
from logferry.shipper.config.fields import Duration, Size
from logferry.shipper.model import Batch, Delivered, Partial, Rejected, Retry
from logferry.shipper.ports import SinkContext
from logferry.shipper.sinks import console, file, memory


def batch(*lines: bytes, first: int = 1) -> Batch:
    return Batch("ab" * 16, range(first, first + len(lines)), lines)


def context(name: str) -> SinkContext:
    return SinkContext(name, Schema("checkout"))


def test_memory_keeps_an_event_once() -> None:
    """The fake knows ids: what arrives again is a duplicate, not a second event."""
    sink = memory.SINK.build(memory.MemoryConfig(), context("mem"))
    assert memory.memory_sink("mem") is sink
    assert isinstance(sink, memory.MemorySink)
    assert sink.send(batch(b'{"a":1}', b'{"a":2}')) == Delivered()
    sink.answers.append(Partial({0: Rejected("no")}))
    assert sink.send(batch(b'{"a":2}', b'{"a":3}', b'{"a":4}', first=2)) == Partial({0: Rejected("no")})
    assert sink.send(batch(b'{"a":2}', first=2)) == Delivered(duplicates=1)
    assert [event["a"] for event in sink.events()] == [1, 2, 3, 4]
    assert sink.check() == ()
    sink.clear()
    assert sink.ids() == []


def test_memory_is_bounded() -> None:
    """The oldest events go when the bound is reached."""
    sink = memory.MemorySink(memory.MemoryConfig(max_events=2))
    sink.send(batch(b"1", b"2", b"3"))
    assert sink.lines() == [b"2", b"3"]


def test_console_writes_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each event is one line on the stream of the moment."""
    sink = console.SINK.build(console.ConsoleConfig(), context("out"))
    assert sink.send(batch(b'{"a":"\xc3\xa9"}', b"{}")) == Delivered()
    assert capsys.readouterr().out == '{"a":"é"}\n{}\n'
    assert sink.check() == ()


def test_console_waits_while_the_stream_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed stream loses nothing: the events stay in the spool."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    sink = console.ConsoleSink(console.ConsoleConfig("stderr"))
    verdict = sink.send(batch(b"{}"))
    assert isinstance(verdict, Retry)
    assert verdict.pause
    assert sink.check() == ("stderr is closed",)


def file_sink(path: Path, **options: Any) -> file.FileSink:
    return file.FileSink(file.FileConfig(path, **options))


def test_file_is_synced_before_it_is_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delivered means on the disk."""
    synced: list[bytes] = []
    path = tmp_path / "logs" / "app.ndjson"
    monkeypatch.setattr(file, "sync", lambda _handle: synced.append(path.read_bytes()))
    sink = file_sink(path)
    assert sink.check() == ()
    assert sink.send(batch(b'{"a":1}', b'{"a":2}')) == Delivered()
    assert synced == [b'{"a":1}\n{"a":2}\n']
    sink.close()


def test_file_that_cannot_be_written_is_retried_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that fails half-way leaves nothing behind, so that its repetition is complete and alone."""
    path = tmp_path / "app.ndjson"
    sink = file_sink(path)
    sink.send(batch(b"1"))

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(file, "sync", full)
        assert sink.send(batch(b"2", first=2)) == Retry(f"{path}: No space left on device")
    assert path.read_bytes() == b"1\n"
    assert sink.send(batch(b"2", first=2)) == Delivered()
    assert path.read_bytes() == b"1\n2\n"
    sink.close()


def test_file_cuts_the_line_that_a_crash_tore(tmp_path: Path) -> None:
    """The next line does not continue a torn one."""
    path = tmp_path / "app.ndjson"
    path.write_bytes(b'{"a":1}\n{"a":')
    sink = file_sink(path)
    sink.send(batch(b'{"a":2}'))
    sink.close()
    assert path.read_bytes() == b'{"a":1}\n{"a":2}\n'


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_file_rotates_by_size_and_keeps_so_many(tmp_path: Path, compress: str) -> None:
    """No file grows beyond the bound, only the newest are kept, and no line is cut or lost among them."""
    sink = file_sink(tmp_path / "app.ndjson", max_bytes=Size(4096), keep=2, compress=compress)
    (tmp_path / "app.other.ndjson").write_text("not ours")
    for n in range(50):
        assert sink.send(batch(b'{"n":%d,"x":"%b"}' % (n, b"x" * 500))) == Delivered()
    sink.close()
    rotated = sorted(p for p in tmp_path.iterdir() if p.name.startswith("app.20"))
    assert len(rotated) == 2
    text = b""
    for path in [*rotated, tmp_path / "app.ndjson"]:
        data = path.read_bytes()
        assert path.suffix == (".zst" if compress == "zstd" and path in rotated else ".ndjson")
        data = bytes(zstd.decompress(data)) if path.suffix == ".zst" else data
        assert len(data) <= 4096
        text += data
    numbers = [int(line.split(b",")[0][5:]) for line in text.splitlines()]
    assert numbers == list(range(numbers[0], 50))
    assert (tmp_path / "app.other.ndjson").read_text() == "not ours"


def test_file_rotates_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old file is put aside before the next batch."""
    sink = file_sink(tmp_path / "app.ndjson", max_age=Duration(60.0))
    sink.send(batch(b"1"))
    later = time.time() + 61
    monkeypatch.setattr("time.time", lambda: later)
    sink.send(batch(b"2"))
    sink.close()
    assert (tmp_path / "app.ndjson").read_bytes() == b"2\n"


def test_file_survives_a_foreign_rotation(tmp_path: Path) -> None:
    """When somebody moves the file away, a new one is begun."""
    path = tmp_path / "app.ndjson"
    sink = file_sink(path)
    sink.send(batch(b"1"))
    path.rename(tmp_path / "old")
    sink.send(batch(b"2"))
    sink.close()
    assert path.read_bytes() == b"2\n"


def test_file_has_one_writer(tmp_path: Path) -> None:
    """A second process waits instead of mixing its lines in; with {pid} each has a file."""
    first, second = file_sink(tmp_path / "app.ndjson"), file_sink(tmp_path / "app.ndjson")
    assert first.send(batch(b"1")) == Delivered()
    refused = second.send(batch(b"2"))
    assert isinstance(refused, Retry)
    assert "another process" in refused.reason
    first.close()
    assert second.send(batch(b"2")) == Delivered()
    second.close()
    third = file_sink(tmp_path / "app-{pid}.ndjson")
    third.send(batch(b"3"))
    third.close()
    assert (tmp_path / f"app-{os.getpid()}.ndjson").read_bytes() == b"3\n"


def test_file_says_what_it_cannot_use(tmp_path: Path) -> None:
    """`check` and `send` name the path that does not work."""
    (tmp_path / "f").write_text("")
    sink = file_sink(tmp_path / "f" / "app.ndjson")
    assert sink.check()
    verdict = sink.send(batch(b"1"))
    assert isinstance(verdict, Retry)
    assert verdict.pause
