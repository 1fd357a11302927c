"""What a line of somebody else's log says."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.lines import CutLine
from logferry.shipper.core.parse import Parsed, parse

TRACE = "0af7651916cd43dd8448eb211c80319c"
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC).timestamp()


def utc(moment: datetime) -> float:
    return moment.replace(tzinfo=UTC).timestamp()


def parsed(line: bytes, **options: object) -> Parsed:
    found = parse(line, local=utc, **options)  # type: ignore[arg-type]  # the parser's name
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-02T03:04:05.678901Z", AT),
        ("2026-01-02 03:04:05,678901", AT),
        ("2026-01-02T04:04:05.678901+01:00", AT),
        (AT, AT),
        (int(AT * 1000), int(AT * 1000) / 1000),
        (int(AT) * 10**9, int(AT)),
        ("yesterday", None),
        ("2026-13-45T00:00:00Z", None),
        (-5, None),
        (True, None),
        (1e300, None),
    ],
)
def test_times(value: object, expected: float | None) -> None:
    """ISO 8601 and epochs in seconds to nanoseconds are times; what is none stays a field."""
    found = parsed(json.dumps({"ts": value}).encode())
    assert found.timestamp == (None if expected is None else pytest.approx(expected))
    assert ("ts" in found.fields) == (expected is None)


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("warn", "WARNING"),
        ("Fatal", "CRITICAL"),
        ("notice", "INFO"),
        (40, "ERROR"),
        (5, "DEBUG"),
        (60, "CRITICAL"),
    ],
)
def test_levels(value: object, level: str) -> None:
    """Other systems' words and Python's numbers become the standard five."""
    assert parsed(json.dumps({"severity": value}).encode()).level == level


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (TRACE, TRACE),
        (TRACE.upper(), TRACE),
        ("0af76519-16cd-43dd-8448-eb211c80319c", TRACE),
        ("abc", ""),
        ("0" * 32, ""),
    ],
)
def test_trace_ids(given: str, expected: str) -> None:
    """A well-formed id is taken over, whatever its spelling; a malformed one stays a field."""
    found = parsed(json.dumps({"trace_id": given}).encode())
    assert found.trace_id == expected
    assert ("trace_id" in found.fields) == (not expected)


def test_text_with_time_and_level() -> None:
    """The standard library's usual format gives time and level, and the line stays the message."""
    found = parsed(b"2026-01-02 03:04:05,678 ERROR app: it broke\r")
    assert found.timestamp == pytest.approx(AT, abs=0.001)
    assert (found.level, found.message) == ("ERROR", "2026-01-02 03:04:05,678 ERROR app: it broke")


def test_a_traceback_becomes_a_stack() -> None:
    """A joined record's traceback is its stack; without a level of its own it is an ERROR."""
    found = parsed(b"it broke\nTraceback (most recent call last):\n  File x\nValueError: no")
    assert (found.message, found.level) == ("it broke", "ERROR")
    assert found.error["stack"].endswith("ValueError: no")
    alone = parsed(b"Traceback (most recent call last):\n  File x\nValueError: no")
    assert alone.message == "ValueError: no"


def test_what_is_no_json_is_text() -> None:
    """Broken JSON is text; under `parser: json` it says so. `parser: text` takes JSON as text."""
    assert parsed(b'{"a": ').message == '{"a":'
    assert parsed(b'{"a": ', parser="json").fields["parse_error"]
    assert parsed(b'{"msg": "x"}', parser="text").message == '{"msg": "x"}'
    assert parsed(b'{"msg": "\xff"}').message == "\ufffd"


def test_blank_and_cut_lines() -> None:
    """A blank line is no event; a cut one says how much it lost."""
    assert parse(b" \r") is None
    assert parsed(CutLine(b"abc", 7)).fields == {"line_cut_bytes": 7}


@given(
    st.binary(max_size=200)
    | st.dictionaries(st.text(), st.integers() | st.text()).map(lambda d: json.dumps(d).encode())
)
def test_any_bytes_are_understood_somehow(line: bytes) -> None:
    """No line makes the parser raise, and a line that is not blank is never dropped."""
    found = parse(line, local=utc)
    assert (found is None) == (not line.rstrip(b"\r\n \t"))


TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in f\nshop.StockError: no tea'


@pytest.mark.parametrize(
    ("line", "error", "left"),
    [
        (
            {"error": {"type": "E", "message": "m", "stack": "s", "code": 5, "causes": [{"type": "C"}]}},
            {"type": "E", "message": "m", "stack": "s", "code": "5", "causes": [{"type": "C"}]},
            {},
        ),
        (
            {"err": {"type": "E", "message": "m", "signal": 9}},
            {"type": "E", "message": "m"},
            {"err": {"signal": 9}},
        ),
        ({"error": "refused"}, {"message": "refused"}, {}),
        ({"error.type": "E", "error.stack_trace": "s"}, {"type": "E", "stack": "s"}, {}),
        ({"exc_info": TRACEBACK}, {"stack": TRACEBACK}, {}),
        ({"error": "refused", "exception": TRACEBACK}, {"message": "refused", "stack": TRACEBACK}, {}),
        ({"exception": "none of ours"}, {}, {"exception": "none of ours"}),
        ({"error": {"retry": True}}, {}, {"error": {"retry": True}}),
        ({"error": 5, "err": ["x"], "code": 7}, {}, {"error": 5, "err": ["x"], "code": 7}),
        ({"error": {"type": "E", "causes": [1]}}, {"type": "E"}, {"error": {"causes": [1]}}),
    ],
)
def test_errors_of_other_loggers(
    line: dict[str, object], error: dict[str, object], left: dict[str, object]
) -> None:
    """Objects, texts, dotted names and tracebacks become the event's error; the rest stays where it was."""
    found = parsed(json.dumps({"msg": "m", **line}).encode())
    assert found.error == error
    assert found.fields == left
