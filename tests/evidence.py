"""What a test tried, how often, and what was lost: the rows of docs/reliability.md.

Take the fixture `evidence`; after the fault was tried `evidence("killed (SIGKILL)", tried=20, lost=0)`, where
`lost` counts records; assert afterwards. Rows of the same name, from any test or process, are added up.
LOGFERRY_EVIDENCE=<path> (`make prove` sets it) makes each call one JSON line there; without it, nothing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Protocol

import pytest

__all__ = ["Evidence", "append", "evidence"]


class Evidence(Protocol):
    """What the fixture hands out."""

    def __call__(self, row: str, *, tried: int, lost: int) -> None:
        """Write down that `row` was tried so often, and that so many records were lost by it."""


def append(row: str, *, tried: int, lost: int, seconds: float, test: str) -> None:
    """Append a line where LOGFERRY_EVIDENCE says, in one write: parallel processes do not mix theirs."""
    path = os.environ.get("LOGFERRY_EVIDENCE")
    if not path:
        return
    entry = {"row": row, "tried": tried, "lost": lost, "seconds": round(seconds, 3), "test": test}
    entry |= {"effort": float(os.environ.get("LOGFERRY_EFFORT") or 1), "platform": sys.platform}
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, json.dumps(entry).encode() + b"\n")
    finally:
        os.close(handle)


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Record rows of the table of reliability; the seconds count from the test's start, or its last row."""
    last = time.monotonic()
    test = request.node.nodeid.partition("[")[0]

    def record(row: str, *, tried: int, lost: int) -> None:
        nonlocal last
        now = time.monotonic()
        append(row, tried=tried, lost=lost, seconds=now - last, test=test)
        last = now

    return record
