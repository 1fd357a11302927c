"""What varies in an error is masked, equally by every way that an event is made."""

from __future__ import annotations

import logging
import string
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.handlers import Redactor, Schema
from logferry.handlers.pattern import _VARYING, _name, error_pattern, pattern
from logferry.handlers.record import EventBuilder


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("could not reach 10.0.0.7:5432 for order 4711", "could not reach <ip> for order <num>"),
        ("no file '/etc/x' in C:\\a\\b", "no file <str> in <path>"),
        ("GET https://a.example/b?c=1 failed: 503", "GET <url> failed: <num>"),
        ("user 550e8400-e29b-41d4-a716-446655440000 is gone", "user <id> is gone"),
        ("object at 0x7f22beef died", "object at <id> died"),
        ("commit deadbeef01 of cafebabe", "commit <id> of cafebabe"),
        ("don't wait 3.5 s, retry in 1,000 ms", "don't wait <num> s, retry in <num> ms"),
        ("read /var/log/x.log: and/or", "read <path>: and/or"),
        ("订单 42 失败", "订单 <num> 失败"),
        ("first line 1\nsecond line 2", "first line <num>"),
        ("", ""),
    ],
)
def test_what_varies_is_masked(text: str, masked: str) -> None:
    assert pattern(text) == masked


@given(st.text(st.sampled_from(string.printable + "é订\u2028"), max_size=80))
def test_word_by_word_is_the_same_as_all_at_once(text: str) -> None:
    first = text[:500].partition("\n")[0]
    assert pattern(text) == _VARYING.sub(_name, first).strip()[:200]


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_errors_that_differ_in_numbers_only_are_equal(one: int, other: int) -> None:
    assert pattern(f"order {one} of {other} failed") == pattern("order 1 of 2 failed")


def test_an_exceptions_pattern_begins_with_its_type() -> None:
    assert error_pattern("ignored", {"type": "KeyError", "message": "'sku-17'"}) == "KeyError: <str>"
    assert error_pattern("ignored", {"type": "KeyError", "message": ""}) == "KeyError"
    assert error_pattern("seen 5", {"code": "x"}) == "seen <num>"


def test_every_way_of_making_an_event_gives_the_same() -> None:
    builder = EventBuilder(Schema("shop"), Redactor())

    def record(level: int, message: str, **extra: Any) -> dict[str, Any]:
        made = logging.makeLogRecord({"levelno": level, "msg": message, "name": "x", **extra})
        event: dict[str, Any] = orjson.loads(builder.build(made))
        return event

    for number in range(40):  # the general way, then the compiled one, then the typed one
        assert record(40, f"order {number} failed", order_id=number)["error_pattern"] == "order <num> failed"
        assert record(50, f"disk {number}")["error_pattern"] == "disk <num>"
        assert "error_pattern" not in record(30, f"order {number} slow", order_id=number)
        try:
            raise ValueError(f"no stock of {number}")
        except ValueError as error:
            failed = (type(error), error, error.__traceback__)
            assert record(40, "oh", exc_info=failed)["error_pattern"] == "ValueError: no stock of <num>"


def test_a_secret_is_not_in_it() -> None:
    builder = EventBuilder(Schema("shop"), Redactor())
    for _ in range(20):
        made = logging.makeLogRecord({"levelno": 40, "msg": "login failed password=hunter2secret"})
        assert b"hunter2" not in builder.build(made)
