"""What runs inside an application: from a logging call to one line of JSON bytes, offered to an `Outlet`.

The names below are loaded when they are first used: importing `logferry.handlers` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .adapter import LoggerAdapter
    from .calls import external
    from .carry import extract_headers, from_environ, inject_headers, received, to_environ
    from .console import ConsoleFormatter
    from .context import bind, bound, clear, current, get_trace_context, set_trace_context, unbind, wrap
    from .filters import TraceFilter
    from .formatter import JsonFormatter
    from .forward import ForwardHandler, suppressed
    from .integrations.loguru import LoguruSink
    from .integrations.structlog import configure_structlog
    from .jobs import Job, current_job, job
    from .outlet import Outlet, Violation
    from .record import EventBuilder, Redaction
    from .redaction import Redactor
    from .schema import FIELDS, Field, Schema
    from .spans import Span, finish_span, span, start_span
    from .stream import JsonHandler

__all__ = [
    "FIELDS",
    "ConsoleFormatter",
    "EventBuilder",
    "Field",
    "ForwardHandler",
    "Job",
    "JsonFormatter",
    "JsonHandler",
    "LoggerAdapter",
    "LoguruSink",
    "Outlet",
    "Redaction",
    "Redactor",
    "Schema",
    "Span",
    "TraceFilter",
    "Violation",
    "bind",
    "bound",
    "clear",
    "configure_structlog",
    "current",
    "current_job",
    "external",
    "extract_headers",
    "finish_span",
    "from_environ",
    "get_trace_context",
    "inject_headers",
    "job",
    "received",
    "set_trace_context",
    "span",
    "start_span",
    "suppressed",
    "to_environ",
    "unbind",
    "wrap",
]

_HOMES: Final = {
    ".adapter": ("LoggerAdapter",),
    ".calls": ("external",),
    ".carry": ("extract_headers", "from_environ", "inject_headers", "received", "to_environ"),
    ".console": ("ConsoleFormatter",),
    ".context": (
        *("bind", "bound", "clear", "current", "get_trace_context", "set_trace_context", "unbind", "wrap"),
    ),
    ".filters": ("TraceFilter",),
    ".formatter": ("JsonFormatter",),
    ".forward": ("ForwardHandler", "suppressed"),
    ".integrations.loguru": ("LoguruSink",),
    ".integrations.structlog": ("configure_structlog",),
    ".jobs": ("Job", "current_job", "job"),
    ".outlet": ("Outlet", "Violation"),
    ".record": ("EventBuilder", "Redaction"),
    ".redaction": ("Redactor",),
    ".schema": ("FIELDS", "Field", "Schema"),
    ".spans": ("Span", "finish_span", "span", "start_span"),
    ".stream": ("JsonHandler",),
}


def __getattr__(name: str) -> Any:
    """Load a public name."""
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(home, __name__), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
