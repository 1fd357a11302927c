"""Standard input: every line of the pipe, and a stop in the middle of silence."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema
from logferry.shipper.ports import SourceContext
from logferry.shipper.sources.stdin import StdinConfig, StdinSource


class Kept:
    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def append(self, lines: Sequence[bytes], position: bytes = b"", part: str = "") -> int:
        self.lines += lines
        return 1

    def last_position(self, source: str) -> bytes:
        return b""

    def positions(self) -> dict[str, bytes]:
        return {}


@pytest.mark.parametrize("multiline", [None, "python"])
def test_a_pipe_is_read_to_its_end(multiline: Any) -> None:
    """All lines arrive, the last without its end too."""
    reading, writing = os.pipe()
    os.write(writing, b'one\n{"msg": "two"}\n\nthree')
    os.close(writing)
    kept = Kept()
    context = SourceContext("in", EventBuilder(Schema("s", host="h")), kept)
    with os.fdopen(reading, "rb") as stream:
        StdinSource(StdinConfig(multiline=multiline), context, stream).run(once=True)
    assert [json.loads(line)["message"] for line in kept.lines] == ["one", "two", "three"]


def test_stop_ends_a_silent_pipe() -> None:
    """`stop` is heard although nothing comes."""
    reading, writing = os.pipe()
    context = SourceContext("in", EventBuilder(Schema("s", host="h")), Kept())
    with os.fdopen(reading, "rb") as stream:
        source = StdinSource(StdinConfig(), context, stream)
        thread = threading.Thread(target=source.run, kwargs={"once": False})
        thread.start()
        source.stop()
        thread.join(10)
        assert not thread.is_alive()
    os.close(writing)
