"""Several sinks cost one read: a file is read and understood once, whoever takes its events."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from logferry.shipper.config.loading import load
from logferry.shipper.config.plan import plan
from logferry.shipper.pipeline import Pipeline
from logferry.shipper.sources import blocks

LINE = '{"message": "order created", "order_id": %d}\n'


def test_two_sinks_cost_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes that are read of a file, and the lines that are made events, with one sink and with three."""
    log = tmp_path / "app.log"
    log.write_text("".join(LINE % number for number in range(20_000)))
    pread, made = os.pread, blocks.LineBlocks.blocks
    inode, read, understood = log.stat().st_ino, 0, 0

    def counted(file: int, length: int, at: int, /) -> bytes:
        nonlocal read
        found = pread(file, length, at)
        read += len(found) if os.fstat(file).st_ino == inode else 0
        return found

    def lines(self: blocks.LineBlocks, given: list[bytes], *more: Any, **options: Any) -> object:
        nonlocal understood
        understood += len(given)
        return made(self, given, *more, **options)

    monkeypatch.setattr(os, "pread", counted)
    monkeypatch.setattr(blocks.LineBlocks, "blocks", lines)
    for count in (1, 3):
        place = tmp_path / str(count)
        outs = [place / f"out{number}.ndjson" for number in range(count)]
        content = {
            "service": "s",
            "spool": {"path": str(place)},
            "sinks": {f"sink{number}": {"type": "file", "path": str(out)} for number, out in enumerate(outs)},
            "sources": {"app": {"type": "file", "include": [str(log)]}},
        }
        read = understood = 0
        pipeline = Pipeline.from_plan(plan(load(content)))
        pipeline.start(sources=False)
        try:
            assert pipeline.read_sources_once() == {}
            assert pipeline.flush(60)
        finally:
            pipeline.shutdown()
        assert [out.read_bytes().count(b"\n") for out in outs] == [20_000] * count
        assert log.stat().st_size <= read < 1.1 * log.stat().st_size
        assert understood == 20_000
