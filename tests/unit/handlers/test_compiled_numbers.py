"""The fast way takes None and whole numbers, and says the same of them as the general way."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from logferry.handlers import record as module
from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import Schema

PLAIN: dict[str, Any] = {
    "kind": "access",
    "duration_ms": 1.5,
    "bytes": 3,
    "failed": False,
    "path": "/",
    "a": 1,
}


def _line(builder: EventBuilder, extra: dict[str, Any]) -> bytes:
    record = logging.LogRecord("shop", 20, "shop.py", 1, "hello", None, None, "f")
    record.created = 1.0
    record.__dict__.update(extra)
    return builder.build(record)


@pytest.mark.parametrize(
    ("changed", "fast"),
    [
        ({"duration_ms": 12}, True),
        ({"duration_ms": -(2**53)}, True),
        ({"duration_ms": 2**53 + 1}, False),
        ({"duration_ms": True}, False),
        ({"duration_ms": float("nan")}, False),
        ({"duration_ms": None}, True),
        ({"bytes": None, "failed": None, "path": None, "kind": None, "a": None}, True),
        ({"bytes": 2.0}, False),
    ],
)
def test_both_ways_agree_on_none_and_whole_numbers(
    changed: dict[str, Any],
    fast: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A builder that knows the shape gives the bytes of one that does not, fast where promised."""
    extra = PLAIN | changed
    expected = _line(EventBuilder(Schema("s", host="h")), extra)
    builder = EventBuilder(Schema("s", host="h"))
    for _ in range(20):
        _line(builder, PLAIN)
    slow: list[object] = []
    monkeypatch.setattr(
        module, "assemble", lambda *a, _real=module.assemble, **k: slow.append(1) or _real(*a, **k)
    )
    assert _line(builder, extra) == expected
    assert bool(slow) is not fast


def test_a_line_number_that_is_none_is_left_out() -> None:
    """A record that was tampered with keeps the schema's types: no integer field holds text."""
    record = logging.LogRecord("a", 20, "f.py", 10**6000, "said", (), None)
    event = json.loads(EventBuilder(Schema("checkout")).build(record))
    assert event["message"] == "said"
    assert "line" not in event
