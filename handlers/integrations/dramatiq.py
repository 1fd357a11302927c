"""Dramatiq: the trace from whoever sends a message to the worker that runs its actor.

    from logferry.handlers.integrations.dramatiq import TraceMiddleware
    broker.add_middleware(TraceMiddleware())

A run is one context: its trace, a span, `task_name` and `task_id`; nothing remains afterwards. Retries,
delays and pipelines keep the trace.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

from .. import carry
from ._needs import missing

try:
    import dramatiq
except ImportError as error:
    raise missing("dramatiq", "dramatiq", error) from error

__all__ = ["TraceMiddleware"]

_OPTION: Final = "logferry"  # a message's option that holds its headers
_running: Final[ContextVar[carry.Received | None]] = ContextVar("logferry_dramatiq", default=None)


class TraceMiddleware(dramatiq.Middleware):
    """For `Broker.add_middleware`, in the process that sends and in the workers."""

    def before_worker_boot(self, broker: Any, worker: Any) -> None:  # noqa: ARG002 - dramatiq names them
        """Become the outermost one: what others send after a run (retries, pipelines) is still part of it."""
        broker.middleware.remove(self)
        broker.middleware.insert(0, self)

    def before_enqueue(self, broker: Any, message: Any, delay: int | None) -> None:  # noqa: ARG002
        """Put the trace into a message that has none yet: a retry keeps its own."""
        message.options.setdefault(_OPTION, carry.sent())

    def before_process_message(self, broker: Any, message: Any) -> None:  # noqa: ARG002
        """Begin the message's context."""
        headers = message.options.get(_OPTION)
        incoming = carry.extract_headers(headers if isinstance(headers, dict) else None)
        fields = {"task_name": message.actor_name, "task_id": message.message_id}
        run = carry.Received(incoming, f"dramatiq {message.actor_name}", fields)
        run.begin()
        _running.set(run)

    def after_process_message(
        self,
        broker: Any,  # noqa: ARG002
        message: Any,  # noqa: ARG002
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        """Forget it."""
        run = _running.get()
        if run is not None:
            _running.set(None)
            run.end(exception)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        """Forget it, too: it was not run."""
        self.after_process_message(broker, message)
