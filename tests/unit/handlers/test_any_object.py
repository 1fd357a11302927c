"""Any Python object through any door: a line each time, valid, bounded, schema-true; and nothing raised.

Objects are made from descriptions, so that Hypothesis can print what failed: a base class and, for each
special method, how it misbehaves. What the standard library itself asks before a handler is called (the truth
of a single dict argument and of `exc_info`) raises without us as well, and is left out.
"""

from __future__ import annotations

import array
import contextlib
import dataclasses
import datetime as dt
import decimal
import functools
import json
import logging
import sys
import threading
import types
import uuid
import warnings
import weakref
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any
from unittest.mock import MagicMock

import attrs
import numpy as np
import orjson
import pydantic
import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loguru import logger as loguru_logger

from logferry.handlers import context, hooks
from logferry.handlers.adapter import LoggerAdapter
from logferry.handlers.encoding import MAX_EVENT
from logferry.handlers.formatter import JsonFormatter
from logferry.handlers.forward import ForwardHandler
from logferry.handlers.integrations.loguru import LoguruSink
from logferry.handlers.integrations.structlog import configure_structlog
from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.handlers.testing import MemoryOutlet

SIX = ["timestamp", "level", "service", "trace_id", "span_id", "message"]
JSON_TYPES = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "object": dict,
    "timestamp": str,
}
DECLARED: Any = {
    "order_id": "integer",
    "amount": "number",
    "paid": "boolean",
    "due": "timestamp",
    "tags": "object",
}
SCHEMA = Schema("shop", fields=DECLARED, host="h")
BUILDER = EventBuilder(SCHEMA, Redactor())


class Boom(BaseException):
    """No Exception: the worst that a method can raise, but for an interrupt."""


def misbehave(how: str, name: str) -> Callable[..., Any]:
    """Return a method that misbehaves."""

    def method(self: Any, *args: Any, **_: Any) -> Any:
        if how == "raises":
            raise ValueError(name)
        if how == "raises base":
            raise Boom(name)
        if how == "recurses":
            return getattr(type(self), name)(self, *args)
        if how == "surrogates":
            return "\ud800\udfff\0\n"
        return {"wrong": 5, "none": None, "self": self, "huge": "x" * 300_000}[how]

    return method


HOW = st.sampled_from(["raises", "raises base", "recurses", "wrong", "none", "self", "surrogates", "huge"])
METHODS = [
    *("__str__", "__repr__", "__hash__", "__eq__", "__len__", "__iter__", "__bool__", "__getattribute__"),
    *(
        "__getattr__",
        "__format__",
        "__mod__",
        "__int__",
        "__float__",
        "__index__",
        "__bytes__",
        "__contains__",
    ),
    *(
        "__getitem__",
        "__lt__",
        "__le__",
        "__gt__",
        "__sub__",
        "__class__",
        "__dict__",
        "__reduce__",
        "__call__",
    ),
    *("items", "keys", "isoformat", "encode", "isascii", "decode", "bit_length", "tolist", "tzinfo"),
]
MARKS = ["__dataclass_fields__", "__attrs_attrs__", "__struct_fields__", "__pydantic_fields__", "__notes__"]
BASES: dict[str, tuple[type, tuple[Any, ...]]] = {
    "object": (object, ()),
    "str": (str, ("a\udc80",)),
    "int": (int, (7,)),
    "float": (float, (1.5,)),
    "bytes": (bytes, (b"\xff",)),
    "list": (list, ([1, "a"],)),
    "dict": (dict, ({"a": 1},)),
    "tuple": (tuple, ((1, 2),)),
    "set": (set, ({1, 2},)),
    "Exception": (Exception, ("said",)),
    "datetime": (dt.datetime, (2026, 1, 2)),
    "Decimal": (decimal.Decimal, ("1.10",)),
    "deque": (deque, ([1],)),
    "UserDict": (UserDict, ({"a": 1},)),
}
CREATED = {"object", "str", "int", "float", "bytes", "tuple", "datetime", "Decimal"}  # complete after __new__


def make(spec: tuple[str, dict[str, str], bool, str | None]) -> Any:
    """Make the object that a description describes."""
    base_name, methods, meta, mark = spec
    base, arguments = BASES[base_name]
    body: dict[str, Any] = {}
    for name, how in methods.items():
        method = misbehave(how, name)
        body[name] = property(method) if name in {"__class__", "__dict__", "tzinfo"} else method
    if mark is not None:
        body[mark] = 5
    kind: type = type
    if meta:
        kind = type(
            "Meta",
            (type(base),),
            {"__hash__": misbehave("raises base", "h"), "__eq__": misbehave("raises", "e")},
        )
    made = kind("Odd", (base,), body)
    odd = base.__new__(made, *arguments)
    if base_name not in CREATED:
        with contextlib.suppress(Exception, Boom):
            base.__init__(odd, *arguments)
    return odd


SPECS = st.tuples(
    st.sampled_from(sorted(BASES)),
    st.dictionaries(st.sampled_from(METHODS), HOW, min_size=1, max_size=6),
    st.booleans(),
    st.none() | st.sampled_from(MARKS),
)


class Lazy:
    """Evaluates itself when it is asked for anything, as Django's translations do."""

    def __init__(self, make_it: Callable[[], Any]) -> None:
        self._make = make_it

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)

    def __str__(self) -> str:
        return str(self._make())

    def __repr__(self) -> str:
        return repr(self._make())


class Model(pydantic.BaseModel):
    name: str
    inner: Any = None


@dataclasses.dataclass
class Half:
    given: int
    missing: Any = dataclasses.field(init=False)


@attrs.define
class Attributes:
    name: str
    inner: Any = None
    shy: Any = attrs.field(default="seldom", repr=False)
    odd: Any = attrs.field(factory=lambda: Lazy(raise_boom))


@attrs.define(slots=False)
class HalfAttributes:
    given: int
    missing: Any = attrs.field(init=False)


class Node:
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __repr__(self) -> str:
        return f"Node({self.inner!r})"


def deep(wrap: Callable[[Any], Any], levels: int = 10_000) -> Any:
    value: Any = None
    for _ in range(levels):
        value = wrap(value)
    return value


def cycle() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


def namespace_in_itself() -> types.SimpleNamespace:
    made = types.SimpleNamespace()
    made.me = made
    return made


def released() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


def raise_boom(*_: Any) -> Any:
    raise Boom


class Zone(dt.tzinfo):
    utcoffset = tzname = dst = raise_boom


NAMED: dict[str, Callable[[], Any]] = {
    "10 MB text": lambda: "é" * 10_000_000,
    "10 MB bytes": lambda: b"\xff" * 10_000_000,
    "10 MB repr": lambda: Lazy(lambda: "x" * 10_000_000),
    "deep list": lambda: deep(lambda v: [v]),
    "deep tuple": lambda: deep(lambda v: (v,)),
    "deep dict": lambda: deep(lambda v: {"a": v}),
    "deep repr": lambda: deep(Node),
    "cycle": cycle,
    "namespace in itself": namespace_in_itself,
    "huge int": lambda: 10**10_000,
    "huge negative": lambda: -(10**10_000),
    "NaN": lambda: float("nan"),
    "signalling NaN": lambda: decimal.Decimal("sNaN"),
    "timedelta": lambda: dt.timedelta.max,
    "bad zone": lambda: dt.datetime(2026, 1, 1, tzinfo=Zone()),
    "uuid": lambda: uuid.UUID(int=7),
    "path": lambda: PurePosixPath("/a\udc80"),
    "mock": MagicMock,
    "mock of a dict": lambda: MagicMock(spec=dict),
    "lazy": lambda: Lazy(lambda: "said late"),
    "lazy that raises": lambda: Lazy(raise_boom),
    "model": lambda: Model(name="n", inner=Model(name="m")),
    "half a dataclass": lambda: Half(1),
    "attrs": lambda: Attributes(name="n", inner=Attributes(name="m")),
    "half of attrs": lambda: HalfAttributes(1),
    "dead proxy": lambda: weakref.proxy(Node(1)),
    "released view": released,
    "view": lambda: memoryview(array.array("i", [1, 2])),
    "chain": lambda: ChainMap({"a": 1}, {"b": 2}),
    "counter": lambda: Counter("abca"),
    "ordered": lambda: OrderedDict(b=1),
    "default": lambda: defaultdict(list, a=[1]),
    "range": lambda: range(10**12),
    "module": lambda: sys,
    "frame": sys._getframe,
    "lock": threading.Lock,
    "partial": lambda: functools.partial(print),
    "mixed set": lambda: {1, "a", (1,)},
    "numpy scalar": lambda: np.int64(5),
    "numpy NaN": lambda: np.float32("nan"),
    "numpy array": lambda: np.zeros((3, 3)),
    "numpy large": lambda: np.zeros(10**6),
    "numpy objects": lambda: np.array([object(), None]),
    "numpy time": lambda: np.datetime64("NaT"),
    "break-out": lambda: '","level":"CRITICAL","x":"\u2028\u2029\x1b[31m\r\n{"timestamp":"t"}\n',
}

PLACES = ("message", "argument", "extra", "nested", "key", "context", "order_id", "tags", "kind", "exception")
DOORS = (
    *("stdlib", "adapter", "formatter", "formatter with a format", "structlog", "structlog by stdlib"),
    *("loguru", "excepthook", "warning"),
)


class Kept(logging.Handler):
    """Formats with `formatter` and keeps the lines."""

    def __init__(self, outlet: MemoryOutlet, formatter: JsonFormatter) -> None:
        super().__init__()
        self.outlet, self.formatter = outlet, formatter

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        raise AssertionError("the formatter raised") from sys.exc_info()[1]

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.outlet.offer(self.format(record).encode())
        except BaseException as error:
            raise AssertionError("the formatter raised") from error


@pytest.fixture(scope="module")
def log() -> Iterator[logging.Logger]:
    log = logging.getLogger("test.any")
    log.propagate = False
    log.setLevel(logging.DEBUG)
    yield log
    log.handlers.clear()


def spread(  # noqa: PLR0911 (one return a place)
    value: Any, place: str
) -> tuple[Any, tuple[Any, ...], dict[str, Any], dict[str, Any], BaseException | None]:
    """Return message, arguments, extras, context and exception with `value` in its place."""
    if place == "message":
        return value, (), {}, {}, None
    if place == "argument":
        return "one %s two %s", (1, value), {}, {}, None
    if place == "key":
        try:
            return "m", (), {"zz": {value: 1}}, {}, None
        except BaseException:
            return "m", (), {"zz": [value]}, {}, None
    if place == "context":
        return "m", (), {}, {"zz": value}, None
    if place == "exception":
        try:
            raise ValueError(value) from KeyError(value)
        except ValueError as error:
            return "m", (), {}, {}, error
    return (
        "m",
        (),
        {"zz" if place in {"extra", "nested"} else place: [(value,)] if place == "nested" else value},
        {},
        None,
    )


def through(  # noqa: PLR0912 (one branch a door)
    door: str, log: logging.Logger, value: Any, place: str
) -> list[bytes]:
    """Log `value` through one door and return the lines."""
    outlet = MemoryOutlet()
    message, arguments, extras, bound, error = spread(value, place)
    handler: logging.Handler = ForwardHandler(outlet, BUILDER)
    if door == "formatter":
        handler = Kept(outlet, JsonFormatter(builder=BUILDER))
    elif door == "formatter with a format":
        handler = Kept(
            outlet,
            JsonFormatter("%(message)s", builder=BUILDER, static_fields={"s": "x"}, defaults={"d": 1}),
        )
    log.handlers[:] = [handler]
    with context.isolated(**bound):
        if door in {"excepthook", "warning"}:
            hooks.install(hooks.emitter(BUILDER, outlet))
            hook, show = sys.excepthook, warnings.showwarning
            try:
                own = error or ValueError(value)
                with pytest.MonkeyPatch.context() as patch:
                    # The former hooks print; that is theirs to survive.
                    for hooked in hooks._installed:
                        patch.setattr(hooked, "_excepthook", lambda *_: None)
                        patch.setattr(hooked, "_showwarning", lambda *_: None)
                    if door == "excepthook":
                        hook(type(own), own, own.__traceback__)
                    else:
                        show(UserWarning(value), UserWarning, "f.py", 1)
            finally:
                hooks.uninstall()
        elif door == "loguru":
            # What it shows of a frame's values, before it asks a sink, is loguru's to survive; an interrupt
            # of one's own kind it does not.
            loguru_logger.remove()
            sink = LoguruSink(outlet, BUILDER)
            number = loguru_logger.add(sink, format="{message}", catch=False, diagnose=False)
            try:
                loguru_logger.bind(**{"zz": value, **extras}).opt(exception=error).info("m")
            finally:
                loguru_logger.remove(number)
        elif door.startswith("structlog"):
            configure_structlog(outlet, BUILDER, native=door == "structlog", cache=False)
            try:
                structlog.get_logger("test.any").bind(**extras).info(
                    message, *arguments, **({"exc_info": error} if error else {})
                )
            finally:
                structlog.reset_defaults()
        elif door == "adapter":
            LoggerAdapter(log, order_id=value).info(message, *arguments, extra=extras, exc_info=error)
        else:
            log.info(message, *arguments, extra=extras, exc_info=error)
    return list(outlet.lines)


def check(line: bytes, door: str) -> dict[str, Any]:
    """Assert what every line promises."""
    assert type(line) is bytes
    assert len(line) <= MAX_EVENT
    assert b"\n" not in line
    assert b"\r" not in line
    event: dict[str, Any] = orjson.loads(line)
    assert json.loads(line) == event or b"E" in line or b"e" in line
    if door == "formatter with a format":
        return event
    assert list(event)[:6] == SIX
    assert event["level"] in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
    assert event["service"] == "shop"
    for name, value in event.items():
        field = SCHEMA.field(name)
        if field is not None and value is not None:
            assert type(value) is JSON_TYPES[field.type], (name, value)
    return event


SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(spec=SPECS, door=st.sampled_from(DOORS), place=st.sampled_from(PLACES))
@example(spec=("object", {"__getattribute__": "raises base"}, True, None), door="stdlib", place="extra")
@example(
    spec=("str", {"__str__": "raises base", "__hash__": "raises"}, False, None),
    door="stdlib",
    place="message",
)
@example(spec=("dict", {"__len__": "raises base"}, False, None), door="adapter", place="tags")
def test_an_object_that_misbehaves(
    log: logging.Logger, spec: tuple[str, dict[str, str], bool, str | None], door: str, place: str
) -> None:
    """However its methods misbehave, one line leaves and nothing is raised, the first time and later."""
    for _ in range(10 if "huge" not in spec[1].values() and "recurses" not in spec[1].values() else 1):
        lines = through(door, log, make(spec), place)
        assert len(lines) == 1
        check(lines[0], door)


@pytest.mark.parametrize(
    ("name", "door"),
    [(name, door) for name in NAMED for door in (DOORS if "10 MB" not in name else ("stdlib", "structlog"))],
)
def test_a_known_troublemaker(log: logging.Logger, name: str, door: str) -> None:
    """What is known to break JSON, logging or both, as an extra and in a place that its name chooses."""
    value = NAMED[name]()
    for place in ("extra", PLACES[len(name) % len(PLACES)]):
        lines = through(door, log, value, place)
        assert len(lines) == 1
        event = check(lines[0], door)
        assert event.get("level") != "CRITICAL" or door == "excepthook"


def test_generators_are_not_consumed(log: logging.Logger) -> None:
    """No door takes anything out of an iterator."""
    for door in DOORS:
        for place in PLACES:
            numbers = iter([1, 2, 3])
            made = (number for number in range(3))
            through(door, log, [numbers, made], place)
            assert list(numbers) == [1, 2, 3], (door, place)
            assert list(made) == [0, 1, 2], (door, place)


@pytest.mark.parametrize("door", ["stdlib", "adapter", "formatter", "structlog", "structlog by stdlib"])
def test_injection_stays_inside_its_string(log: logging.Logger, door: str) -> None:
    """Line breaks, escapes, separators and JSON arrive as what they are: characters of one string."""
    evil = 'a\n{"level":"CRITICAL"}\r\n\x1b]0;title\x07\u2028\u2029\x85\0","level":"CRITICAL","x":"\\'
    (line,) = through(door, log, evil, "message")
    event = check(line, door)
    assert event["message"] == evil
    assert event["level"] == "INFO"
    assert line.count(b"\n") == 0
    assert b"\x1b" not in line
    (line,) = through(door, log, {evil: evil}, "extra")
    assert orjson.loads(line)["zz"] == {evil: evil}


def test_an_interrupt_goes_on(log: logging.Logger) -> None:
    """A KeyboardInterrupt or SystemExit raised while an object is asked for its text is the application's."""

    class Stop:
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        through("stdlib", log, Stop(), "message")


def test_mapping_proxies_and_views_are_read_once(log: logging.Logger) -> None:
    """A mapping of the application's own kind is read through its interface."""

    class Own(Mapping[str, int]):
        def __getitem__(self, key: str) -> int:
            return 1

        def __iter__(self) -> Iterator[str]:
            return iter("ab")

        def __len__(self) -> int:
            return 2

    (line,) = through("stdlib", log, Own(), "extra")
    assert orjson.loads(line)["zz"] == {"a": 1, "b": 1}
