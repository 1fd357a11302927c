"""logferry: logs that arrive, with an account of every record.

    import logging, logferry
    logferry.configure("logferry.yaml")
    logging.getLogger(__name__).info("order created", extra={"order_id": 42})

The names below are loaded when they are first used: importing `logferry` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .handlers.calls import external
    from .handlers.context import bind, bound, clear, get_trace_context, set_trace_context, unbind
    from .handlers.jobs import job
    from .handlers.spans import finish_span, span, start_span
    from .shipper.lifecycle import Handler, configure, flush, shutdown

    __version__: str

__all__ = [
    "Handler",
    "__version__",
    "bind",
    "bound",
    "clear",
    "configure",
    "external",
    "finish_span",
    "flush",
    "get_trace_context",
    "job",
    "set_trace_context",
    "shutdown",
    "span",
    "start_span",
    "unbind",
]

_CONTEXT = ("bind", "bound", "clear", "get_trace_context", "set_trace_context", "unbind")
_SPANS = ("finish_span", "span", "start_span")
_LIFECYCLE = ("Handler", "configure", "flush", "shutdown")


def __getattr__(name: str) -> Any:
    """Load a public name."""
    if name in _CONTEXT:
        value = getattr(import_module(".handlers.context", __name__), name)
    elif name == "job":
        from .handlers.jobs import job as value
    elif name == "external":
        from .handlers.calls import external as value
    elif name in _SPANS:
        value = getattr(import_module(".handlers.spans", __name__), name)
    elif name in _LIFECYCLE:
        value = getattr(import_module(".shipper.lifecycle", __name__), name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("logferry")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
