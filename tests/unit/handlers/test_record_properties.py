"""Whatever an application logs: one valid, bounded, schema-true line, and never an exception."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import logging
import pathlib
import uuid
from typing import Any

import orjson
import pytest
from effort import effort
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from logferry.handlers.encoding import MAX_EVENT, encode, normalise
from logferry.handlers.record import EventBuilder
from logferry.handlers.schema import MISFIT, Schema, cast

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

SIX = ["timestamp", "level", "service", "trace_id", "span_id", "message"]
STANDARD = set(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Order:
    number: Any
    lines: Any = None


class Evil:
    """Raises wherever it can, while armed (so that a failing test can still be printed)."""

    armed = False

    def __repr__(self) -> str:
        if not Evil.armed:
            return "Evil()"
        raise BaseException("repr")  # the worst that a __repr__ can do

    __str__ = __repr__
    __hash__ = None  # type: ignore[assignment]  # unhashable, as many objects are

    def __eq__(self, other: object) -> bool:
        raise ValueError("eq")

    def __getattribute__(self, name: str) -> Any:
        if not Evil.armed:
            return object.__getattribute__(self, name)
        raise ValueError(name)

    def __len__(self) -> int:
        raise ValueError("len")

    def __iter__(self) -> Any:
        raise ValueError("iter")

    def __bool__(self) -> bool:
        raise ValueError("bool")


def armed(test: Any) -> Any:
    """Let `Evil` be evil during one example."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        Evil.armed = True
        try:
            test(*args, **kwargs)
        finally:
            Evil.armed = False

    return run


def _cyclic() -> list[Any]:
    inner: list[Any] = [1]
    inner.append({"again": inner})
    return inner


def _deep(make: Any) -> Any:
    value: Any = ()
    for _ in range(5_000):
        value = make(value)
    return value


TEXT = (
    st.text(st.characters(codec=None, exclude_categories=()))
    | st.sampled_from(["\udc80", "\0"])
    | st.builds(lambda: "x" * 300_000)
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**64, -(2**63) - 1, 2**63])
    | st.builds(lambda: 10**6_000)
    | st.floats()
    | TEXT
    | st.binary()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.uuids()
    | st.complex_numbers()
    | st.sampled_from([Colour.RED, Colour, pathlib.PurePosixPath("/a\udc80"), object, len, Evil, dt.UTC])
    | st.builds(Evil)
    | st.builds(_cyclic)
    | st.builds(lambda: _deep(lambda value: (value,)))
    | st.builds(lambda: _deep(lambda value: [value]))
    | st.builds(lambda: _deep(lambda value: {"a": value}))
    | st.builds(lambda: (number for number in range(3)))
    | st.builds(ValueError, TEXT)
)
KEYS = st.one_of(
    TEXT,
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(),
    st.binary(),
    st.tuples(st.integers()),
    st.uuids(),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.frozensets(st.integers() | st.text() | st.binary(), max_size=4)
        | st.builds(Order, inner, inner)
    ),
    max_leaves=8,
)
SOME_NAMES = [
    *(
        "level",
        "message_",
        "trace_id",
        "span_id",
        "service",
        "user_id",
        "request_id",
        "endpoint",
        "kind",
        "error",
    ),
    *(
        "status_code",
        "duration_ms",
        "failed",
        "extra",
        "truncated",
        "order_id",
        "amount",
        "paid",
        "due",
        "tags",
    ),
    *(
        "error_code",
        "method",
        "bytes",
        "line",
        "x" * 2_000,
        "\ud800",
        "event_id",
        "host",
        "duration_le",
        "logger",
    ),
]
NAMES = st.sampled_from(SOME_NAMES) | st.text(max_size=8).filter(lambda name: name not in STANDARD)
EXTRAS = st.dictionaries(NAMES, ANYTHING, max_size=8)

DECLARED: Any = {
    "order_id": "integer",
    "amount": "number",
    "paid": "boolean",
    "due": "timestamp",
    "tags": "object",
}
JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (float,),
    "boolean": (bool,),
    "object": (dict,),
    "timestamp": (str,),
}


def check(line: bytes, schema: Schema) -> dict[str, Any]:
    """Assert what every line promises, and return the event."""
    assert len(line) <= MAX_EVENT
    assert b"\n" not in line
    assert type(line) is bytes
    event: dict[str, Any] = orjson.loads(line)
    assert list(event)[:6] == SIX
    assert event["level"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
    for name, value in event.items():
        field = schema.field(name)
        if field is not None and value is not None:
            assert type(value) in JSON_TYPES[field.type], (name, value)
    return event


def a_record(
    extras: dict[Any, Any], msg: object = "hello", args: object = (), level: int = 20
) -> logging.LogRecord:
    record = logging.LogRecord("shop", level, "/app/shop.py", 7, msg, (), None, "handle")
    record.args = args  # type: ignore[assignment]  # anything, as broken callers pass it
    record.__dict__.update(extras)
    return record


SETTINGS = settings(
    max_examples=effort(50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@SETTINGS
@given(extras=EXTRAS, bound=EXTRAS, msg=ANYTHING, args=ANYTHING, level=st.integers())
@armed
def test_any_record_becomes_one_schema_true_line(
    extras: dict[str, Any], bound: dict[str, Any], msg: Any, args: Any, level: int
) -> None:
    """Any message, arguments, level, extras and context give one valid line; the record is left as it was."""
    schema = Schema("shop", fields=DECLARED, host="h")
    builder = EventBuilder(schema, context=lambda: bound)
    record = a_record(extras, msg, args, level)
    before = dict(record.__dict__)
    check(builder.build(record), schema)
    assert list(record.__dict__) == list(before)
    assert all(record.__dict__[name] is before[name] for name in before)
    for _ in range(10):  # until its shape has code of its own
        line = builder.build(record)
        check(line, schema)
        assert b'"record_error"' not in line


@SETTINGS
@given(extras=EXTRAS, bound=EXTRAS, message=TEXT, moment=st.floats() | st.floats(0, 2e9))
@armed
def test_compose_and_build_give_equal_bytes(
    extras: dict[str, Any], bound: dict[str, Any], message: str, moment: float
) -> None:
    """For the same content, with or without a LogRecord, the line is the same."""
    schema = Schema("shop", fields=DECLARED, host="h")
    builder = EventBuilder(schema, context=lambda: bound)
    record = a_record(extras, message)
    record.created = moment if 0 <= moment < 2e11 else 0.0
    source = {"module": record.module, "function": record.funcName, "line": record.lineno}
    source |= {"process": record.process, "thread": record.threadName}
    composed = builder.compose(
        level="info", message=message, logger="shop", timestamp=record.created, fields=extras, source=source
    )
    generators = "<generator" in repr(sorted(map(str, map(type, extras.values()))))
    assert composed == builder.build(record) or generators


@SETTINGS
@given(value=ANYTHING)
@armed
def test_anything_is_encoded(value: Any) -> None:
    """`normalise` gives plain types only, unchanged by a second pass, and `encode` a bounded object."""
    plain = normalise(value)
    assert orjson.loads(orjson.dumps(plain)) == plain
    assert normalise(plain) == plain
    line = encode({"value": value})
    assert len(line) <= MAX_EVENT
    assert isinstance(orjson.loads(line), dict)


@given(fields=st.dictionaries(st.sampled_from(sorted(STANDARD | {"a"})), ANYTHING, max_size=30))
@settings(max_examples=effort(50), deadline=None, suppress_health_check=list(HealthCheck))
@armed
def test_records_that_were_taken_apart_still_arrive(fields: dict[str, Any]) -> None:
    """Standard attributes of any type, or missing, still give a valid line."""
    schema = Schema("shop", host="h")
    builder = EventBuilder(schema, context=dict)
    record = a_record({})
    record.__dict__.update(fields)
    check(builder.build(record), schema)
    record.__dict__.clear()
    record.__dict__.update(fields)
    check(builder.build(record), schema)


@given(value=ANYTHING, kind=st.sampled_from(sorted(JSON_TYPES)))
@settings(max_examples=effort(200), deadline=None, suppress_health_check=list(HealthCheck))
@armed
def test_casting_twice_changes_nothing(value: Any, kind: Any) -> None:
    """A value that was cast has its type, so that casting again leaves it alone."""
    once = cast(normalise(value), kind)
    if once is not MISFIT:
        assert once is None or type(once) in JSON_TYPES[kind]
        again = cast(once, kind)
        assert again == once


def test_a_deep_tuple_is_cut_before_the_encoder_sees_it() -> None:
    """Nesting beyond the bound ends in a mark, and the event says that it was cut."""
    event = orjson.loads(
        EventBuilder(Schema("s"), context=dict).build(a_record({"x": _deep(lambda v: (v,))}))
    )
    assert event["truncated"] is True
    assert "too deep" in str(event["x"])


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_an_event_is_bounded(size: int) -> None:
    """Large messages, many large extras and wide containers end within 256 KiB, message first to be kept."""
    schema = Schema("s")
    builder = EventBuilder(schema, context=dict)
    wide = {f"n{n}": {f"k{k}": "v" * 50 for k in range(900)} for n in range(60)}
    for extras in ({}, {"a": "y" * size, "b": ["z" * size] * 20}, wide):
        event = check(builder.build(a_record(extras, "é" * size)), schema)
        assert event["truncated"] is True
        assert event["message"].startswith("é")
    assert schema.truncations == 3


@armed
def test_values_have_visible_words() -> None:
    """What JSON cannot say is said in text."""
    words = {
        "nan": (float("nan"), "NaN"),
        "inf": (float("-inf"), "-Infinity"),
        "raw": (b"\xff\x00", "base64:/wA="),
        "text": (b"plain", "plain"),
        "set": ({3, 1, 2}, [1, 2, 3]),
        "huge": (2**70, str(2**70)),
        "surrogate": ("a\udc80", "a\\udc80"),
        "decimal": (decimal.Decimal("1.10"), "1.10"),
        "uuid": (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        "enum": (Colour.RED, "red"),
        "day": (dt.date(2026, 1, 2), "2026-01-02"),
        "order": (Order(7, (1, 2)), {"number": 7, "lines": [1, 2]}),
        "keys": (
            {1: "a", None: "b", "1": "c", (1, 2): "d"},
            {"1": "a", "null": "b", "1'": "c", "(1, 2)": "d"},
        ),
        "cycle": (_cyclic(), [1, {"again": "<cycle>"}]),
        "evil": (Evil(), "<unprintable Evil>"),
        "path": (pathlib.PurePosixPath("/a"), "/a"),
    }
    line = EventBuilder(Schema("s"), context=dict).build(
        a_record({name: pair[0] for name, pair in words.items()})
    )
    event = orjson.loads(line)
    assert {name: event[name] for name in words} == {name: pair[1] for name, pair in words.items()}


def test_generators_are_not_consumed() -> None:
    """Logging an iterator takes nothing out of it."""
    numbers = (number for number in range(3))
    line = EventBuilder(Schema("s"), context=dict).build(a_record({"numbers": numbers}))
    assert orjson.loads(line)["numbers"].startswith("<generator ")
    assert list(numbers) == [0, 1, 2]


def test_nested_data_is_not_changed() -> None:
    """The caller's containers are left as they were."""
    data = {"a": [1, {2, 3}], "b": (float("nan"),)}
    kept = copy.deepcopy(data)
    EventBuilder(Schema("s"), context=dict).build(a_record({"data": data}))
    assert repr(data) == repr(kept)


@example(text="\ud800")
@given(text=TEXT)
@armed
def test_messages_survive(text: str) -> None:
    """A message of up to the bound arrives word for word, but for lone surrogates, which are shown."""
    event = orjson.loads(EventBuilder(Schema("s"), context=dict).build(a_record({}, text)))
    if len(text.encode("utf-8", "surrogatepass")) < 10_000:
        assert event["message"] == text.encode("utf-8", "backslashreplace").decode()
