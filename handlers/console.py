"""Events for human eyes: time, level, message first; then known fields, then the rest as key=value.

Rules
- What is shown is the event, so it is redacted like everything else.
- Control characters, line breaks and terminal sequences in content are shown escaped, never sent to the
  terminal; only a traceback keeps its line breaks.
- Colours only on a terminal, never under ``NO_COLOR`` or ``TERM=dumb``; always under ``FORCE_COLOR``.
- What repeats on every line (service, environment, host, process, source) is left out.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from logging import Formatter
from typing import IO, TYPE_CHECKING, Any, Final

import orjson

from .filters import untouched
from .formatter import make_builder

if TYPE_CHECKING:
    import logging

    from .record import EventBuilder

__all__ = ["ConsoleFormatter", "render", "wants_colour"]

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_COLOURS: Final[Mapping[str, str]] = {
    "DEBUG": "\x1b[36m",
    "INFO": "\x1b[32m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;31m",
}
# C0 and C1 controls, line and paragraph separators, and what reorders text (bidirectional overrides).
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_CONTROL_IN_LINES: Final = re.compile(_CONTROL.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_HIDDEN: Final = frozenset(
    {
        *("timestamp", "level", "message", "service", "environment", "version", "host", "process", "thread"),
        *("task", "module", "function", "line", "error", "error_pattern", "event_id", "duration_le"),
        *("span_id", "parent_id", "failed"),
    }
)
_FIRST: Final = ("kind", "status_code", "duration_ms", "method", "path", "endpoint")
_LAST: Final = ("logger", "trace_id")
_MESSAGE_WIDTH: Final = 44


def wants_colour(stream: IO[Any] | None, environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether output to `stream` should be coloured."""
    env = os.environ if environ is None else environ
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR"):
        return True
    try:
        return stream is not None and stream.isatty() and env.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


class ConsoleFormatter(Formatter):
    """Shows records on a terminal.

    `colour` None: decided by `stream` (standard error by default) and the environment. `builder`, or
    `options` as in `make_builder`.
    """

    def __init__(
        self,
        *,
        colour: bool | None = None,
        stream: IO[Any] | None = None,
        builder: EventBuilder | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.builder = builder or make_builder(**options)
        self._colour = wants_colour(stream or sys.stderr) if colour is None else colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, followed by its traceback if it has one."""
        return render(orjson.loads(self.builder.build(untouched(record))), colour=self._colour)


def render(event: Mapping[str, Any], *, colour: bool = False) -> str:
    """Return a decoded event as one line for people, followed by its traceback if it has one."""
    level = _plain(event.get("level", ""))
    message = _plain(event.get("message", ""))
    time = _plain(event.get("timestamp", ""))[11:23]
    fields = _fields(event)
    padded = message.ljust(_MESSAGE_WIDTH) if fields else message
    if not colour:
        line = f"{time} {level:<8} {padded}" + "".join(f" {name}={value}" for name, value in fields)
    else:
        tone = _COLOURS.get(level, "")
        line = f"{_DIM}{time}{_RESET} {tone}{level:<8}{_RESET} {padded}"
        line += "".join(f" {_DIM}{name}={_RESET}{value}" for name, value in fields)
    return line.rstrip() + "".join(f"\n{text}" for text in _error(event.get("error")))


def _fields(event: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = [name for name in _FIRST if name in event]
    names += [name for name in event if not (name in _HIDDEN or name in _FIRST or name in _LAST)]
    names += [name for name in _LAST if event.get(name)]
    return [(_plain(name), _value(event[name])) for name in names]


def _value(value: Any) -> str:
    if isinstance(value, str):
        text = _plain(value)
        return f'"{text}"' if not text or " " in text or "=" in text else text
    return _plain(orjson.dumps(value, default=str).decode())


def _error(error: Any) -> list[str]:
    if not isinstance(error, Mapping):
        return []
    stack = error.get("stack")
    if isinstance(stack, str) and stack:
        return [_CONTROL_IN_LINES.sub(_escape, stack.rstrip("\n"))]
    words = [_plain(error[name]) for name in ("type", "message") if error.get(name)]
    return ["  " + ": ".join(words)] if words else []


def _plain(value: Any) -> str:
    return _CONTROL.sub(_escape, str(value))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
