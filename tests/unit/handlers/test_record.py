"""From a logging call to an event line, case by case."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import traceback
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.handlers import failure
from logferry.handlers.failure import MAX_STACK, describe, describe_text
from logferry.handlers.outlet import Violation
from logferry.handlers.record import EventBuilder, level_name
from logferry.handlers.schema import FIELDS, MISFIT, Schema, cast, duration_bucket

ACCESS = {
    "kind": "access",
    "method": "GET",
    "path": "/orders/42",
    "status_code": 200,
    "duration_ms": 12.5,
    "failed": False,
    "client_ip": "192.0.2.1",
    "user_agent": "curl/8",
    "bytes": 512,
    "order_id": 42,
}
BOUND = {"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "2", "request_id": "r1", "tenant": "acme"}


def a_record(
    msg: Any = "hello", *args: Any, level: int = 20, extra: Any = None, **more: Any
) -> logging.LogRecord:
    record = logging.getLogger("shop").makeRecord(
        "shop", level, "/app/shop.py", 7, msg, args, more.get("exc_info"), "handle", extra, more.get("sinfo")
    )
    record.created = 1795252730.000123
    return record


def a_builder(schema: Schema | None = None, redactor: Any = None, **bound: Any) -> EventBuilder:
    return EventBuilder(schema or Schema("shop", "prod", host="h1"), redactor, context=lambda: bound)


def event_of(builder: EventBuilder, record: logging.LogRecord, times: int = 12) -> dict[str, Any]:
    """Build until the shape has its own code, and let all lines be equal."""
    lines = {builder.build(record) for _ in range(times)}
    assert len(lines) == 1
    event: dict[str, Any] = orjson.loads(lines.pop())
    return event


def test_an_ordinary_event_word_for_word() -> None:
    """The event has the documented fields, in the documented order."""
    record = a_record("order %s", 42, extra={"order": 42})
    record.process, record.threadName = 11, "main"
    assert json.dumps(event_of(a_builder(**BOUND), record)) == (
        '{"timestamp": "2026-11-21T09:18:50.000123Z", "level": "INFO", "service": "shop", '
        '"trace_id": "00000000000000000000000000000001", "span_id": "0000000000000002", '
        '"message": "order 42", "request_id": "r1", "logger": "shop", "module": "shop", '
        '"function": "handle", "line": 7, "environment": "prod", "host": "h1", "process": 11, '
        '"thread": "main", "tenant": "acme", "order": 42}'
    )


def test_access_events_have_their_bucket() -> None:
    """`duration_le` follows from the duration, for access events only."""
    assert event_of(a_builder(), a_record(extra=ACCESS))["duration_le"] == "20"
    assert event_of(a_builder(), a_record(extra={**ACCESS, "duration_ms": 12}))["duration_le"] == "20"
    assert "duration_le" not in event_of(a_builder(), a_record(extra={**ACCESS, "kind": "job"}))


@pytest.mark.parametrize(
    ("ms", "bucket"),
    [(0, "1"), (1, "1"), (1.1, "2"), (50_000, "50000"), (50_001, "+Inf"), (float("inf"), "+Inf")],
)
def test_buckets(ms: float, bucket: str) -> None:
    """A bucket holds what is at most its bound."""
    assert duration_bucket(ms) == bucket


def test_extras_never_override() -> None:
    """A collision keeps the schema's value, keeps the extra under its name, and is counted."""
    schema = Schema("shop", host="h1")
    record = a_record(extra={"level": "LOUD", "service": {"a": 1}, "trace_id": "mine", "plain": 1})
    event = event_of(a_builder(schema, trace_id="t"), record, times=1)
    assert (event["level"], event["service"], event["trace_id"]) == ("INFO", "shop", "t")
    assert event["extra"] == {"level": "LOUD", "service": {"a": 1}, "trace_id": "mine"}
    assert event["plain"] == 1
    assert schema.collisions == 3


def test_ids_come_from_the_context_first() -> None:
    """An extra sets `user_id` when nothing is bound; when something is, the extra is kept aside."""
    record = a_record(extra={"user_id": 7})
    assert event_of(a_builder(), record)["user_id"] == "7"
    bound = event_of(a_builder(user_id="u1"), record)
    assert (bound["user_id"], bound["extra"]) == ("u1", {"user_id": 7})


def test_extras_are_nearer_than_the_context() -> None:
    """Of two values under one free name the record's own stays."""
    assert event_of(a_builder(tenant="bound"), a_record(extra={"tenant": "given"}))["tenant"] == "given"


def test_levels_are_the_standard_five() -> None:
    """Whatever the level is called, its number decides, downwards."""
    logging.addLevelName(25, "shout")
    names = [level_name(number) for number in (-5, 0, 9, 10, 20, 25, 30, 39, 45, 50, 99)]
    assert names == [*["DEBUG"] * 4, *["INFO"] * 2, *["WARNING"] * 2, "ERROR", *["CRITICAL"] * 2]
    assert [level_name(name) for name in ("warn", "Fatal", "success", "exception", "?")] == [
        *("WARNING", "CRITICAL", "INFO", "ERROR", "INFO")
    ]
    assert event_of(a_builder(), a_record(level=25))["level"] == "INFO"


@pytest.mark.parametrize(
    ("msg", "args", "said"),
    [
        ("%d items", ("x",), "x items"),
        ("no place", (1,), "no place"),
        ("%(a)s", ({"b": 1},), "%(a)s"),
        ("%", (1,), "%"),
    ],
)
def test_format_errors_are_shown(msg: str, args: tuple[Any, ...], said: str) -> None:
    """Arguments that do not fit leave a message with all its parts, each in its place where it has one."""
    message = event_of(a_builder(), a_record(msg, *args))["message"]
    assert said in message
    assert "logging format error" in message


def _fail(depth: int) -> None:
    if depth:
        _fail(depth - 1)
    {}["missing"]


def _cause() -> None:
    try:
        _fail(1)
    except KeyError as error:
        raise ValueError("because") from error


def _context() -> None:
    try:
        _cause()
    except ValueError:
        _fail(0)


def _hidden() -> None:
    try:
        _fail(0)
    except KeyError:
        raise RuntimeError from None


def _noted() -> None:
    error = ValueError("with notes\nand lines")
    error.add_note("look here")
    raise error


def _group() -> None:
    raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])])


def _syntax() -> None:
    compile("a b", "<text>", "exec")


def _recursive() -> None:
    _fail(40)


@pytest.mark.parametrize("broken", [_fail, _cause, _context, _hidden, _noted, _group, _syntax, _recursive])
def test_stacks_are_the_standard_librarys(broken: Any) -> None:
    """The quick way of formatting a traceback says what `traceback` says, on the second time too."""
    for _ in range(2):
        with pytest.raises((LookupError, ValueError, RuntimeError, SyntaxError, ExceptionGroup)) as caught:
            broken(*([2] if broken is _fail else []))
        for held in (caught.value, (caught.type, caught.value, caught.tb)):
            described = describe(held)
            assert described is not None
            assert described["stack"] == "".join(traceback.format_exception(caught.value)).rstrip("\n")


class _CodedError(Exception):
    """An exception whose type has a code."""

    code = "E1"


class _AskedError(Exception):
    """An exception that answers whatever it is asked for."""

    def __getattr__(self, name: str) -> str:
        return f"{name} of it"


class _MuteError(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError


class _Own(str):
    """A text of another type."""

    __slots__ = ()


class _OddError(Exception):
    """An exception whose text is of another type."""

    def __str__(self) -> str:
        return _Own("odd")


def _with(error: BaseException, **attributes: object) -> BaseException:
    error.__dict__.update(attributes)
    return error


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError(7), ValueError(), ValueError("é"), ValueError("\udc80"), ValueError("two\nlines\n")),
        *(ValueError("x" * 70_000), ValueError("x\n" * 8_000), OSError(2, "no"), KeyError("k")),
        *(
            _CodedError("a"),
            _AskedError("b"),
            _MuteError("c"),
            _OddError("d"),
            SyntaxError("e"),
            ExceptionGroup("f", [KeyError()]),
        ),
        *(_with(ValueError("g"), code=5), _with(ValueError("h"), errno="i"), _with(KeyError("j"), other=1)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_usual_way_of_an_exception_says_what_the_other_does(error: BaseException) -> None:
    """The second one of a type is described in one stretch, where there is nothing else to say of it."""
    try:
        raise error
    except Exception:
        held = sys.exc_info()
    failure._kinds.clear()
    first, second = describe(held), describe(held)
    assert first is not None
    assert second is not None
    assert list(first.items()) == list(second.items())
    usual = failure._kinds and failure._usual(error, held[2], first["type"])  # type: ignore[arg-type]
    assert (usual == first) is (str(first["message"]) in {"", "7", "'k'"})


def test_causes_have_their_relation() -> None:
    """What is behind an exception is listed with how it is related."""
    with pytest.raises(KeyError) as caught:
        _context()
    described = describe(caught.value)
    assert described is not None
    assert [(cause["type"], cause["relation"]) for cause in described["causes"]] == [
        *(("ValueError", "context"), ("KeyError", "cause"))
    ]
    with pytest.raises(ExceptionGroup) as group:
        _group()
    described = describe(group.value)
    assert described is not None
    assert {cause["message"] for cause in described["causes"]} >= {"one", "'two'"}


def test_chains_and_stacks_are_bounded() -> None:
    """Thousands of chained exceptions, rings of them and endless messages end."""
    error: BaseException = ValueError(0)
    for number in range(3_000):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    described = describe(error)
    assert described is not None
    assert len(described["causes"]) == 20
    ring = ValueError("a")
    ring.__cause__ = KeyError("b")
    ring.__cause__.__cause__ = ring
    assert describe(ring) is not None
    long = describe(ValueError("x y\n" * 100_000))
    assert long is not None
    assert len(long["stack"]) < MAX_STACK + 100


def test_error_codes() -> None:
    """`error.code` comes from the exception, or from `error_code`, with and without an exception."""
    missing = event_of(a_builder(), a_record(exc_info=(OSError, OSError(2, "no"), None)))
    assert (missing["error"]["type"], missing["error"]["code"]) == ("FileNotFoundError", "2")
    assert event_of(a_builder(), a_record(extra={"error_code": "E42"}))["error"] == {"code": "E42"}
    both = a_record(exc_info=(OSError, OSError(2, "no"), None), extra={"error_code": 7})
    assert event_of(a_builder(), both)["error"]["code"] == "7"


def test_tracebacks_that_are_text_already() -> None:
    """A record whose exception was formatted in another process keeps type, message and stack."""
    text = "Traceback (most recent call last):\n  File ...\nshop.errors.Late: too: late"
    assert describe_text(text) == {"type": "shop.errors.Late", "message": "too: late", "stack": text}
    record = a_record()
    record.exc_text = text
    assert event_of(a_builder(), record)["error"]["type"] == "shop.errors.Late"


def test_stack_info_is_kept() -> None:
    """`stack_info=True` arrives under its own name."""
    assert event_of(a_builder(), a_record(sinfo="Stack (most recent call last):"))["stack_info"].startswith(
        "Stack"
    )


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        *(("42", "integer", 42), (42.0, "integer", 42), ("4x", "integer", MISFIT), (42.5, "integer", MISFIT)),
        *((True, "integer", MISFIT), (2**63, "integer", MISFIT), ("\uff11", "integer", MISFIT)),
        *(
            (42, "number", 42.0),
            ("1.5", "number", 1.5),
            (2**53 + 1, "number", MISFIT),
            ("nan", "number", MISFIT),
        ),
        *(("true", "boolean", True), ("False", "boolean", False), (1, "boolean", MISFIT)),
        *((7, "string", "7"), ([], "string", MISFIT), ({}, "object", {}), ("{}", "object", MISFIT)),
        ("2026-11-21T10:00:00+01:00", "timestamp", "2026-11-21T09:00:00.000000Z"),
        *(("2026-11-21T10:00:00", "timestamp", MISFIT), (None, "integer", None)),
    ],
)
def test_casts_lose_nothing(value: Any, kind: Any, wanted: Any) -> None:
    """A value takes a type only when nothing of it is lost."""
    made = cast(value, kind)
    assert made is wanted if wanted is MISFIT else (made == wanted and type(made) is type(wanted))


def test_repair_keeps_what_does_not_fit() -> None:
    """Under `repair` a value that cannot be cast moves into `extra` and is counted."""
    schema = Schema("shop", fields={"order_id": "integer"}, host="h1")
    event = event_of(a_builder(schema), a_record(extra={"order_id": "A-1", "status_code": "200"}), times=1)
    assert ("order_id" in event, event["extra"], event["status_code"]) == (False, {"order_id": "A-1"}, 200)
    assert schema.violations == 1


def test_dead_letter_marks_the_event() -> None:
    """Under `dead_letter` the whole event is a violation, with the value left and a reason without it."""
    schema = Schema("shop", fields={"order_id": "integer"}, on_violation="dead_letter", host="h1")
    line = a_builder(schema).build(a_record(extra={"order_id": "secret"}))
    assert isinstance(line, Violation)
    assert orjson.loads(bytes(line))["order_id"] == "secret"
    assert "order_id" in line.reason
    assert "secret" not in line.reason
    assert not isinstance(a_builder(schema).build(a_record(extra={"order_id": 1})), Violation)


def test_wrong_declarations_are_refused() -> None:
    """A schema says at once what is wrong with it."""
    for fields in ({"level": "string"}, {"x": "text"}):
        with pytest.raises(ValueError, match=r"schema\.fields\."):
            Schema("shop", fields=fields)  # type: ignore[arg-type]  # wrong on purpose


def test_fields_are_listed_once_and_first_six_first() -> None:
    """The built-in fields have distinct names; exactly the first six are required."""
    names = [field.name for field in FIELDS]
    assert len(set(names)) == len(names)
    assert [field.required for field in FIELDS] == [True] * 6 + [False] * (len(FIELDS) - 6)


def test_a_source_knows_better() -> None:
    """What a source says of an event's origin stands in the place of this process's own."""
    builder = a_builder(trace_id="mine")
    source = {"service": "edge", "host": "h9", "trace_id": "theirs", "correlation_id": "c1", "process": 5}
    lines = {builder.compose(level="warn", message="m", timestamp=1.0, source=source) for _ in range(12)}
    (line,) = lines
    assert line == (
        b'{"timestamp":"1970-01-01T00:00:01.000000Z","level":"WARNING","service":"edge","trace_id":"theirs",'
        b'"span_id":"","message":"m","correlation_id":"c1","logger":"","environment":"prod","host":"h9","process":5}'
    )


def test_redaction_sees_plain_types_and_the_free_names() -> None:
    """The redactor gets the whole event and the names that are not built in; its copy is what is encoded."""
    seen: list[tuple[dict[str, Any], tuple[str, ...]]] = []

    class Redactor:
        def clean(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
            seen.append((event, extras))
            return {**event, "message": "clean"}

    builder = a_builder(redactor=Redactor(), tenant="t", user_id="u")
    for _ in range(12):
        line = builder.build(a_record(extra={"b": {1}, "a": "\ud800", "status_code": 200}))
        assert orjson.loads(line)["message"] == "clean"
    event, extras = seen[-1]
    assert extras == ("tenant", "b", "a")
    assert event["b"] == [1]


def test_a_failing_redactor_shows_nothing() -> None:
    """When redaction fails against its contract, the message is withheld, not shipped."""

    class Broken:
        def clean(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
            raise RuntimeError("no")

    line = a_builder(redactor=Broken()).build(a_record("password=hunter2", extra={"token": "hunter2"}))
    assert b"hunter2" not in line
    assert b"redaction failed" in line


def test_formatters_of_other_handlers_leave_no_extras() -> None:
    """`message` and `asctime`, which a formatter leaves in the record, are no extras."""
    record = a_record(extra={"a": 1})
    before = event_of(a_builder(), record)
    logging.Formatter("%(asctime)s %(message)s").format(record)
    assert event_of(a_builder(), record) == before


def test_the_running_task_is_named() -> None:
    """Inside an asyncio task the event carries its name."""

    async def log() -> dict[str, Any]:
        return event_of(a_builder(), a_record())

    async def main() -> dict[str, Any]:
        return await asyncio.create_task(log(), name="worker-7")

    assert asyncio.run(main())["task"] == "worker-7"


VALUES = st.one_of(
    st.text(max_size=5),
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(),
    st.just([1]),
    st.just({"a": (1,)}),
)
NAMES = st.sampled_from([*ACCESS, "user_id", "tenant", "amount", "trace_id", "level", "error_code", "x"])


@settings(max_examples=300, deadline=None)
@given(extra=st.dictionaries(NAMES, VALUES), bound=st.dictionaries(NAMES, VALUES))
def test_the_fast_way_equals_the_general_way(extra: dict[str, Any], bound: dict[str, Any]) -> None:
    """A shape's own code, learnt from plain values, gives for any values what the general way gives."""
    plain: dict[str, Any] = {
        name: ACCESS.get(name, 1.5 if name == "amount" else "text") for name in (*extra, *bound)
    }
    context = {name: plain[name] for name in bound}
    schema = Schema("shop", version="1", fields={"order_id": "integer", "amount": "number"}, host="h1")
    builder = EventBuilder(schema, context=lambda: context)
    for _ in range(12):
        builder.build(a_record(extra={name: plain[name] for name in extra}))
    learnt = a_record(extra=extra)
    context = bound
    fresh = EventBuilder(schema, context=lambda: bound)
    assert builder.build(learnt) == fresh.build(learnt)


@pytest.mark.parametrize("name", ["x", "amount", "order_id", "status_code", "failed", "method"])
@pytest.mark.parametrize(
    "value", [float("nan"), float("-inf"), 2**63, 2**70, "\ud800", [1], b"x", True, 1, None]
)
def test_odd_values_in_a_known_shape(name: str, value: Any) -> None:
    """After a hundred plain records the first odd value is still treated as any builder would treat it."""
    schema = Schema("shop", fields={"order_id": "integer", "amount": "number"}, host="h1")
    builder = a_builder(schema)
    plain = {"x": "text", "amount": 1.5, **ACCESS}
    for _ in range(100):
        builder.build(a_record(extra={name: plain[name]}))
    line = builder.build(a_record(extra={name: value}))
    assert line == a_builder(schema).build(a_record(extra={name: value}))
    assert not (isinstance(value, float) and b"null" in line)


def test_many_shapes_are_bounded() -> None:
    """Names that are new with every record cost no memory in the long run."""
    builder = a_builder()
    for number in range(3_000):
        builder.build(a_record(extra={f"name{number}": 1}))
    assert len(builder._plans) <= 1_024


def test_importing_handlers_is_quick() -> None:
    """`import logferry.handlers` loads none of its modules, and its names come when they are used."""
    code = (
        "import sys, logferry.handlers as h; before = set(sys.modules); assert 'orjson' not in before;"
        "assert all(getattr(h, name) is not None for name in ('EventBuilder', 'Schema', 'bind', 'Outlet'));"
        "assert set(h.__all__) <= set(dir(h)); assert not hasattr(h, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
