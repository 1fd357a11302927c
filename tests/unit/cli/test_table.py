"""Tables on a terminal: as wide as it is, aligned whatever the alphabet, and harmless."""

from __future__ import annotations

import time
import unicodedata
from datetime import UTC, datetime
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.cli.output import event_line
from logferry.shipper.cli.table import harmless, table_lines, width_of

ROWS: list[dict[str, Any]] = [
    {"service": "checkout", "pending": 12345, "reasons": "full 1,234, max_age 5", "state": "killed"},
    {"service": "ü", "pending": 0, "reasons": "", "state": "alive"},
]
COLUMNS = ("service", "pending", "reasons", "state")


def wide(text: str) -> int:
    return sum(
        0
        if unicodedata.combining(c) or unicodedata.category(c) in {"Cf", "Me"}
        else 2
        if unicodedata.east_asian_width(c) in "WF"
        else 1
        for c in text
    )


def test_numbers_stand_to_the_right_and_text_to_the_left() -> None:
    """A table as people read it."""
    assert table_lines(ROWS, COLUMNS) == [
        "service   pending  reasons                state",
        "checkout   12,345  full 1,234, max_age 5  killed",
        "ü               0                         alive",
    ]


def test_a_narrow_terminal_cuts_texts_and_no_names_or_numbers() -> None:
    """The widest text loses; what is copied from a table stays whole."""
    lines = table_lines(ROWS, COLUMNS, width=42)
    assert lines[1] == "checkout   12,345  full 1,234, ma…  killed"
    assert max(map(wide, lines)) <= 42
    rows = [{"id": "a" * 34, "message": "m" * 200}]
    assert table_lines(rows, ("id", "message"), width=60)[1] == f"{'a' * 34}  {'m' * 23}…"
    assert table_lines(rows, ("id", "message"), width=20)[1] == f"{'a' * 34}  {'m' * 11}…"


def test_wide_characters_take_two_columns() -> None:
    """Chinese text and emoji do not push the next column away."""
    rows = [{"a": "订单 ✓", "b": "x"}, {"a": "e\u0301", "b": "y"}]
    lines = table_lines(rows, ("a", "b"))
    assert {wide(line[: line.rindex(end)]) for line, end in zip(lines[1:], "xy", strict=True)} == {8}


@pytest.mark.parametrize(
    ("column", "value", "shade"),
    [
        ("dropped", 3, "red"),
        ("dropped", 0, "bright_black"),
        ("pending", 3, "yellow"),
        ("delivered", 3, None),
        ("state", "killed", "red"),
        ("state", "alive", "green"),
        ("level", "ERROR", "red"),
    ],
)
def test_colour_says_what_needs_a_look(column: str, value: object, shade: str | None) -> None:
    """Lost is red, waiting yellow, nothing dim."""
    line = table_lines([{column: value}], (column,), colour=True)[1]
    assert line.strip() == (click.style(str(value), fg=shade) if shade else str(value))


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["id", "m", "n"]), st.text() | st.integers(), max_size=3), max_size=5
    )
)
def test_any_content_is_aligned_and_harmless(rows: list[dict[str, Any]]) -> None:
    """Whatever a log holds: one line a row, no control character, nothing wider than it must be."""
    lines = table_lines(rows, ("id", "m", "n"), width=80)
    assert len(lines) == len(rows) + 1
    assert all(harmless(line) == line and "\n" not in line for line in lines)
    bare = [click.unstyle(line) for line in table_lines(rows, ("id", "m", "n"), width=80, colour=True)]
    assert [line.rstrip() for line in bare] == [line.rstrip() for line in lines]


def test_an_event_on_a_terminal_says_nothing_twice() -> None:
    """An access event's message holds method, path and status; what is shown of the rest can be queried."""
    event = {
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "level": "ERROR",
        "service": "shop",
        "message": "POST /checkout 500",
        "kind": "access",
        "method": "POST",
        "path": "/checkout",
        "status_code": 500,
        "duration_ms": 3110.452,
        "failed": True,
        "request_id": "ab" * 16,
        "trace_id": "ab" * 16,
        "error": {"type": "StockError", "message": "no tea"},
    }
    assert event_line(event, colour=False) == (
        "2026-01-02 03:04:05.678 ERROR    shop       POST /checkout 500  ✗ StockError: no tea"
        f"  duration_ms=3110.452 failed=true trace={'ab' * 16}"
    )


def test_times_are_those_of_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line shows is what `--since` takes, in the zone of whoever reads; other words stay."""
    event = {"timestamp": "2026-01-02T20:04:05.678901Z", "level": "INFO", "service": "shop", "message": "x"}
    today = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}.000000Z"
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        assert event_line(event, colour=False).startswith("2026-01-03 01:34:05.678 INFO")
        assert event_line(event, colour=False, width=80).startswith("01-03 01:34:05 INFO")
        local = f"{datetime.fromisoformat(today).astimezone():%H:%M:%S}.000 INFO"
        assert event_line(event | {"timestamp": today}, colour=False, width=80).startswith(local)
    time.tzset()
    assert event_line(event, colour=False).startswith("2026-01-02 20:04:05.678 INFO")
    assert event_line(event | {"timestamp": "whenever"}, colour=False).startswith("whenever INFO")


WORDS = st.lists(st.text("ab✗=日<>-", min_size=1, max_size=12), max_size=30).map(" ".join)


@given(message=WORDS, fields=st.dictionaries(st.sampled_from("pqrs"), WORDS), width=st.integers(50, 140))
def test_a_long_event_goes_on_below_its_message(message: str, fields: dict[str, str], width: int) -> None:
    """No line is wider than the terminal, all go on where the message began, and nothing is left out."""
    event = {
        "timestamp": "2026-01-02T03:04:05.678901Z",
        "level": "INFO",
        "service": "shop",
        "message": message,
    }
    whole = event_line(event | fields, colour=False)
    lines = event_line(event | fields, colour=False, width=width).split("\n")
    stamped = whole.replace("2026-01-02 03:04:05.678", "01-02 03:04:05") if width < 100 else whole
    assert "".join("".join(lines).split()) == "".join(stamped.split())
    begin = lines[0].index("shop") + 11
    indent = begin if width - begin >= 30 else 4
    for number, line in enumerate(lines):
        assert line.startswith(" " * indent) or not number
        assert line.strip()
        assert width_of(line.rstrip()) <= width
    styled = event_line(event | fields, colour=True, width=width)
    assert "".join(click.unstyle(styled).split()) == "".join("".join(lines).split())


def test_what_nobody_reads_in_a_line() -> None:
    """A line of a megabyte is cut and says so; an error's words, a span's tags and a date are said once."""
    base = {"timestamp": "2026-01-02T03:04:05.678901Z", "level": "INFO", "service": "shop"}
    assert event_line(base | {"message": "x" * 1_000_000}, colour=False).endswith(
        "… (1,000,000 characters: --format json has all)"
    )
    error = {"type": "Slow", "message": "no answer"}
    assert event_line(base | {"message": "no answer", "error": error}, colour=False).endswith(
        "no answer  ✗ Slow"
    )
    span = {"kind": "span", "span_kind": "client", "name": "GET", "failed": False, "tags": {"db": "a b"}}
    told = event_line(base | {"message": "GET", "trace_id": "ab", **span}, colour=False, in_trace=True)
    assert told == '03:04:05.678 INFO     shop       GET  db="a b"'
