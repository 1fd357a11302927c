"""JSON in words of its own: many lines at once give what each gives by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.core.parse import parse_object
from logferry.shipper.sources.blocks import LineBlocks

TRACE = "0af7651916cd43dd8448eb211c80319c"
SECOND = 1795317069
INSTANT = {"epochSecond": SECOND, "nanoOfSecond": 500_000_000}
THROWN = {
    "name": "a.Failed",
    "message": "no",
    "extendedStackTrace": [{"class": "a.B", "method": "c", "file": "B.java", "line": 3}],
    "cause": {"name": "a.Why", "extendedStackTrace": []},
}
ENTRY = {
    "__REALTIME_TIMESTAMP": "1795351935577267",
    "__CURSOR": "s=61ca;i=4",
    "_UID": "0",
    "_PID": "19",
    "_HOSTNAME": "vm",
    "_SYSTEMD_UNIT": "app.service",
    "SYSLOG_IDENTIFIER": "app",
    "PRIORITY": "6",
}
LINES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"message": "x", "time": SECOND, "mdc": {"trace_id": TRACE, "a": "b"}}, {"trace_id": TRACE}),
    ({"short_message": "x", "timestamp": SECOND, "level": 4, "_order": 7}, {"level": "WARNING", "order": 7}),
    ({"short_message": "x", "timestamp": SECOND, "level": 9, "full_message": "x"}, {"message": "x"}),
    ({"instant": INSTANT, "loggerName": "a.B", "message": "x"}, {"logger": "a.B", "message": "x"}),
    ({"instant": {"epochSecond": "x"}, "time": SECOND, "message": "x"}, {"instant": {"epochSecond": "x"}}),
    (
        {"instant": INSTANT, "message": "x", "thrown": THROWN},
        {
            "error": {
                "type": "a.Failed",
                "message": "no",
                "stack": "a.Failed: no\n\tat a.B.c(B.java:3)\nCaused by: a.Why",
                "causes": [{"type": "a.Why", "message": "", "relation": "cause"}],
            }
        },
    ),
    (  # journalctl -o json
        {**ENTRY, "MESSAGE": "2026-11-21 ERROR it broke [req-1234-abcd]", "ORDER": ["a", "b"]},
        {
            "timestamp": "2026-11-22T12:52:15.577267Z",
            "message": "2026-11-21 ERROR it broke [req-1234-abcd]",
            "level": "ERROR",
            "service": "app",
            "host": "vm",
            "process": 19,
            "unit": "app.service",
            "order": "a\nb",
            "request_id": "req-1234-abcd",
            "_UID": None,
        },
    ),
    ({**ENTRY, "MESSAGE": [98, 255], "PRIORITY": "3"}, {"message": "b\ufffd", "level": "ERROR"}),
    ({**ENTRY, "MESSAGE": None, "PRIORITY": "7"}, {"message": "", "level": "DEBUG"}),
    (
        {**ENTRY, "MESSAGE": '{"msg": "x", "level": "warn"}'},
        {"message": "x", "level": "WARNING", "host": "vm"},
    ),
    (
        {**ENTRY, "__REALTIME_TIMESTAMP": "x", "message": "y", "time": SECOND},
        {"message": "y", "_PID": "19"},
    ),
    (
        {"time": SECOND, "message": "x", "stack_trace": "a.Failed: no\n\tat a.B.c(B.java:3)"},
        {"error": {"type": "a.Failed", "message": "no", "stack": "a.Failed: no\n\tat a.B.c(B.java:3)"}},
    ),
]


@pytest.mark.parametrize(("line", "wanted"), LINES)
def test_dialects(line: dict[str, Any], wanted: dict[str, Any]) -> None:
    """What each says, among lines of its like."""
    schema = Schema("edge", host="h")
    builder = EventBuilder(schema, Redactor(schema=schema))
    lines = [json.dumps(line | {"n": number}).encode() for number in range(100)]
    many = [json.loads(event) for block, _ in LineBlocks(builder, "json").blocks(lines) for event in block]
    for given, event in zip(lines, many, strict=True):
        ((block, _),) = LineBlocks(builder, "json").blocks([given])
        assert [event] == [json.loads(one) for one in block]
    assert {name: many[0].get(name) for name in wanted} == wanted


def test_a_time_in_two_parts() -> None:
    """Seconds and nanoseconds are one time."""
    assert parse_object({"instant": dict(INSTANT)}).timestamp == SECOND + 0.5
