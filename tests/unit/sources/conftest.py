"""What tests of blocks share."""

from __future__ import annotations

from typing import Any

import pytest

from logferry.handlers.record import EventBuilder
from logferry.shipper.sources import blocks
from logferry.shipper.sources.foreign import event_of


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The lines that took the line way within the block way."""
    lines: list[bytes] = []

    def noted(builder: EventBuilder, line: bytes, *more: Any) -> bytes | None:
        lines.append(line)
        return event_of(builder, line, *more)

    monkeypatch.setattr(blocks, "event_of", noted)
    return lines
