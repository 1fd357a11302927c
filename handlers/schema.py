"""The one schema: which fields an event has, of which type, and in which order.

Everything that needs to know fields is generated from here: index templates, labels, columns, queries,
dashboards. Rules:

- `FIELDS` are the built-in fields in the order in which an event has them; the first six are always present.
- A declared field (`Schema(fields={"order_id": "integer"})`) is type-checked. `repair` casts only without
  loss ("42" → 42, 42.0 → 42, 42 → 42.0, "1.5" → 1.5, "true" → True, 7 → "7"); what cannot be cast is kept
  under its name in the object `extra` and counted as a violation. `dead_letter` casts nothing: it leaves the
  value and marks the whole event (an integer is a number, all the same).
- Built-in fields that an application may set (`kind`, `status_code`, `user_id`, ...) are always repaired.
- `None` is a value of every type.
"""

from __future__ import annotations

import re
import socket
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

__all__ = [
    "BUCKETS",
    "FIELDS",
    "MISFIT",
    "Field",
    "FieldType",
    "OnViolation",
    "Schema",
    "bucket_code",
    "cast",
    "duration_bucket",
]

FieldType: TypeAlias = Literal["string", "integer", "number", "boolean", "object", "timestamp"]
OnViolation: TypeAlias = Literal["repair", "dead_letter"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event.

    `required`: always present. `label`: may be a Loki label. `metadata`: travels as Loki structured metadata.
    `free_text`: redaction patterns run over it; ids that the schema knows are not free text. `ecs`: its name
    in the Elastic Common Schema, for an alias.
    """

    name: str
    type: FieldType
    required: bool = False
    label: bool = False
    metadata: bool = False
    free_text: bool = False
    ecs: str | None = None
    doc: str = ""


FIELDS: Final[tuple[Field, ...]] = (
    Field("timestamp", "timestamp", required=True, ecs="@timestamp", doc="when, UTC, microseconds"),
    Field(
        "level", "string", required=True, label=True, ecs="log.level", doc="DEBUG INFO WARNING ERROR CRITICAL"
    ),
    Field("service", "string", required=True, label=True, ecs="service.name", doc="the service that logged"),
    Field("trace_id", "string", required=True, metadata=True, ecs="trace.id", doc="32 hex digits, or empty"),
    Field("span_id", "string", required=True, metadata=True, ecs="span.id", doc="16 hex digits, or empty"),
    Field("message", "string", required=True, free_text=True, ecs="message", doc="the formatted message"),
    Field("parent_id", "string", doc="the span that caused this one"),
    Field("request_id", "string", metadata=True, ecs="http.request.id", doc="the request being served"),
    Field("user_id", "string", metadata=True, ecs="user.id", doc="the user being served"),
    Field(
        "endpoint", "string", metadata=True, free_text=True, ecs="url.path_template", doc="route, not path"
    ),
    Field("correlation_id", "string", doc="an incoming id that is not the trace id"),
    Field("logger", "string", ecs="log.logger", doc="the logger's name"),
    Field("module", "string", doc="the module that logged"),
    Field("function", "string", ecs="log.origin.function", doc="the function that logged"),
    Field("line", "integer", ecs="log.origin.file.line", doc="the line that logged"),
    Field("environment", "string", label=True, ecs="service.environment", doc="dev, test, prod"),
    Field(
        "version", "string", label=True, ecs="service.version", doc="the service's version, when configured"
    ),
    Field("host", "string", label=True, ecs="host.name", doc="the machine"),
    Field("process", "integer", ecs="process.pid", doc="process id"),
    Field("thread", "string", ecs="process.thread.name", doc="the thread's name"),
    Field("task", "string", doc="the asyncio task's name"),
    Field("error", "object", free_text=True, ecs="error", doc="type, message, stack, code, causes"),
    Field("stack_info", "string", free_text=True, doc="where the call was made, when it asked for it"),
    Field("kind", "string", label=True, ecs="event.kind", doc="access, job, span; absent for ordinary lines"),
    Field("method", "string", ecs="http.request.method", doc="HTTP method"),
    Field("path", "string", free_text=True, ecs="url.path", doc="path with query"),
    Field("status_code", "integer", metadata=True, ecs="http.response.status_code", doc="HTTP status"),
    Field("duration_ms", "number", metadata=True, doc="how long it took, milliseconds"),
    Field("duration_le", "string", metadata=True, doc="the bucket that duration_ms falls in, not cumulative"),
    Field("failed", "boolean", metadata=True, doc="whether it failed"),
    Field("client_ip", "string", free_text=True, ecs="client.address", doc="the caller's address"),
    Field("user_agent", "string", free_text=True, ecs="user_agent.original", doc="the caller's User-Agent"),
    Field("peer", "string", free_text=True, ecs="destination.address", doc="whom a span of a call calls"),
    Field("bytes", "integer", ecs="http.response.body.bytes", doc="size of the response, bytes"),
    Field("error_pattern", "string", metadata=True, doc="the error's message with what varies masked"),
    Field("extra", "object", free_text=True, doc="what collided with a field or broke its type, by name"),
    Field("truncated", "boolean", doc="true: something was cut"),
    Field("event_id", "string", ecs="event.id", doc="reserved: put in by sinks"),
)

_BUILT_IN: Final[Mapping[str, Field]] = MappingProxyType({field.name: field for field in FIELDS})

# A 1-2-5 series; the last bucket is open.
BUCKETS: Final[tuple[int, ...]] = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(1_000, 2_000, 5_000, 10_000, 20_000, 50_000),
)
BUCKET_NAMES: Final[tuple[str, ...]] = (*map(str, BUCKETS), "+Inf")

MISFIT: Final = object()
"""What `cast` returns when a value cannot take the type without loss."""

_INTEGER: Final = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_WORDS: Final[Mapping[str, bool]] = MappingProxyType({"true": True, "false": False})
_INT64: Final = range(-(2**63), 2**63)


def duration_bucket(ms: float) -> str:
    """Return the bucket that a duration of `ms` milliseconds falls in: "1", "2", "5" ... "50000", "+Inf"."""
    return BUCKET_NAMES[bisect_left(BUCKETS, ms)]


def bucket_code(ms: str, low: int = 0, high: int = len(BUCKETS)) -> str:
    """Return the expression for the same of the float in the variable `ms`, for code that is made.

    Comparisons: the library of `bisect` is one more to be fetched when a log call finds the caches cold.
    """
    if low == high:
        return repr(BUCKET_NAMES[low])
    middle = (low + high) // 2
    below, above = bucket_code(ms, low, middle), bucket_code(ms, middle + 1, high)
    return f"({below} if {ms} <= {float(BUCKETS[middle])!r} else {above})"


def _integer(value: object) -> object:
    if type(value) is int:
        return value if value in _INT64 else MISFIT
    if type(value) is float:
        return int(value) if value.is_integer() and int(value) in _INT64 else MISFIT
    if type(value) is str and _INTEGER.fullmatch(value) and int(value) in _INT64:
        return int(value)
    return MISFIT


def _number(value: object) -> object:
    if type(value) is float:
        return value if isfinite(value) else MISFIT
    if type(value) is int:
        # A float holds integers exactly up to 2**53; beyond that only some of them.
        return float(value) if value in _INT64 and int(float(value)) == value else MISFIT
    if type(value) is str and len(value) <= 32 and _NUMBER.fullmatch(value):
        return float(value) if isfinite(float(value)) else MISFIT
    return MISFIT


def _boolean(value: object) -> object:
    if type(value) is bool:
        return value
    return _WORDS.get(value.lower(), MISFIT) if type(value) is str else MISFIT


def _string(value: object) -> object:
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int or (type(value) is float and isfinite(value)):
        return repr(value)
    return MISFIT


def _object(value: object) -> object:
    return value if type(value) is dict else MISFIT


def _timestamp(value: object) -> object:
    """Take ISO 8601 with an offset; a time without one could mean any zone, so it does not fit."""
    if type(value) is not str:
        return MISFIT
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            return MISFIT
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return MISFIT
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


_CASTS: Final = MappingProxyType(
    {
        "integer": _integer,
        "number": _number,
        "boolean": _boolean,
        "string": _string,
        "object": _object,
        "timestamp": _timestamp,
    }
)


def cast(value: object, to: FieldType) -> Any:
    """Return a plain `value` as type `to` when that loses nothing, else `MISFIT`; None fits every type."""
    return None if value is None else _CASTS[to](value)


class Schema:
    """The fields of one service's events, and what becomes of values that do not fit.

    `fields` declares further fields by name. `host` is the machine's name unless given. Raises ValueError for
    a declaration that a record could never satisfy. The counters are for metrics: increments may be lost when
    threads race, never an event.
    """

    __slots__ = (
        "_by_name",
        "collisions",
        "declared",
        "environment",
        "fields",
        "host",
        "names",
        "on_violation",
        "service",
        "truncations",
        "version",
        "violations",
    )

    def __init__(
        self,
        service: str,
        environment: str = "dev",
        *,
        version: str | None = None,
        fields: Mapping[str, FieldType] = MappingProxyType({}),
        on_violation: OnViolation = "repair",
        host: str | None = None,
    ) -> None:
        for name, kind in fields.items():
            if name in _BUILT_IN:
                raise ValueError(f"schema.fields.{name}: a built-in field; choose another name")
            if kind not in get_args(FieldType):
                raise ValueError(
                    f"schema.fields.{name}: no type {kind!r}; one of {', '.join(get_args(FieldType))}"
                )
        if on_violation not in get_args(OnViolation):
            raise ValueError(
                f"schema.on_violation: {on_violation!r}; one of {', '.join(get_args(OnViolation))}"
            )
        self.service = service
        self.environment = environment
        self.version = version
        self.host = socket.gethostname() if host is None else host
        self.on_violation: OnViolation = on_violation
        self.declared: Mapping[str, FieldType] = MappingProxyType(dict(fields))
        self.fields: tuple[Field, ...] = FIELDS + tuple(
            Field(name, kind, free_text=kind in {"string", "object"}, doc="declared")
            for name, kind in fields.items()
        )
        self._by_name = {field.name: field for field in self.fields}
        self.names: frozenset[str] = frozenset(self._by_name)
        self.collisions = 0
        self.violations = 0
        self.truncations = 0

    def field(self, name: str) -> Field | None:
        """Return the field called `name`, built-in or declared; None when the schema does not know it."""
        return self._by_name.get(name)

    duration_bucket = staticmethod(duration_bucket)
