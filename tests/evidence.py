"""What a test tried, how often, and what was lost: the rows of docs/reliability.md.

Take the fixture `evidence`; after the fault was tried `evidence("killed (SIGKILL)", tried=20, lost=0)`, where
`lost` counts records; assert afterwards. Rows of the same name, from any test or process, are added up.
`evidence.cell` is for the matrix of sinks and faults, a row for each sink and a table of its own.
LOGFERRY_EVIDENCE=<path> (`make prove` sets it) makes each call one JSON line there; without it, nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import pytest

__all__ = ["Evidence", "Tally", "append", "evidence"]


class Evidence(Protocol):
    """What the fixture hands out."""

    def __call__(self, row: str, *, tried: int, lost: int) -> None:
        """Write down that `row` was tried so often, and that so many records were lost by it."""

    def cell(self, sink: str, fault: str, tally: Tally, seconds: float) -> None:
        """Write down what became of the events of one cell of the matrix of sinks and faults."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Events of a cell: all, and those that are lost, there twice, and dead letters."""

    events: int
    lost: int
    twice: int
    dead: int


def append(row: str, **facts: Any) -> None:
    """Append a line where LOGFERRY_EVIDENCE says, in one write: parallel processes do not mix theirs.

    `facts` are `tried`, `lost`, `seconds` and `test`, and for a cell of the matrix `cell`.
    """
    path = os.environ.get("LOGFERRY_EVIDENCE")
    if not path:
        return
    entry = {"row": row, **facts, "seconds": round(facts["seconds"], 3)}
    entry |= {"effort": float(os.environ.get("LOGFERRY_EFFORT") or 1), "platform": sys.platform}
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(handle)


class _Recorder:
    """The seconds of a row count from the test's start, or its last row."""

    def __init__(self, test: str) -> None:
        self._last, self._test = time.monotonic(), test

    def __call__(self, row: str, *, tried: int, lost: int) -> None:
        now = time.monotonic()
        append(row, tried=tried, lost=lost, seconds=now - self._last, test=self._test)
        self._last = now

    def cell(self, sink: str, fault: str, tally: Tally, seconds: float) -> None:
        row = f"{sink}: every fault of the table below"
        cell = {"sink": sink, "fault": fault, **asdict(tally)}
        append(row, tried=1, lost=tally.lost, seconds=seconds, test=self._test, cell=cell)


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Record rows of the table of reliability."""
    return _Recorder(request.node.nodeid.partition("[")[0])
