"""Code made for names and types gives the line that the general way gives, or none; and it is taken."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import decimal
import enum
import itertools
import json
import logging
import math
import sys
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logferry.handlers import record as module
from logferry.handlers.clock import stamp
from logferry.handlers.context import Fields
from logferry.handlers.encoding import MAX_EVENT
from logferry.handlers.outlet import Violation
from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import BUCKETS, Schema, duration_bucket

DECLARED: Any = {
    "n": "integer",
    "x": "number",
    "b": "boolean",
    "s": "string",
    "o": "object",
    "t": "timestamp",
}
CONTEXT = Fields(trace_id="0" * 31 + "1", span_id="0" * 15 + "2", request_id="r1", tenant="acme", shard=3)


class Colour(enum.Enum):
    RED = "red"
    BOTH = ("red", 2)


class Level(enum.IntEnum):
    HIGH = 3


NAMES = st.sampled_from(
    [
        *(
            "n",
            "x",
            "b",
            "s",
            "o",
            "t",
            "free",
            "other",
            "kind",
            "duration_ms",
            "status_code",
            "failed",
            "path",
        ),
        *("user_id", "request_id", "endpoint", "error_code", "tenant", "user_agent", "method", "bytes"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64]),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["access", "token=abcdefgh1234", "\ud800", "1.5", "true", "12", "2026-01-02T03:04:05Z"]),
    st.sampled_from([Colour.RED, Colour.BOTH, Level.HIGH, decimal.Decimal(4111111111111111)]),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC])),
    st.dates(),
    st.uuids(),
    st.binary(max_size=6),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["password", "name"]) | st.integers(), inner, max_size=3
        )
    ),
    max_leaves=5,
)


def a_record(extras: dict[str, Any], message: Any = "hello", *args: Any, **more: Any) -> logging.LogRecord:
    record = logging.LogRecord("shop", 20, "/app/shop.py", 7, message, args, more.get("exc_info"), "handle")
    record.created = 1795252730.000123
    record.__dict__.update(extras)
    return record


def general(redactor: Redactor | None, context: Any, record: logging.LogRecord, schema: Schema) -> bytes:
    """Build with a builder that has never seen anything like it."""
    return EventBuilder(schema, redactor, context=lambda: context).build(record)


def a_schema() -> Schema:
    return Schema("shop", "prod", version="1", fields=DECLARED, host="h")


REDACTOR = Redactor(schema=a_schema())


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Say which records went another way than the one by names and types."""
    taken: list[str] = []
    for name in ("_build", "_compose"):
        real = getattr(EventBuilder, name)

        def counted(self: Any, *args: Any, _real: Any = real, _name: str = name) -> bytes:
            taken.append(_name)
            return bytes(_real(self, *args))

        monkeypatch.setattr(module.EventBuilder, name, counted)
    return taken


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=st.dictionaries(NAMES, VALUES, max_size=5),
    changed=st.dictionaries(NAMES, VALUES, max_size=2),
    bound=st.dictionaries(NAMES, SCALARS, max_size=2),
    message=st.text(max_size=8),
    redacted=st.booleans(),
    broken=st.booleans(),
)
def test_the_line_is_that_of_the_general_way(
    first: dict[str, Any],
    changed: dict[str, Any],
    bound: dict[str, Any],
    message: str,
    redacted: bool,
    broken: bool,
) -> None:
    """Warm or cold, whatever the values before were, a record gives the same bytes; counters agree too."""
    redactor = REDACTOR if redacted else None
    exc_info = (ValueError, ValueError("token=abcdefgh1234"), None) if broken else None
    context = Fields({**CONTEXT, **bound})
    builder = EventBuilder(a_schema(), redactor, context=lambda: context)
    for _ in range(12):
        builder.build(a_record(first, exc_info=exc_info))
    others = {name: value for name, value in changed.items() if name in first}  # the same names, other types
    for extras in (first, {**first, **others}, {**first, **changed}, first):
        for context in (Fields(context), Fields(context), Fields(CONTEXT)):  # noqa: B020 - the lambda's
            record = a_record(extras, message, exc_info=exc_info)
            schema = a_schema()
            expected = general(redactor, context, record, schema)
            before = (builder.schema.collisions, builder.schema.violations, builder.schema.truncations)
            for _ in range(3):  # the context's fragments are kept from the second time on
                assert builder.build(record) == expected
            after = (builder.schema.collisions, builder.schema.violations, builder.schema.truncations)
            counted = (schema.collisions, schema.violations, schema.truncations)
            assert after == tuple(a + 3 * b for a, b in zip(before, counted, strict=True))


@pytest.mark.parametrize(
    "extras",
    [
        {},
        {"order_id": 42, "method": "GET", "path": "/a", "status_code": 200, "duration_ms": 1.5},
        {"kind": "access", "duration_ms": 12},
        {"tags": ["a", 1, None, 1.5], "cart": {"id": "c1", "lines": [{"sku": "x", "n": 2}]}},
        {
            "at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
            "id": uuid.UUID(int=7),
            "price": decimal.Decimal("1.10"),
            "c": Colour.RED,
        },
        {"error_code": "E42", "free": (1, 2)},
        {"error_code": 42},
        {"n": 1, "x": 2, "b": True, "s": "text", "o": {"a": 1}, "t": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)},
        {"user_id": 7, "endpoint": "/a/{b}"},
    ],
)
@pytest.mark.parametrize("broken", [False, True])
def test_usual_records_take_it(extras: dict[str, Any], broken: bool, slow: list[str]) -> None:
    """What applications log usually has code of its own after a few records, and stays there."""
    exc_info = (ValueError, ValueError("no"), None) if broken else None
    builder = EventBuilder(a_schema(), REDACTOR, context=lambda: CONTEXT)
    for _ in range(12):
        builder.build(a_record(extras, exc_info=exc_info))
    slow.clear()
    line = builder.build(a_record(copy.deepcopy(extras), "hello %s", "you", exc_info=exc_info))
    assert not slow
    assert line == general(REDACTOR, CONTEXT, a_record(extras, "hello you", exc_info=exc_info), a_schema())


def test_secrets_do_not_pass() -> None:
    """In a message, an extra, a list, a key, an error: code made for harmless records lets none by."""
    harmless = {"note": "fine", "items": ["a", "b"], "pair": {"name": "x", "value": "y"}}
    builder = EventBuilder(a_schema(), REDACTOR, context=lambda: CONTEXT)
    for _ in range(12):
        builder.build(a_record(harmless))
        builder.build(a_record(harmless, exc_info=(ValueError, ValueError("no"), None)))
    for extras, message, error in (
        (harmless, "password=hunter2abc", None),
        ({**harmless, "note": "password=hunter2abc"}, "m", None),
        ({**harmless, "items": ["a", "password=hunter2abc"]}, "m", None),
        ({**harmless, "items": ["password", "hunter2abc"]}, "m", None),
        ({**harmless, "pair": {"password": "hunter2abc"}}, "m", None),
        ({**harmless, "pair": {"name": "password", "value": "hunter2abc"}}, "m", None),
        (harmless, "m", ValueError("password=hunter2abc")),
    ):
        exc_info = (ValueError, error, None) if error else None
        line = builder.build(a_record(extras, message, exc_info=exc_info))
        assert b"hunter2abc" not in line
        assert b"[REDACTED]" in line


@pytest.mark.parametrize("name", ["type", "message", "stack"])
def test_a_user_may_say_that_a_part_of_an_error_is_a_secret(name: str) -> None:
    """Its name is looked at, as any other's."""
    build = EventBuilder(Schema("s"), Redactor([name])).build
    for number in range(40):
        try:
            raise ValueError(number)
        except ValueError:
            event = json.loads(build(a_record({}, exc_info=sys.exc_info())))
        assert event["error"][name] == "[REDACTED]"


def test_a_redactor_below_the_one_that_proves_is_asked() -> None:
    """A subclass that cleans in its own way is not passed by on the word of its parent."""

    class Strict(Redactor):
        def clean(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
            return {**super().clean(event, extras), "message": "gone"}

    builder = EventBuilder(a_schema(), Strict(), context=lambda: CONTEXT)
    assert {json.loads(builder.build(a_record({"a": 1})))["message"] for _ in range(20)} == {"gone"}


def test_kept_fragments_are_those_of_the_context() -> None:
    """Contexts that alternate, also with equal names, never lend each other a value."""
    contexts = [
        Fields(CONTEXT),
        Fields(CONTEXT, tenant="other"),
        Fields(CONTEXT, tenant=None),
        Fields(),
        {"tenant": "d"},
    ]
    now: Any = contexts[0]
    builder = EventBuilder(a_schema(), None, context=lambda: now)
    for turns in (1, 2, 3, 1, 12, 1, 2):
        for now in contexts:
            for _ in range(turns):
                event = json.loads(builder.build(a_record({"a": 1})))
                assert (event.get("tenant"), event["trace_id"]) == (
                    now.get("tenant"),
                    now.get("trace_id", ""),
                )


@pytest.mark.parametrize("micro", [0, 1, 99, 9_999, 99_999, 100_000, 123_456, 999_999])
def test_every_moment_has_six_digits(micro: int) -> None:
    """A call writes most moments itself, the others the clock; in the last one's second and in others."""
    builder = EventBuilder(a_schema(), None, context=lambda: CONTEXT)
    for second in (1795252731, 1795252730, 1795252730, 1795252731):
        record = a_record({})
        record.created = second + micro / 1e6
        expected = f"2026-11-21T09:18:{second - 1795252680:02}.{micro:06d}Z"
        assert json.loads(builder.build(record))["timestamp"] == stamp(record.created) == expected


def test_every_duration_has_its_bucket() -> None:
    """Code that is made finds a duration's bucket as the general way does: on both sides of each bound."""
    builder = EventBuilder(a_schema(), None, context=lambda: CONTEXT)
    bounds = [float(bound) for bound in BUCKETS]
    near = [value for bound in bounds for value in (bound, math.nextafter(bound, 0), bound * 1.001)]
    for duration in [*bounds, 0.0, -1.0, 1e300, *near]:
        line = builder.build(a_record({"kind": "access", "duration_ms": duration}))
        assert json.loads(line)["duration_le"] == duration_bucket(duration)


def test_other_handlers_leave_their_marks() -> None:
    """`message` and `asctime`, which formatters put into records, are no extras, with or without them."""
    builder = EventBuilder(a_schema(), None, context=lambda: CONTEXT)
    marks: tuple[dict[str, Any], ...] = ({}, {"message": "m"}, {"message": "m", "asctime": "a"})
    kinds = [{**mark, **extras} for mark in marks for extras in ({}, {"a": 1}, {"a": 1, "b": 2}, {"b": 2})]
    for kind in kinds * 12:
        builder.build(a_record(kind))
    for first, second in itertools.product(kinds, repeat=2):
        for kind in (first, second):
            record = a_record(kind)
            assert builder.build(record) == general(None, CONTEXT, record, a_schema())


def test_one_place_may_log_at_any_level() -> None:
    """`log.log(level, ...)` from one line says each time the level that it was given."""
    builder = EventBuilder(a_schema(), None, context=lambda: CONTEXT)
    for _ in range(12):
        for number, name in ((10, "DEBUG"), (20, "INFO"), (25, "INFO"), (40, "ERROR")):
            record = a_record({"a": 1})
            record.levelno = number
            assert json.loads(builder.build(record))["level"] == name


def test_where_a_call_was_made_is_told() -> None:
    """A record with `stack_info` from a place that has code without it keeps its stack."""
    builder = EventBuilder(a_schema(), None, context=lambda: CONTEXT)
    for _ in range(12):
        record = a_record({"a": 1})
        builder.build(record)
    record.stack_info = "Stack (most recent call last):"
    assert json.loads(builder.build(record))["stack_info"] == record.stack_info


@pytest.mark.parametrize("redactor", [REDACTOR, None])
def test_large_values_are_cut_as_ever(redactor: Redactor | None) -> None:
    """A line beyond the bound, a container with too much in it, one that holds itself go the other way."""
    builder = EventBuilder(a_schema(), redactor, context=lambda: CONTEXT)
    for _ in range(12):
        builder.build(a_record({"a": ["x"], "note": "y"}))
    endless: list[Any] = []
    endless.append(endless)
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    shared: list[Any] = ["x"] * 50
    for _ in range(6):
        shared = [shared] * 50
    for extras in (
        {"a": ["x"], "note": "y " * 200_000},
        {"a": ["x"] * 5_000, "note": "y"},
        {"a": endless, "note": "y"},
        {"a": shared, "note": "y"},
        {"a": deep, "note": "y"},
    ):
        record = a_record(extras)
        line = builder.build(record)
        assert len(line) <= MAX_EVENT
        assert line == general(redactor, CONTEXT, record, a_schema())


def test_dead_letters_stay_dead_letters() -> None:
    """What breaks the schema under `dead_letter` is a violation each time, not repaired by faster code."""
    schema = Schema("shop", fields=DECLARED, on_violation="dead_letter", host="h")
    builder = EventBuilder(schema, None, context=lambda: CONTEXT)
    for extras in ({"n": "12"}, {"x": "1.5"}, {"s": 7}, {"b": "true"}):
        lines = [builder.build(a_record(extras)) for _ in range(12)]
        assert {type(line) for line in lines} == {Violation}
        assert len(set(lines)) == 1


def test_a_context_that_changes_is_read_again() -> None:
    """A provider's own dict may change: nothing of it is kept."""
    bound = dict(CONTEXT)
    builder = EventBuilder(a_schema(), None, context=lambda: bound)
    for number in range(30):
        bound["tenant"] = f"t{number}"
        assert json.loads(builder.build(a_record({"a": 1})))["tenant"] == f"t{number}"


def test_tasks_have_their_names() -> None:
    """Inside and outside of tasks, from one place, events say where they come from."""
    builder = EventBuilder(a_schema(), None, context=lambda: CONTEXT)

    def tasks() -> set[Any]:
        return {json.loads(builder.build(a_record({"a": 1}))).get("task") for _ in range(15)}

    async def inside() -> set[Any]:
        return tasks()

    async def named() -> set[Any]:
        return await asyncio.create_task(inside(), name="mine")

    assert (tasks(), asyncio.run(named()), tasks()) == ({None}, {"mine"}, {None})


@pytest.mark.parametrize("bounded", ["_MAX_LINES", "_MAX_PLACES", "_MAX_PLANS", "_MAX_TYPES"])
def test_what_is_made_is_bounded(bounded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, types and places without end do not grow a builder without end."""
    monkeypatch.setattr(module, bounded, 4)
    builder = EventBuilder(a_schema(), None, context=lambda: CONTEXT)
    for number in range(12):
        for value in (1, "x", None, 1.5, True, [1]):
            for _ in range(10):
                record = a_record({f"n{number}": value})
                record.lineno = number
                builder.build(record)
    plans = builder._plans.values()
    sizes = {
        "_MAX_LINES": sum(
            not isinstance(line, int) for plan in plans for line in (plan.lines or {}).values()
        ),
        "_MAX_PLACES": len(builder._places),
        "_MAX_PLANS": len(plans),
        "_MAX_TYPES": max(len(plan.lines or ()) for plan in plans),
    }
    assert sizes[bounded] <= 4
    assert (
        all(size > 4 for name, size in sizes.items() if name not in {bounded, "_MAX_TYPES"})
        or len(plans) <= 4
    )
