"""The fast way of assembling an event: code made for one combination of names.

Going through a record's names one by one costs twice what the whole event may. So for a combination that
keeps coming a function is made, as `dataclasses` makes `__init__`: it reads each value, looks at its type and
sets it in a copy of a template that holds the names in order and what never changes (a copy is one C call).

Rules

- It decides nothing: `Shape` has decided. It gives the event that the slow way would give, or None whenever a
  value is not of the expected plain type (None and an integer for a number are expected), and then the slow
  way is taken. A property test compares the two.
- Combinations with collisions, `error_code` or odd names have no fast way.
- Names enter the code only as `repr` of exact strings.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from .schema import BUCKET_NAMES, BUCKETS, FieldType, Schema
from .shape import IDS, Shape

__all__ = ["ORIGIN", "RECORD", "Fill", "compile_fill"]

# (timestamp, level, message, logger, task, context, fields, origin) → event
Fill: TypeAlias = Callable[[str, str, str, Any, Any, Any, Any, Any], "dict[str, Any] | None"]

RECORD: Final[Mapping[str, str]] = {
    "module": "module",
    "function": "funcName",
    "line": "lineno",
    "process": "process",
    "thread": "threadName",
}
"""Fields that a LogRecord holds under other names."""

ORIGIN: Final = frozenset(
    {
        *("service", "trace_id", "span_id", "parent_id", "correlation_id", "module", "function", "line"),
        *("environment", "version", "host", "process", "thread", "task"),
    }
)
"""Fields that say where an event comes from."""

_MAX_NAMES: Final = 100
_INTEGERS: Final = frozenset({"line", "process"})
_PLAIN: Final = frozenset({str, int, bool, type(None)})
_REST: Final = ("module", "function", "line", "environment", "version", "host", "process", "thread", "task")

_SMALL: Final = 2**30
_INT64: Final = 2**63 - 1
# Integers that a float holds exactly; the others are the general way's.
_WHOLE: Final = f"-{2**53} <= {{0}} <= {2**53}"
_CHECKS: Final[dict[FieldType | None, str]] = {
    None: "(type({0}) in PLAIN or type({0}) is float and {0} - {0} == 0.0)",
    "string": "type({0}) is str",
    # The first comparison is for what is small enough to be compared in a few nanoseconds.
    "integer": f"type({{0}}) is int and (-{_SMALL} < {{0}} < {_SMALL} or -{_INT64} <= {{0}} <= {_INT64})",
    "number": "type({0}) is float and {0} - {0} == 0.0",
    "boolean": "type({0}) is bool",
}


class _Code:
    """Lines of the function: reads, checks, and the event's names in order with what they are set to."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.reads: list[str] = []
        self.checks: list[str] = []
        self.display: dict[str, str | None] = {}  # None: the template's value stays
        self.template: dict[str, str] = {}

    def keep(self, name: str, value: str) -> None:
        """Give `name` the same value in every event."""
        self.display[name] = None
        self.template[name] = value

    def take(self, name: str, source: str, kind: FieldType | None, *, optional: bool = False) -> None:
        """Read `name` by the expression `source`, checked as `kind`; `optional`: it may be None."""
        variable = f"v{len(self.values)}"
        self.values.append(variable)
        self.reads.append(f"{variable} = {source}")
        if kind == "number":
            self.reads += [f"if type({variable}) is int and {_WHOLE.format(variable)}:"]
            self.reads += [f"    {variable} = float({variable})"]
        check = _CHECKS[kind].format(variable)
        self.checks.append(f"({check} or {variable} is None)" if optional and kind is not None else check)
        self.display[name] = variable


def compile_fill(schema: Schema, shape: Shape, origin: Mapping[str, str], *, with_task: bool) -> Fill | None:
    """Return the fast way for `shape`; None when it has none.

    `origin` maps fields that say where the event comes from to their keys in the origin; `with_task`: there
    may be a task beside the origin.
    """
    entries = (*(entry for _, entry in shape.ids), *shape.context, *shape.fields)
    if (
        shape.code
        or shape.spilled
        or shape.spilled_context
        or len(entries) > _MAX_NAMES
        or not ORIGIN.issuperset(origin)
        or any(key != name or type(key) is not str or kind not in _CHECKS for key, _, name, kind in entries)
    ):
        return None
    code = _Code()
    _first_six(code, schema, shape, origin)
    ids = {entry[2]: ("c" if bound else "d") for bound, entry in shape.ids}
    for name in IDS:
        if name in origin:
            code.take(name, f"s[{origin[name]!r}]", "string")
        elif name in ids:
            code.take(name, f"{ids[name]}[{name!r}]", "string")
    code.take("logger", "logger", "string")
    for name in _REST:
        _from_origin(code, schema, name, origin)
    before_task = len(code.display)
    for holder, group in (("c", shape.context), ("d", shape.fields)):
        for _, _, name, kind in group:
            code.take(name, f"{holder}[{name!r}]", kind, optional=True)
    return _made(code, shape, before_task if with_task else None)


def _first_six(code: _Code, schema: Schema, shape: Shape, origin: Mapping[str, str]) -> None:
    code.display["timestamp"] = "moment"
    code.display["level"] = "level"
    _from_origin(code, schema, "service", origin)
    for name, bound in (("trace_id", shape.trace), ("span_id", shape.span)):
        if name in origin or bound:
            code.take(name, f"s[{origin[name]!r}]" if name in origin else f"c[{name!r}]", "string")
        else:
            code.keep(name, "")
    code.display["message"] = "message"


def _from_origin(code: _Code, schema: Schema, name: str, origin: Mapping[str, str]) -> None:
    own = {
        "service": schema.service,
        "environment": schema.environment,
        "version": schema.version,
        "host": schema.host,
    }.get(name)
    if name in origin:
        code.take(name, f"s[{origin[name]!r}]", "integer" if name in _INTEGERS else "string")
    elif own is not None:
        code.keep(name, str(own))


# Names as local variables: every nanosecond is paid some thirty times.
_HEAD: Final = (
    "def fill(moment, level, message, logger, task, c, d, s, type=type, str=str, int=int, float=float):"
)


def _made(code: _Code, shape: Shape, task_at: int | None) -> Fill:
    names = list(code.display)
    template = dict.fromkeys(names, "") | code.template
    body = [*code.reads, f"if not ({' and '.join(code.checks)}):", "    return None"]
    space: dict[str, Any] = {"PLAIN": _PLAIN, "bisect": bisect_left, "copy": template.copy}
    space |= {"BUCKETS": BUCKETS, "NAMES": BUCKET_NAMES}
    if task_at is None:
        body.append("event = copy()")
    else:
        with_task = dict.fromkeys((*names[:task_at], "task", *names[task_at:]), "") | code.template
        space["copy_with_task"] = with_task.copy
        body += [
            *("if task is None:", "    event = copy()"),
            *("elif type(task) is str:", "    event = copy_with_task()", "    event['task'] = task"),
            *("else:", "    return None"),
        ]
    body += [f"event[{name!r}] = {value}" for name, value in code.display.items() if value is not None]
    if shape.timed:
        kind, duration = code.display["kind"], code.display["duration_ms"]
        body += [
            f"if {kind} == 'access' and type({duration}) is float:",
            f"    event['duration_le'] = NAMES[bisect(BUCKETS, {duration})]",
        ]
    body.append("return event")
    lines = [_HEAD, *(f"    {line}" for line in body)]
    exec("\n".join(lines), space)  # noqa: S102 - as dataclasses do; only reprs of strings enter the code
    made: Fill = space["fill"]
    return made
