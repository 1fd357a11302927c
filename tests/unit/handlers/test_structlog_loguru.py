"""structlog and loguru write the same events as the standard library."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logferry.handlers import context
from logferry.handlers.formatter import make_builder
from logferry.handlers.forward import DEPTH, ForwardHandler, suppressed
from logferry.handlers.testing import Events, MemoryOutlet

structlog = pytest.importorskip("structlog")
from logferry.handlers.integrations.structlog import configure_structlog  # noqa: E402

BUILDER = make_builder("s", "test")


@pytest.fixture
def outlet(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryOutlet]:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.25)
    if hasattr(__import__("time"), "time_ns"):
        monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_250_000_000)
    log = logging.getLogger("test.structlog")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    outlet = MemoryOutlet()
    handler = ForwardHandler(outlet, BUILDER)
    log.addHandler(handler)
    yield outlet
    log.removeHandler(handler)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def three_ways(outlet: MemoryOutlet, level: str, message: str, **fields: Any) -> list[bytes]:
    """Log the same from one line, by the standard library, structlog through it, and structlog natively."""
    exc_info = fields.pop("exc_info", None)
    loggers: list[Any] = [logging.getLogger("test.structlog")]
    for native in (False, True):
        configure_structlog(outlet, BUILDER, native=native)
        loggers.append(structlog.get_logger("test.structlog").bind())
    outlet.lines.clear()
    for i, log in enumerate(loggers):
        kwargs: dict[str, Any] = {"extra": fields} if i == 0 else fields
        getattr(log, level)(message, **kwargs, **({"exc_info": exc_info} if exc_info else {}))
    return list(outlet.lines)


def test_the_same_content_is_the_same_bytes(outlet: MemoryOutlet) -> None:
    """Plain, with extras, with a trace, with an exception, in a task: byte for byte."""
    with context.isolated(tenant="t"):
        context.set_trace_context()
        assert len(set(three_ways(outlet, "info", "hi"))) == 1
        assert (
            len(set(three_ways(outlet, "warning", "100% ü", order_id=1, nested={"password": "x"}, n=None)))
            == 1
        )
    try:
        raise ValueError("broken")
    except ValueError as error:
        lines = three_ways(outlet, "error", "oops", exc_info=error, code=7)
        assert len(lines) == 3
        assert len(set(lines)) == 1
        assert b"ValueError" in lines[0]

    async def in_a_task() -> list[bytes]:
        return three_ways(outlet, "debug", "hi", a=[1, 2])

    assert len(set(asyncio.run(in_a_task()))) == 1


names = st.from_regex(r"[a-z]{1,8}", fullmatch=True).map("f_{}".format)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(message=st.text(max_size=50), fields=st.dictionaries(names, values, max_size=4))
def test_any_content_is_the_same_bytes(outlet: MemoryOutlet, message: str, fields: dict[str, Any]) -> None:
    """Whatever the message and the fields."""
    lines = three_ways(outlet, "info", message, **fields)
    assert len(lines) == 3
    assert len(set(lines)) == 1


@pytest.mark.parametrize(
    "name", sorted({*logging.makeLogRecord({}).__dict__, "message", "asctime"} - {"exc_info", "stack_info"})
)
def test_names_that_records_have_are_fields_like_others(outlet: MemoryOutlet, name: str) -> None:
    """structlog takes `name=` and `filename=`, which the standard library refuses: both ways keep them."""
    lines = []
    for native in (False, True):
        configure_structlog(outlet, BUILDER, native=native)
        outlet.lines.clear()
        structlog.get_logger("test.structlog").info("m", a=1, **{name: "ada"}, b={"c": 2})
        lines += outlet.lines
    assert len(lines) == 2
    assert lines[0] == lines[1]
    event = Events(outlet)[0]
    assert (event["message"], event["logger"], event["a"]) == ("m", "test.structlog", 1)
    assert "ada" in {event.get(name), event.get("extra", {}).get(name)}


def test_a_native_logger_knows_stacklevel(outlet: MemoryOutlet) -> None:
    """The caller's caller, as in the standard library."""
    configure_structlog(outlet, BUILDER)

    def helper() -> None:
        structlog.get_logger("test.structlog").info("m", stacklevel=2)

    helper()
    event = Events(outlet)[0]
    assert event["function"] == "test_a_native_logger_knows_stacklevel"
    assert "stacklevel" not in event


def test_native_loggers_inside_log_calls_end_the_recursion(outlet: MemoryOutlet) -> None:
    """What logs itself while it is logged is written with its message alone deeper down."""
    configure_structlog(outlet, BUILDER)
    log = structlog.get_logger("test.structlog").bind()

    class Loud:
        def __repr__(self) -> str:
            log.info("loud", again=Loud())
            return "loud"

    log.info("outermost", again=Loud())
    events = list(Events(outlet))
    assert [event["message"] for event in events] == ["loud"] * (len(events) - 1) + ["outermost"]
    assert len(events) > DEPTH
    assert "again" not in events[0]


def test_native_loggers_behave(outlet: MemoryOutlet) -> None:
    """Binding, levels by logger, interpolation, processors, context variables, source, async methods."""

    def shout(_logger: object, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] == "drop":
            raise structlog.DropEvent
        event["event"] += "!"
        return event

    configure_structlog(ForwardHandler(outlet, BUILDER), processors=[shout])
    events = Events(outlet)
    log = structlog.get_logger("test.structlog").bind(a=1)
    structlog.contextvars.bind_contextvars(a=9, request="r")
    log.info("hello %s", "you", b=2)
    log.info("drop")
    logging.getLogger("test.structlog").setLevel(logging.ERROR)
    log.warning("not this")
    logging.getLogger("test.structlog").setLevel(logging.DEBUG)
    try:
        raise KeyError("k")
    except KeyError:
        log.unbind("a").exception("failed")
    asyncio.run(log.ainfo("later"))
    log.info("where", stack_info=True)
    with suppressed():
        log.info("hidden")
    assert events.messages == ["hello you!", "failed!", "later!", "where!"]
    assert (events[0]["a"], events[0]["b"], events[0]["request"]) == (1, 2, "r")
    assert events[0]["function"] == "test_native_loggers_behave"
    assert events[1]["error"]["type"] == "KeyError"
    assert events[3]["stack_info"].startswith("Stack (most recent call last)")
    assert structlog.get_logger().bind()._logger.name == __name__


def test_native_loggers_never_raise(outlet: MemoryOutlet) -> None:
    """A refusing outlet, bad arguments, texts that raise, endless recursion: counted, not raised."""
    configure_structlog(outlet, BUILDER)
    log = structlog.get_logger("test.structlog").bind()

    class Endless:
        def __repr__(self) -> str:
            log.info("again", it=self)
            raise RuntimeError

    log.info("%d %d", "x")  # noqa: PLE1206 - the mistake that is tested
    log.info(None)
    log.info("x", it=Endless())
    assert Events(outlet).messages[:2] == ["%d %d", ""]
    outlet.accept = False
    before = log._logger.failed
    log.info("x")
    assert log._logger.failed == before + 1
    with pytest.raises(ValueError, match="configure_structlog"):
        configure_structlog(outlet)


def test_names_that_a_record_cannot_carry(outlet: MemoryOutlet) -> None:
    """By way of the standard library too, a field called `name` does not raise and is kept."""
    configure_structlog(native=False)
    structlog.get_logger("test.structlog").info("x", name="Ann", b=1)
    event = Events(outlet).find(message="x")
    assert event["logger"] == "test.structlog"
    assert "Ann" in str(event)


def test_loguru() -> None:
    """The event has loguru's message, extras, source and exception; levels of its own are mapped."""
    loguru = pytest.importorskip("loguru")
    from logferry.handlers.integrations.loguru import LoguruSink

    outlet = MemoryOutlet()
    sink = LoguruSink(outlet, BUILDER)
    number = loguru.logger.add(sink, level=0)
    try:
        loguru.logger.bind(order_id=1, password="hunter2").success("hi {}", "you")
        loguru.logger.trace("deep")
        try:
            raise ValueError("broken")
        except ValueError:
            loguru.logger.exception("oops")
        with suppressed():
            loguru.logger.info("hidden")
        outlet.accept = False
        loguru.logger.info("refused")
    finally:
        loguru.logger.remove(number)
    events = Events(outlet)
    assert [(e["level"], e["message"]) for e in events] == [
        ("INFO", "hi you"),
        ("DEBUG", "deep"),
        ("ERROR", "oops"),
    ]
    assert events[0]["order_id"] == 1
    assert b"hunter2" not in outlet.lines[0]
    assert events[0]["function"] == "test_loguru"
    assert events[2]["error"]["type"] == "ValueError"
    assert sink.failed == 1
