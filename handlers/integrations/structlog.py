"""structlog: its loggers write our events, by way of the standard library or straight to the outlet.

Rules
- The same content makes the same bytes whichever way it comes: structlog's `event` is the message, everything
  else that was bound or given is an extra, source and process are the caller's.
- Levels are the standard library's: ``logging.getLogger(name)`` decides, so one configuration holds for both.
- Native (the default): no LogRecord, no handler; the bound logger composes the event and offers it.
  `processors` run first, as ever; the last rendering is ours, so a list needs no renderer.
- By way of the standard library: `to_record` stands last among the processors; every handler sees the record.
- ``structlog.contextvars`` are included, below what is bound to the logger and given in the call.
- A log call never raises: what could not be made or handed over is counted in `NativeLogger.failed`.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from os import getpid
from pathlib import PurePath
from threading import current_thread, get_ident
from traceback import format_stack
from types import CodeType, FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..forward import BUSY, DEPTH, SUPPRESSED, ForwardHandler, Tally, ascend, descend
from ..plain import safe_repr

try:
    import structlog
    from structlog import contextvars
    from structlog._frames import _find_first_app_frame_and_name  # structlog's own way to name a logger
    from structlog.contextvars import merge_contextvars
except ImportError as error:
    raise ImportError('structlog is not installed: pip install "logferry[structlog]"') from error

if TYPE_CHECKING:
    from ..outlet import Outlet
    from ..record import EventBuilder

__all__ = ["BoundLogger", "NativeLogger", "configure_structlog", "to_record"]

# What logging.makeLogRecord would refuse as an extra.
_TAKEN: Final = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime"})
_THROUGH: Final = (KeyboardInterrupt, SystemExit)
_frame: Final = sys._getframe  # noqa: SLF001 - the standard library's logging finds callers by it too
_code_names: Final[dict[CodeType, tuple[str, str]]] = {}
_CODES: Final = 4_096
_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})
# Filled by structlog with the first variable that anyone binds; until then there is nothing to merge.
_bound_anywhere: Final[Mapping[str, object]] = getattr(contextvars, "_CONTEXT_VARS", {"?": None})


class _Beside(str):
    """A name that a LogRecord has for itself: in the record it stands beside that, in the event as it is."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Beside) and str.__eq__(self, other)

    __ne__ = object.__ne__

    def __hash__(self) -> int:
        return hash((_Beside, str(self)))


class NativeLogger:
    """What structlog's bound loggers wrap: a name with its level, an outlet, a builder."""

    __slots__ = ("_failed", "compose", "enabled", "name", "offer")

    def __init__(self, name: str, outlet: Outlet, builder: EventBuilder, failed: Tally) -> None:
        self.name = name
        self.enabled = logging.getLogger(name).isEnabledFor
        self.offer = outlet.offer
        self.compose = builder.compose
        self._failed = failed

    @property
    def failed(self) -> int:
        """Events lost to an exception, a refusal or endless nesting, over all loggers configured together."""
        return self._failed.total()

    def count_failure(self) -> None:
        """Count an event that could not be made."""
        self._failed[get_ident()] += 1

    def write(
        self,
        level: str,
        message: str,
        fields: Mapping[str, object],
        exc_info: object,
        source: Mapping[str, object],
    ) -> None:
        """Compose one event and offer it. Raises nothing but interrupts."""
        ident = get_ident()
        if ident not in BUSY and ident not in SUPPRESSED:
            try:
                BUSY.add(ident)
                self._write(ident, level, message, fields, exc_info, source)
            finally:
                BUSY.discard(ident)
            return
        depth = descend()
        if not depth:
            return
        try:
            if depth > 2 * DEPTH:
                self._failed[ident] += 1
            elif depth > DEPTH:  # what calls no foreign code ends the recursion, as in `ForwardHandler`
                self._write(ident, level, message, _NOTHING, None, source)
            else:
                self._write(ident, level, message, fields, exc_info, source)
        finally:
            ascend()

    def _write(
        self,
        ident: int,
        level: str,
        message: str,
        fields: Mapping[str, object],
        exc_info: object,
        source: Mapping[str, object],
    ) -> None:
        try:
            event = self.compose(
                level=level,
                message=message,
                logger=self.name,
                fields=fields,
                exc_info=exc_info,
                source=source,
            )
            if self.offer(event):
                return
        except Exception:  # noqa: BLE001, S110 - a log call does not raise; it is counted below
            pass
        self._failed[ident] += 1


class BoundLogger(structlog.BoundLoggerBase):
    """structlog's bound logger with the usual methods, writing events without a LogRecord.

    `bind`, `unbind`, `new` and `try_unbind` are structlog's. The methods with an ``a`` in front (``ainfo``)
    do the same without leaving the event loop: handing over an event takes microseconds and never waits.
    """

    _logger: NativeLogger

    def debug(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at DEBUG."""
        if self._logger.enabled(10):
            self._emit("debug", event, args, fields, _frame(1))

    def info(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at INFO."""
        if self._logger.enabled(20):
            self._emit("info", event, args, fields, _frame(1))

    def warning(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at WARNING."""
        if self._logger.enabled(30):
            self._emit("warning", event, args, fields, _frame(1))

    def error(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at ERROR."""
        if self._logger.enabled(40):
            self._emit("error", event, args, fields, _frame(1))

    def critical(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at CRITICAL."""
        if self._logger.enabled(50):
            self._emit("critical", event, args, fields, _frame(1))

    def exception(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at ERROR with the exception being handled."""
        if self._logger.enabled(40):
            fields.setdefault("exc_info", True)
            self._emit("error", event, args, fields, _frame(1))

    def log(self, level: int, event: object = None, *args: object, **fields: object) -> None:
        """Log at a level given by number."""
        if self._logger.enabled(level):
            self._emit(_method(level), event, args, fields, _frame(1))

    async def adebug(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at DEBUG."""
        if self._logger.enabled(10):
            self._emit("debug", event, args, fields, _frame(1))

    async def ainfo(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at INFO."""
        if self._logger.enabled(20):
            self._emit("info", event, args, fields, _frame(1))

    async def awarning(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at WARNING."""
        if self._logger.enabled(30):
            self._emit("warning", event, args, fields, _frame(1))

    async def aerror(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at ERROR."""
        if self._logger.enabled(40):
            self._emit("error", event, args, fields, _frame(1))

    async def acritical(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at CRITICAL."""
        if self._logger.enabled(50):
            self._emit("critical", event, args, fields, _frame(1))

    async def aexception(self, event: object = None, *args: object, **fields: object) -> None:
        """Log at ERROR with the exception being handled."""
        if self._logger.enabled(40):
            fields.setdefault("exc_info", True)
            self._emit("error", event, args, fields, _frame(1))

    async def alog(self, level: int, event: object = None, *args: object, **fields: object) -> None:
        """Log at a level given by number."""
        if self._logger.enabled(level):
            self._emit(_method(level), event, args, fields, _frame(1))

    warn, msg, err, fatal = warning, info, error, critical
    awarn, amsg, afatal = awarning, ainfo, acritical

    def is_enabled_for(self, level: int) -> bool:
        """Tell whether `level` would be logged."""
        return self._logger.enabled(level)

    def get_effective_level(self) -> int:
        """Return the level from which on this logger logs."""
        return logging.getLogger(self._logger.name).getEffectiveLevel()

    def _emit(
        self, method: str, event: object, args: tuple[object, ...], given: dict[str, object], frame: FrameType
    ) -> None:
        fields: Any = {**self._context, **given}
        if _bound_anywhere:
            merge_contextvars(None, method, fields)
        message = _interpolate(event, args)
        if self._processors:
            fields["event"] = message
            try:
                for processor in self._processors:
                    fields = processor(self._logger, method, fields)
            except structlog.DropEvent:
                return
            except Exception:  # noqa: BLE001 - a foreign processor; what it was to take out must not go out
                self._logger.count_failure()
                return
            if not isinstance(fields, dict):
                fields = {"event": fields}
            message = _text(fields.pop("event", message))
        exc_info = _exc_info(fields.pop("exc_info")) if "exc_info" in fields else None
        if "stacklevel" in fields:
            frame = _above(frame, fields.pop("stacklevel"))
        stack = _stack(frame) if "stack_info" in fields and _is_true(fields.pop("stack_info")) else None
        self._logger.write(method.upper(), message, fields, exc_info, _source(frame, stack))


def configure_structlog(
    target: ForwardHandler | Outlet | None = None,
    builder: EventBuilder | None = None,
    *,
    native: bool = True,
    processors: Sequence[Callable[..., Any]] = (),
    cache: bool = True,
) -> None:
    """Make structlog's loggers write events.

    Native: `target` is the handler whose outlet and builder are used, or an outlet, with a `builder`. Not
    native: structlog logs through the standard library's loggers, whose handlers take it from there; `target`
    is not needed. `cache` is structlog's `cache_logger_on_first_use`. Raises ValueError when the builder is
    missing.
    """
    if not native:
        structlog.configure(
            processors=[merge_contextvars, *processors, to_record],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=lambda *args: logging.getLogger(_logger_name(args)),
            context_class=dict,
            cache_logger_on_first_use=cache,
        )
        return
    if isinstance(target, ForwardHandler):
        outlet: Outlet | None = target.outlet
        builder = builder or target.builder
    else:
        outlet = target
    if outlet is None or builder is None:
        raise ValueError("configure_structlog: give a ForwardHandler, or an outlet and a builder")
    ready, events, failed = outlet, builder, Tally()

    def make(*args: object) -> NativeLogger:
        return NativeLogger(_logger_name(args), ready, events, failed)

    structlog.configure(
        processors=list(processors),
        wrapper_class=BoundLogger,
        logger_factory=make,
        context_class=dict,
        cache_logger_on_first_use=cache,
    )


def _logger_name(args: tuple[object, ...]) -> str:
    return str(args[0]) if args else _find_first_app_frame_and_name(["logferry"])[1]


def to_record(logger: object, _method_name: str, event_dict: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Turn structlog's event dict into the keywords of a standard library log call (a last processor)."""
    special: dict[str, Any] = {
        name: event_dict.pop(name) for name in ("exc_info", "stack_info", "stacklevel") if name in event_dict
    }
    if "exc_info" in special:
        special["exc_info"] = _exc_info(special["exc_info"])
    if "stack_info" in special:
        special["stack_info"] = _is_true(special["stack_info"])
    if "stacklevel" in special and type(special["stacklevel"]) is not int:
        del special["stacklevel"]
    if not isinstance(logger, structlog.stdlib._FixedFindCallerLogger):  # noqa: SLF001 - it skips frames itself
        special["stacklevel"] = special.get("stacklevel", 1) - 1 + _structlog_frames(_frame(1))
    message = _text(event_dict.pop("event", ""))
    if not _TAKEN.isdisjoint(event_dict):
        event_dict = {_Beside(name) if name in _TAKEN else name: v for name, v in event_dict.items()}
    return {"msg": message, "extra": event_dict, **special}


def _structlog_frames(frame: FrameType | None) -> int:
    """Count structlog's frames below the application's: as many levels up is the caller."""
    count = 0
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "structlog":
        frame = frame.f_back
        count += 1
    return count


def _text(event: object) -> str:
    if type(event) is str:
        return event
    return "" if event is None else safe_repr(event, str)


def _interpolate(event: object, args: tuple[object, ...]) -> str:
    message = _text(event)
    if not args:
        return message
    try:
        return message % (args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args)
    except _THROUGH:
        raise
    except BaseException:  # noqa: BLE001 - the wrong number of arguments, or a foreign __str__
        return message


def _exc_info(value: object) -> object:
    if issubclass(type(value), BaseException):
        return type(value), value, value.__traceback__  # type: ignore[attr-defined]  # an exception has one
    if type(value) is tuple:
        return value
    return sys.exc_info() if _is_true(value) else None


def _is_true(value: object) -> bool:
    """Tell whether `value` is true; what cannot say so is taken for true, as any object is."""
    try:
        return bool(value)
    except _THROUGH:
        raise
    except BaseException:  # noqa: BLE001 - a foreign __bool__ or __len__
        return True


def _method(level: int) -> str:
    for bound, name in ((50, "critical"), (40, "error"), (30, "warning"), (20, "info")):
        if level >= bound:
            return name
    return "debug"


def _above(frame: FrameType, stacklevel: object) -> FrameType:
    """Return the frame that the standard library's `stacklevel` means (1: this one)."""
    left = stacklevel if type(stacklevel) is int else 1
    while left > 1 and frame.f_back is not None:
        frame, left = frame.f_back, left - 1
    return frame


def _stack(frame: FrameType) -> str:
    """Return the stack as the standard library's `stack_info` has it."""
    return "Stack (most recent call last):\n" + "".join(format_stack(frame)).rstrip("\n")


def _source(frame: FrameType, stack: str | None) -> dict[str, object]:
    code = frame.f_code
    names = _code_names.get(code)
    if names is None:
        if len(_code_names) >= _CODES:  # code that is made anew all the time must not be kept for ever
            _code_names.clear()
        names = _code_names[code] = (PurePath(code.co_filename).stem, code.co_name)
    source: dict[str, object] = {
        "module": names[0],
        "function": names[1],
        "line": frame.f_lineno,
        "process": getpid(),
        "thread": current_thread().name,
    }
    if stack is not None:
        source["stack_info"] = stack
    _add_task(source)
    return source


def _add_task(source: dict[str, object]) -> None:
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop in this thread
            return
        if task is not None:
            source["task"] = task.get_name()
