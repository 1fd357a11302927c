"""The filter language: what people would guess works, and mistakes are shown where they are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.filter import FilterError, parse

EVENT: dict[str, Any] = {
    "event_id": "ab" * 16 + "-7",
    "timestamp": "2026-11-21T08:30:00.000000Z",
    "level": "ERROR",
    "service": "checkout",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span_id": "00f067aa0ba902b7",
    "message": "Time-out while paying order 42: TÜR",
    "path": "/api/orders/42?x=1",
    "status_code": 502,
    "duration_ms": 1500.5,
    "failed": True,
    "error": {"type": "ValueError", "message": "bad", "code": "E7"},
    "order_id": 42,
    "note": 'say "hi"',
    "http.status": 7,
    "cart": {"items": {"count": 3}},
    "gone": None,
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        'level=ERROR service=checkout "time-out" duration_ms>500',
        "level>=WARNING",
        "level>=warn level<fatal",
        "level=INFO,ERROR",
        "level!=INFO",
        "service:checkout",
        "-service=billing",
        "NOT service=billing",
        "!billing paying",
        "nothing OR paying",
        "(nothing OR paying) AND (level=ERROR)",
        "nothing || paying && order",
        "path=/api/*",
        "path=*x=1",
        "status_code=5*",
        "status_code>=500 status_code < 600",
        "duration_ms > 1.5s",
        "duration_ms<2s",
        "error.type=ValueError",
        "error_type=ValueError",
        "error.code=E7",
        "error=*",
        "failed=true",
        "failed=yes",
        "order_id=42",
        "order_id=42.0",
        "order_id=41,42",
        "order_id>41",
        "http.status=7",
        "cart.items.count=3",
        "fields.order_id=42",
        "-user_id=*",
        "user_id!=7",
        "-gone=*",
        "message~'order \\d+'",
        "message~(pay|bill)ing",
        "message!~refund",
        'note="say \\"hi\\""',
        "tür",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "4BF92F3577B34DA6A3CE929D0E0E4736",
        "4bf92f35-77b3-4da6-a3ce-929d0e0e4736",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "ab" * 16 + "-7",
        "timestamp>=2026-11-21 timestamp<2026-11-21T09:30+01:00",
        "42:",
    ],
)
def test_what_people_guess_holds(text: str) -> None:
    """Each of these says something true of one event."""
    if text.startswith("timestamp"):
        assert not parse(text).matches(EVENT)  # 09:30+01:00 is 08:30 UTC, and `<` leaves it out
        text = text.replace("<", "<=")
    assert parse(text).matches(EVENT)


@pytest.mark.parametrize(
    "text",
    [
        "level=INFO",
        "level<ERROR",
        "level<DEBUG",
        "service=check",
        "service=CHECKOUT",
        "service!=checkout",
        "-paying",
        "paying nothing",
        "path=/api",
        "status_code=5",
        "error.type=Value*x",
        "gone=*",
        "order_id=042a",
        "cart=*x*",
        "cart.items.missing=3",
        "order_id=true",
        "http://nowhere",
        "5bf92f3577b34da6a3ce929d0e0e4736",
    ],
)
def test_what_is_not_so_does_not_hold(text: str) -> None:
    """Each of these says something false of the same event."""
    assert not parse(text).matches(EVENT)


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("sevice=x", 1, "did you mean service?"),
        ("x sevice=x", 3, "fields.sevice"),
        ("level=ERORR", 7, "did you mean ERROR?"),
        ("(a b", 1, "never closed"),
        ("a)", 2, "without an opening one"),
        ('x "y', 3, "never closed"),
        ("x OR", 5, "missing"),
        ("AND x", 1, "should stand here"),
        ("duration_ms>abc", 13, "is a number"),
        ("message~[", 9, "regular expression"),
        ("message~(?=x)", 9, "regular expression"),
        ("error=x", 7, "error.type="),
        ("service>3", 9, "compares numbers"),
        ("user=", 6, 'user=""'),
        ("timestamp>noon", 11, "ISO 8601"),
        ("failed=perhaps", 8, "true or false"),
        ("status_code>1,2", 13, "takes one value"),
        ("(" * 60 + "a" + ")" * 60, 51, "nested deeper"),
        ("a" * 20_000, 1, "at most"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, column: int, told: str) -> None:
    """The error has the column, a caret under it, and what to write instead."""
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert caught.value.column == column
    assert told in str(caught.value)
    lines = str(caught.value).splitlines()
    assert "^" in lines[2]
    if len(text) < 60:
        assert lines[2].index("^") - 2 == column - 1


def test_declared_fields_are_known() -> None:
    """A declared field's type is checked, and a near miss of its name is told."""
    declared = {"loyalty_points": "integer"}
    assert parse("loyalty_points>5", declared).matches({"loyalty_points": 6})
    with pytest.raises(FilterError, match="did you mean loyalty_points"):
        parse("loyalty_point>5", declared)
    with pytest.raises(FilterError, match="is a number"):
        parse("loyalty_points=gold", declared)


def test_hints_say_why_nothing_may_be_found() -> None:
    """What was probably meant otherwise is told beside the filter."""
    assert any("status_code" in hint for hint in parse("status=500").hints)
    assert any("OR" in hint for hint in parse("a or b").hints)


@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """No input makes the parser fail in any other way, and every filter can be held against an event."""
    try:
        found = parse(text)
    except FilterError as error:
        assert 1 <= error.column <= len(text) + 1  # noqa: PT017 - either outcome is right
    else:
        found.matches(EVENT)
        found.matches({})


@given(
    st.lists(st.sampled_from(["level=ERROR", "(", ")", "OR", "NOT", "-", "a", "path=/x*", '"q"', "AND", " "]))
)
def test_any_order_of_tokens_is_understood_or_refused(tokens: list[str]) -> None:
    """Nonsense made of the language's own tokens is refused with a place."""
    try:
        parse(" ".join(tokens)).matches(EVENT)
    except FilterError as error:
        assert error.message  # noqa: PT017 - either outcome is right
