"""A logging call → one event line. This is the hot path: it runs in the application's thread for every record.

Rules
- Nothing that an application logs makes it raise; the record and the caller's dict are never changed.
- Order: timestamp, level, service, trace_id, span_id, message; the other ids when there are any; logger, module,
  function, line, environment, version, host, process, thread, task; error, stack_info; bound context, then
  extras, in their own order; `duration_le`; `extra`; `truncated`. The first six are always there.
- Which name goes where is `handlers/shape.py`'s decision, looked up by the names of context and extras together.
- `build` and `compose` end in the same assembly: equal content gives equal bytes.
- Values of exact plain types pass untouched; what else there is goes through `handlers/encoding.py`. When the
  encoder refuses an event (a lone surrogate, a huge integer), all of it is normalised and encoded again.
- Redaction sees the assembled event in plain JSON types, before the size is bounded: a secret cannot hide in a
  cut.
- Levels are the standard five, by number, whatever `addLevelName` did: the nearest one below.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, Protocol

import orjson

from .clock import stamp
from .encoding import MAX_EVENT, encode, normalise, normalise_marked, shrink
from .failure import describe, describe_text
from .outlet import Violation
from .plain import clean_text, safe_repr
from .schema import MISFIT, FieldType, Schema, cast, duration_bucket
from .shape import Entry, Shape, make_shape

__all__ = ["EventBuilder", "Redaction", "level_name"]

_STANDARD: Final = tuple(logging.LogRecord("", 0, "", 0, "", (), None).__dict__)
# Extras stand behind the standard attributes in a record's dict. Their names are looked up together with the
# last standard one: where something else stands in its place, the record was made differently.
_LAST: Final = len(_STANDARD) - 1
_MARK: Final = _STANDARD[-1]
_OF_FIELDS: Final = "\0fields"
# Not extras (makeRecord refuses them): other handlers' formatters leave them in the record.
_FORMATTED: Final = frozenset({*_STANDARD, "message", "asctime"})
_MAX_SHAPES: Final = 1_024
_EMPTY: Final[Mapping[str, object]] = MappingProxyType({})
_HAS_TASK_NAME: Final = "taskName" in _STANDARD

_BY_NUMBER: Final = {10: "DEBUG", 20: "INFO", 30: "WARNING", 40: "ERROR", 50: "CRITICAL"}
_BY_NAME: Final = {
    **{
        "TRACE": "DEBUG",
        "DEBUG": "DEBUG",
        "NOTSET": "DEBUG",
        "INFO": "INFO",
        "SUCCESS": "INFO",
        "NOTICE": "INFO",
    },
    **{"WARN": "WARNING", "WARNING": "WARNING", "ERR": "ERROR", "ERROR": "ERROR", "EXCEPTION": "ERROR"},
    **{
        "CRITICAL": "CRITICAL",
        "FATAL": "CRITICAL",
        "EMERG": "CRITICAL",
        "ALERT": "CRITICAL",
        "PANIC": "CRITICAL",
    },
}
_INT64: Final = 2**63 - 1


class Redaction(Protocol):
    """Removes secrets from an assembled event; decides itself, cheaply, whether there are any."""

    def clean(self, event: dict[str, Any], extras: tuple[str, ...]) -> dict[str, Any]:
        """Return `event` or a redacted copy. Must never raise.

        `event` holds plain JSON types only. `extras` are the names of its keys that are not built in, in order
        (declared fields among them): the same tuple for records of the same shape, so that what is decided
        about names can be kept.
        """
        ...


def level_name(level: object) -> str:
    """Return the standard name of a level given by number (the nearest below; under 10: DEBUG) or by name."""
    if isinstance(level, str):
        return _BY_NAME.get(level.strip().upper(), "INFO")
    if isinstance(level, (int, float)) and level == level:  # noqa: PLR0124 - is not NaN
        return _BY_NUMBER[max(10, min(50, int(min(max(level, 0), 50)) // 10 * 10))]
    return "INFO"


def _current() -> Callable[[], Mapping[str, object]]:
    from .context import current

    return current


class EventBuilder:
    """Turns log records and their like into event lines.

    `context` returns the bound fields (default: `handlers.context.current`). Thread-safe; made once.
    """

    __slots__ = ("_cast_all", "_clean", "_context", "_shapes", "schema")

    def __init__(
        self,
        schema: Schema,
        redactor: Redaction | None = None,
        *,
        context: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self.schema = schema
        self._clean = None if redactor is None else redactor.clean
        self._context = _current() if context is None else context
        self._shapes: dict[tuple[object, ...], Shape] = {}
        self._cast_all = schema.on_violation == "repair"

    def build(self, record: logging.LogRecord) -> bytes:
        """Return the event line of `record`; a `Violation` when it breaks the schema under `dead_letter`."""
        try:
            own = record.__dict__
            try:
                context = self._context()
                key = (*context, *islice(own, _LAST, None))
                shape = self._shapes.get(key) or self._record_shape(key, context, own)
            except Exception:  # noqa: BLE001 - a context provider, or names that cannot be hashed
                context = _EMPTY
                shape = self._record_shape(None, context, own)
            message = record.msg
            if record.args or type(message) is not str or type(record) is not logging.LogRecord:
                message = _message(record)
            code: object = record.exc_info or record.exc_text or record.stack_info
            return self._line(
                shape,
                context,
                own,
                _BY_NUMBER.get(record.levelno) or level_name(record.levelno),
                message,
                stamp(record.created),
                (record.name, record.module, record.funcName, record.lineno),
                (record.process, record.threadName, own.get("taskName") if _HAS_TASK_NAME else _task()),
                _failure(record) if code else None,
                record.stack_info,
                _EMPTY,
            )
        except Exception as error:  # noqa: BLE001 - a record that was taken apart: its words still arrive
            return self._last_resort(record, error)

    def compose(
        self,
        *,
        level: str,
        message: str,
        logger: str = "",
        timestamp: float | None = None,
        fields: Mapping[str, object] | None = None,
        exc_info: object = None,
        source: Mapping[str, object] | None = None,
    ) -> bytes:
        """Return the event line of content that has no LogRecord: the same bytes as `build` for the same content.

        `timestamp`: seconds since 1970, now by default. `exc_info`: as for logging calls. `fields`: extras.
        `source`: module, function, line, process, thread, task, stack_info; and what a reader of foreign logs
        knows better than this process: service, environment, version, host, trace_id, span_id, parent_id,
        correlation_id. Names it does not give are left out (but service, environment, version, host).
        """
        given: Mapping[str, object] = _EMPTY if fields is None else fields
        origin: Mapping[str, object] = _EMPTY if source is None else source
        try:
            try:
                context = self._context()
                key = (*context, _OF_FIELDS, *given)
                shape = self._shapes.get(key) or self._keep(key, make_shape(self.schema, context, given))
            except Exception:  # noqa: BLE001 - a context provider, or names that cannot be hashed
                context = _EMPTY
                shape = make_shape(self.schema, context, list(given))
            find = origin.get
            return self._line(
                shape,
                context,
                given,
                _BY_NAME.get(level) or level_name(level),
                message if type(message) is str else safe_repr(message, str),
                stamp(timestamp),
                (logger, find("module"), find("function"), find("line")),
                (find("process"), find("thread"), find("task")),
                describe(exc_info) if exc_info else None,
                find("stack_info"),
                origin,
            )
        except Exception as error:  # noqa: BLE001 - a mapping that misbehaves
            return self._emergency(level_name(level), safe_repr(message, str), error)

    def _line(  # noqa: PLR0913, PLR0917, PLR0912, C901 - the hot path: a call costs 0.1 µs, so it is one function
        self,
        shape: Shape,
        context: Mapping[Any, Any],
        fields: Mapping[Any, Any],
        level: str,
        message: str,
        moment: str,
        place: tuple[Any, Any, Any, Any],
        runner: tuple[Any, Any, Any],
        error: dict[str, Any] | None,
        stack_info: Any,
        origin: Mapping[str, object],
    ) -> bytes:
        schema = self.schema
        trace = context["trace_id"] if shape.trace else ""
        span = context["span_id"] if shape.span else ""
        event: dict[str, Any] = {
            "timestamp": moment,
            "level": level,
            "service": schema.service,
            "trace_id": trace if type(trace) is str else _id(trace),
            "span_id": span if type(span) is str else _id(span),
            "message": message,
        }
        odd: list[tuple[Entry, Any]] = []
        for bound, entry in shape.ids:
            value = (context if bound else fields)[entry[0]]
            if type(value) is str:
                event[entry[2]] = value
            else:
                event[entry[2]] = None
                odd.append((entry, value))
        logger, module, function, line = place
        event["logger"] = logger if type(logger) is str else _id(logger)
        if type(module) is str:
            event["module"] = module
        if type(function) is str:
            event["function"] = function
        if type(line) is int:
            event["line"] = line
        event["environment"] = schema.environment
        if schema.version is not None:
            event["version"] = schema.version
        event["host"] = schema.host
        process, thread, task = runner
        if type(process) is int:
            event["process"] = process
        if type(thread) is str:
            event["thread"] = thread
        if type(task) is str:
            event["task"] = task
        if origin:
            event = _override(event, origin)
        if shape.code:
            error = {**(error or {}), "code": _code(fields["error_code"])}
        if error is not None:
            event["error"] = error
        if stack_info:
            event["stack_info"] = stack_info if type(stack_info) is str else normalise(stack_info)
        for entry in shape.context:
            value = context[entry[0]]
            kind = type(value)
            if kind in entry[1] and (kind is not float or value - value == 0.0):
                event[entry[2]] = value
            else:
                event[entry[2]] = None
                odd.append((entry, value))
        for entry in shape.fields:
            value = fields[entry[0]]
            kind = type(value)
            if kind in entry[1] and (kind is not float or value - value == 0.0):
                event[entry[2]] = value
            elif kind is int and entry[3] == "integer" and -_INT64 <= value <= _INT64:
                event[entry[2]] = value
            else:
                event[entry[2]] = None
                odd.append((entry, value))
        reasons: list[str] | None = None
        if odd or shape.spilled or shape.spilled_context:
            reasons = self._settle(event, odd, shape, context, fields)
        if shape.timed and event.get("kind") == "access" and type(event.get("duration_ms")) is float:
            event["duration_le"] = duration_bucket(event["duration_ms"])
        encoded = self._encode(event, shape.extras)
        return Violation(encoded, "; ".join(reasons)) if reasons else encoded

    def _encode(self, event: dict[str, Any], extras: tuple[str, ...]) -> bytes:
        try:
            cleaned = event if self._clean is None else self._clean(event, extras)
            line = orjson.dumps(cleaned)
        except Exception:  # noqa: BLE001 - what the encoder refuses is made plain, cleaned again and encoded
            plain = normalise(event)
            cleaned = plain if self._clean is None else self._clean(plain, extras)
            line = encode(cleaned, MAX_EVENT * 64)
        if len(line) > MAX_EVENT:
            line = shrink(normalise(cleaned), MAX_EVENT)
            self.schema.truncations += 1
        return line

    def _settle(
        self,
        event: dict[str, Any],
        odd: list[tuple[Entry, Any]],
        shape: Shape,
        context: Mapping[Any, Any],
        fields: Mapping[Any, Any],
    ) -> list[str]:
        """Put in what is not plain, of another type than declared, or collides; return broken declarations."""
        schema = self.schema
        spilled: dict[str, Any] = {}
        reasons: list[str] = []
        cut = False
        for (_, _, name, kind), value in odd:
            plain, was_cut = normalise_marked(value)
            cut = cut or was_cut
            if kind is not None:
                fitted = cast(plain, kind)
                if not self._cast_all and name in schema.declared and not _same(plain, fitted):
                    schema.violations += 1
                    reasons.append(f"{name}: {_shown(plain)} is not of type {kind}")
                elif fitted is MISFIT:
                    schema.violations += 1
                    spilled[name] = plain
                    del event[name]
                    continue
                else:
                    plain = fitted
            event[name] = plain
        for keys, holder in ((shape.spilled_context, context), (shape.spilled, fields)):
            for key in keys:
                schema.collisions += 1
                plain, was_cut = normalise_marked({key: holder[key]})
                cut = cut or was_cut
                spilled.update(plain)
        if spilled:
            event["extra"] = spilled
        if cut:
            schema.truncations += 1
            event["truncated"] = True
        return reasons

    def _record_shape(
        self, key: tuple[object, ...] | None, context: Mapping[str, object], own: Mapping[str, object]
    ) -> Shape:
        names = list(own)
        shape = make_shape(self.schema, context, [name for name in names if name not in _FORMATTED])
        # A record that was made differently shares its last names with ordinary ones: not to be kept.
        return self._keep(key, shape) if key is not None and names[_LAST : _LAST + 1] == [_MARK] else shape

    def _keep(self, key: tuple[object, ...], shape: Shape) -> Shape:
        if all(type(name) is str for name in key):  # 1, 1.0 and True are equal keys with different names
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            self._shapes[key] = shape
        return shape

    def _last_resort(self, record: object, error: BaseException) -> bytes:
        own: dict[str, Any] = getattr(record, "__dict__", {})
        level = level_name(own.get("levelno"))
        return self._emergency(level, safe_repr(own.get("msg"), str), error)

    def _emergency(self, level: str, message: str, error: BaseException) -> bytes:
        schema = self.schema
        event = {
            **{"timestamp": stamp(time.time()), "level": level, "service": schema.service},
            **{"trace_id": "", "span_id": "", "message": message},
            **{"environment": schema.environment, "host": schema.host},
            "extra": {"record_error": safe_repr(error)},
        }
        try:
            return encode(event if self._clean is None else self._clean(event, ()))
        except Exception:  # noqa: BLE001 - a redactor that raises must not let the message through
            return encode({**event, "message": "<not shown: redaction failed>", "extra": {}})


def _message(record: logging.LogRecord) -> str:
    """Return the record's message; what cannot be formatted is shown with its arguments."""
    try:
        if type(record) is not logging.LogRecord:
            text = record.getMessage()
            return text if type(text) is str else clean_text(str(text))
        text = record.msg
        if type(text) is not str:
            text = safe_repr(text, str) if not record.args else str(text)
        return str(text % record.args) if record.args else text
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - arguments may raise anything when formatted
        raw = safe_repr(record.msg, str)
        return f"{raw} {safe_repr(record.args)} (logging format error: {safe_repr(error)})"


def _failure(record: logging.LogRecord) -> dict[str, Any] | None:
    described = describe(record.exc_info) if record.exc_info else None
    if described is None and type(record.exc_text) is str and record.exc_text:
        return describe_text(record.exc_text)
    return described


def _task() -> str | None:
    """Return the running task's name on Python 3.11 (later ones put it into the record)."""
    tasks = sys.modules.get("asyncio.tasks")
    if tasks is None or tasks.events._get_running_loop() is None:  # noqa: SLF001 - the public way raises
        return None
    try:
        task = tasks.current_task()
        return None if task is None else str(task.get_name())
    except Exception:  # noqa: BLE001 - a foreign event loop
        return None


def _override(event: dict[str, Any], origin: Mapping[str, object]) -> dict[str, Any]:
    """Put what the source knows better into its place."""
    for name in _ORIGIN_REQUIRED:
        value = origin.get(name)
        if type(value) is str:
            event[name] = value
    added = {name: origin[name] for name in _ORIGIN_IDS if type(origin.get(name)) is str}
    if not added:
        return event
    ordered = dict(islice(event.items(), 6))
    for name in ("parent_id", "request_id", "user_id", "endpoint", "correlation_id"):
        if name in added or name in event:
            ordered[name] = added.get(name, event.get(name))
    return ordered | {name: value for name, value in event.items() if name not in ordered}


_ORIGIN_REQUIRED: Final = ("service", "environment", "version", "host", "trace_id", "span_id")
_ORIGIN_IDS: Final = ("parent_id", "correlation_id")


def _id(value: object) -> str:
    plain = cast(normalise(value), "string")
    return plain if type(plain) is str else ""


def _code(value: object) -> str:
    plain = cast(normalise(value), "string")
    return plain if type(plain) is str else safe_repr(value)


def _same(plain: object, fitted: object) -> bool:
    """Whether a value had its declared type already (an integer is a number)."""
    return type(plain) is type(fitted) or (type(plain) is int and type(fitted) is float)


def _shown(plain: object) -> str:
    """Name a value's kind, never the value: reasons are not redacted."""
    return f"a value of type {_TYPES.get(type(plain), 'object')}"


_TYPES: Final[dict[type, FieldType]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
