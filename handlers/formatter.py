"""`JsonFormatter`: python-json-logger's formatter, with our event inside.

A team switches by changing one class name. Rules
- Without options the result is our event, exactly what `EventBuilder.build` makes.
- Options are honoured on top of the event. Values are always the redacted ones.
- `fmt` (``%``, ``{``, ``$``, ``,`` or a list) selects: first the named fields, in order, under the names
  written there, None where there is none. Names are the LogRecord's (``levelname``, ``asctime`` with
  `datefmt`, ...) or the event's (``level``, ``service``, ...). After them comes what no format names: the
  trace when there is one, bound context, extras, and ``error`` (unless ``exc_info`` is named: then the
  traceback as text).
- `defaults` stand where the event has nothing; `static_fields` replace; a `dict` message becomes fields.
- `rename_fields` renames by either name: ``levelname`` and ``level`` mean the same field.
  `rename_fields_keep_missing` adds None for what is missing.
- `timestamp` as a string names the time's field; `True` includes it although `fmt` does not name it.
- `reserved_attrs` leaves extras of these names out; a LogRecord attribute missing from it is added, as there.
- `exc_info_as_array` and `stack_info_as_array` split those texts into lines.
- `prefix` stands before the JSON. `json_serializer`, `json_encoder`, `json_default`, `json_indent` and
  `json_ensure_ascii`, when given, write it; what they see is plain JSON types already.
- Subclasses may override `add_fields`, `process_log_record` and `jsonify_log_record` as there; what they add
  is redacted afterwards.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import orjson
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter as _PythonJsonFormatter

from . import context
from .encoding import normalise
from .filters import untouched
from .record import EventBuilder
from .schema import FIELDS, Schema

if TYPE_CHECKING:
    from .record import Redaction

__all__ = ["JsonFormatter", "make_builder"]

# LogRecord attribute → event field that says the same.
_EVENT_NAME: Final[Mapping[str, str]] = {
    "levelname": "level",
    "name": "logger",
    "funcName": "function",
    "lineno": "line",
    "threadName": "thread",
    "taskName": "task",
    "msg": "message",
    "exc_info": "error",
    "exc_text": "error",
}
# Of the built-in fields, those that a format selects rather than carries along: what the machinery knows.
_SELECTED: Final = frozenset(
    {
        *("timestamp", "level", "service", "message", "logger", "module", "function", "line"),
        *("environment", "version", "host", "process", "thread", "task"),
    }
)
_BUILT_IN: Final = frozenset(field.name for field in FIELDS)
# Attributes that hold unredacted content; the event's redacted words stand for them.
_RAW: Final = frozenset({"args", "msg", "message", "exc_info", "exc_text", "stack_info", "asctime"})
_HARMLESS: Final = frozenset(RESERVED_ATTRS) - _RAW
_WRITING: Final = frozenset(
    {"json_default", "json_encoder", "json_serializer", "json_indent", "json_ensure_ascii"}
)
_HOOKS: Final = ("add_fields", "process_log_record", "jsonify_log_record", "serialize_log_record")


def make_builder(
    service: str | None = None,
    environment: str | None = None,
    schema: Schema | Mapping[str, Any] | None = None,
    redact: bool | Mapping[str, Any] | Redaction = True,  # noqa: FBT001, FBT002 - a configuration value
) -> EventBuilder:
    """Make a builder from configuration values, with the bound context.

    `service` is by default ``LOGFERRY_SERVICE`` or the program's name, `environment` ``LOGFERRY_ENVIRONMENT``
    or ``dev``. `schema` may hold the arguments of `Schema`, `redact` those of `Redactor`; False: no
    redaction.
    """
    if not isinstance(schema, Schema):
        options = dict(schema or {})
        options.setdefault("service", service or os.environ.get("LOGFERRY_SERVICE") or _program())
        options.setdefault("environment", environment or os.environ.get("LOGFERRY_ENVIRONMENT") or "dev")
        schema = Schema(**options)
    return EventBuilder(schema, _redactor(redact), context=context.current)


def _redactor(redact: bool | Mapping[str, Any] | Redaction) -> Redaction | None:  # noqa: FBT001 - likewise
    if redact is False:
        return None
    if redact is True or isinstance(redact, Mapping):
        from .redaction import Redactor

        made: Redaction = Redactor(**({} if redact is True else redact))
        return made
    return redact


def _program() -> str:
    name = PurePath(sys.argv[0] if sys.argv else "").stem
    return name if name not in {"", "-c", "-m", "__main__"} else "python"


class JsonFormatter(_PythonJsonFormatter):
    """A drop-in for `pythonjsonlogger.json.JsonFormatter` whose content is our event.

    Beside that class's options it takes `service`, `environment`, `schema`, `redact` (see `make_builder`) or
    a ready `builder`. Raises what that class raises for a bad format.
    """

    def __init__(  # noqa: PLR0913 - the options of the class it replaces, and ours
        self,
        fmt: str | Sequence[str] | None = None,
        datefmt: str | None = None,
        style: str = "%",
        validate: bool = True,  # noqa: FBT001, FBT002 - the standard library's signature
        *,
        service: str | None = None,
        environment: str | None = None,
        schema: Schema | Mapping[str, Any] | None = None,
        redact: bool | Mapping[str, Any] | Redaction = True,
        builder: EventBuilder | None = None,
        **options: Any,
    ) -> None:
        super().__init__(fmt, datefmt, style, validate, **options)
        self.builder = builder or make_builder(service, environment, schema, redact)
        self._selects = fmt is not None
        self._writes = any(name in options for name in _WRITING)
        self._reserves = options.get("reserved_attrs") is not None
        self._renames = {_EVENT_NAME.get(old, old): new for old, new in self.rename_fields.items()}
        if isinstance(self.timestamp, str):
            self._renames.setdefault("timestamp", self.rename_fields.get(self.timestamp, self.timestamp))
        self._hooked = any(getattr(type(self), hook) is not getattr(JsonFormatter, hook) for hook in _HOOKS)
        self._plain = not (fmt is not None or options or self._hooked)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one JSON text; never changes the record or the caller's dict."""
        record = untouched(record)
        if self._plain and type(record.msg) is not dict:
            return self.builder.build(record).decode()
        fields: dict[str, Any] = {}
        if issubclass(type(record.msg), dict):
            plain = normalise(record.msg)
            fields = plain if type(plain) is dict else {"message": plain}  # a dict that cannot be walked
            record = copy.copy(record)
            record.msg, record.args = str(fields.pop("message", "")), None
        log_data: dict[str, Any] = {}
        self.add_fields(log_data, record, fields)
        log_data = self.process_log_record(log_data)
        if self._hooked:
            log_data = _clean(self.builder, log_data)
        return self.serialize_log_record(log_data)

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        """Fill `log_data` from the record's event as the options say."""
        event = self._event(record, message_dict)
        self._split_texts(event)
        for name, value in self._redacted(self.defaults).items():
            log_data[self._get_rename(name)] = value
        for name, value in (self._select(event, record) if self._selects else event).items():
            log_data[self._get_rename(name)] = value
        if self._reserves:
            for name in RESERVED_ATTRS:
                if name not in self._skip_fields and name in _HARMLESS and hasattr(record, name):
                    log_data.setdefault(self._get_rename(name), getattr(record, name))
        for name, value in self._redacted(self.static_fields).items():
            log_data[self._get_rename(name)] = value
        if self.rename_fields_keep_missing:
            for name in self.rename_fields.values():
                log_data.setdefault(name, None)

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Write the JSON: one line, non-ASCII as it is, unless a ``json_`` option says otherwise."""
        if self._writes:
            return str(super().jsonify_log_record(log_data))
        return orjson.dumps(log_data, default=str, option=orjson.OPT_NON_STR_KEYS).decode()

    def _redacted(self, fixed: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `static_fields` or `defaults` without secrets: they are configuration, not event."""
        clean = getattr(self.builder.redactor, "clean_mapping", None)
        if not fixed or clean is None:
            return fixed
        cleaned: Mapping[str, Any] = clean(normalise(dict(fixed)))
        return cleaned

    def _get_rename(self, key: str) -> str:
        return self._renames.get(key) or self._renames.get(_EVENT_NAME.get(key, key), key)

    def _split_texts(self, event: dict[str, Any]) -> None:
        if self.stack_info_as_array:
            _split(event, "stack_info")
        if self.exc_info_as_array and isinstance(event.get("error"), dict):
            _split(event["error"], "stack")

    def _event(self, record: logging.LogRecord, fields: dict[str, Any]) -> dict[str, Any]:
        if fields:
            record = copy.copy(record)
            taken = record.__dict__.keys()
            # A name that the record uses itself would change it; the event keeps it beside the extras.
            apart = {name: value for name, value in fields.items() if name in taken}
            record.__dict__.update((name, value) for name, value in fields.items() if name not in taken)
            if apart:
                record.__dict__.setdefault("extra", apart)
        event: dict[str, Any] = orjson.loads(self.builder.build(record))
        if self._reserves:
            for name in self.reserved_attrs - _BUILT_IN:
                event.pop(name, None)
        return event

    def _select(self, event: dict[str, Any], record: logging.LogRecord) -> dict[str, Any]:
        selected = {name: self._value(name, event, record) for name in self._required_fields}
        named = {_EVENT_NAME.get(name, name) for name in self._required_fields}
        if self.timestamp:
            selected.setdefault("timestamp", event["timestamp"])
        for name, value in event.items():
            if name in _SELECTED or name in named or (name in {"trace_id", "span_id"} and not value):
                continue
            selected[name] = value
        return selected

    def _value(self, name: str, event: dict[str, Any], record: logging.LogRecord) -> Any:
        if name == "asctime":
            return self.formatTime(record, self.datefmt)
        if name in {"exc_info", "exc_text"}:
            error = event.get("error")
            return error.get("stack") if isinstance(error, dict) else None
        if name in event and name != "thread":
            return event[name]
        known = _EVENT_NAME.get(name)
        if known is not None:
            return event.get(known)
        if name in _HARMLESS:
            return record.__dict__.get(name)
        apart = event.get("extra")  # an extra that collided with a field is kept there
        return apart.get(name) if isinstance(apart, dict) else None


def _split(holder: dict[str, Any], name: str) -> None:
    if isinstance(holder.get(name), str):
        holder[name] = holder[name].splitlines()


def _clean(builder: EventBuilder, log_data: dict[str, Any]) -> dict[str, Any]:
    """Redact what a subclass's hooks have added."""
    redactor = builder.redactor  # the same redaction as the event's, whatever it is
    if redactor is None:
        return log_data
    plain = orjson.loads(orjson.dumps(log_data, default=str, option=orjson.OPT_NON_STR_KEYS))
    return redactor.clean(plain, tuple(name for name in plain if name not in _BUILT_IN))
