"""Celery: the trace from whoever calls a task to the worker that runs it, and on to what the task calls.

    from logferry.handlers.integrations import celery as traced
    traced.install()                                  # where the application is made: for callers and workers

Rules
- The trace travels in the message's headers, so that countdowns, ETAs, retries, chains, groups and chords
  keep it: whatever a task publishes it publishes in its own context. A retry's parent is the run that
  asked for it.
- A task's run is one context: its trace, a span, `task_name` and `task_id`; nothing remains afterwards. Who
  calls eagerly (`apply`, `task_always_eager`) finds his own context as it was.
- A task that nobody's trace has called (beat) begins one.
- The worker's processes leave with `os._exit`: before that the pipeline is shut down, as at the end of any
  other program; else each would be told as dead.
- What the worker's main process says of a task (received, out of time, killed) is in the task's trace, too
  (`_celery_worker.py`), where neither the application nor the task has a strategy or a request of its own.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any, Final

from .. import carry, context
from ..tracing import parse_traceparent
from ._needs import missing

try:
    from celery import Task, signals
except ImportError as error:
    raise missing("celery", "celery", error) from error

__all__ = ["install", "uninstall"]

# The runs that are open here, the innermost last: eager tasks run inside their caller.
_running: Final[ContextVar[tuple[carry.Received, ...]]] = ContextVar("logferry_celery", default=())
_NAMES: Final = ("traceparent", "tracestate", "x-request-id", "x-trace-id")


def _publish(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is None:  # a protocol 1 message: its headers are not the task's
        return
    ours = carry.sent()
    theirs = parse_traceparent(str(headers.get("traceparent", "")))
    if theirs is not None and theirs.trace_id == context.get_trace_context().trace_id:
        headers.update(ours)  # a retry's message is made from the one before: its parent would be too old
    else:
        carry.inject_headers(headers, ours)


def _begin(task_id: str = "", task: Any = None, **_: Any) -> None:
    request = task.request
    if getattr(request, "is_eager", False):
        headers: dict[str, Any] = dict(carry.sent())
    else:
        headers = {name: value for name in _NAMES if (value := request.get(name)) is not None}
        headers = headers or dict(getattr(request, "headers", None) or {})
    fields = {"task_name": task.name, "task_id": task_id}
    run = carry.Received(carry.extract_headers(headers), f"celery {task.name}", fields)
    run.begin()
    _running.set((*_running.get(), run))


def _end(retval: Any = None, state: str | None = None, **_: Any) -> None:
    running = _running.get()
    if running:
        _running.set(running[:-1])
        running[-1].end(retval if state == "FAILURE" and isinstance(retval, BaseException) else None)


def _leave(**_: Any) -> None:
    shipping = sys.modules.get("logferry.shipper.lifecycle")
    if shipping is not None:
        shipping.shutdown()


_HOOKS: Final = (
    (signals.before_task_publish, _publish),
    (signals.task_prerun, _begin),
    (signals.task_postrun, _end),
    (signals.worker_process_shutdown, _leave),
)

# Where the worker's main process handles a task: Celery's own name, and ours in its place.
_OURS: Final = "logferry.handlers.integrations._celery_worker:"
_PARTS: Final = {
    "Strategy": ("celery.worker.strategy:default", f"{_OURS}strategy"),
    "Request": ("celery.worker.request:Request", f"{_OURS}TraceRequest"),
}


def install() -> None:
    """Carry the trace for every task of the process."""
    for name, (theirs, ours) in _PARTS.items():
        if getattr(Task, name, None) == theirs:
            setattr(Task, name, ours)
    for signal, hook in _HOOKS:
        signal.connect(hook, weak=False, dispatch_uid=f"logferry-{hook.__name__}")


def uninstall() -> None:
    """Undo `install`."""
    for name, (theirs, ours) in _PARTS.items():
        if getattr(Task, name, None) == ours:
            setattr(Task, name, theirs)
    for signal, hook in _HOOKS:
        signal.disconnect(hook, dispatch_uid=f"logferry-{hook.__name__}")
