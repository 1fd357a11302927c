"""asyncio: errors that nobody waits for, callbacks that block the loop, and tasks in the background.

    install()                                    # in the running loop, once
    background(send_mail(order), name="mail")    # a task whose end is always logged

Rules
- `install` chains: a loop's exception handler and task factory that were there before still have their say.
  `uninstall` puts them back.
- An exception that nobody retrieved is one ERROR with the task's name, where it was created, and the fields
  that were bound there. What `background` has logged already is not logged again.
- A callback that holds the loop for longer than `slow_ms` is a WARNING in the context of that callback. It
  needs the standard library's loop: others run their callbacks themselves; for them only the loop's lag is
  seen (`logferry.handlers.integrations.prometheus`).
- What is known of a task (creation, context) is kept with the task and goes with it.
"""

# ruff: noqa: SLF001 - the loop's callbacks and the callers' frames have no public names

from __future__ import annotations

import asyncio
import asyncio.events
import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from .. import context
from ..plain import safe_repr
from .asyncio_tasks import TaskInfo, Waiting, note, noted, tasks_snapshot, waiting_counts

__all__ = [
    "TaskInfo",
    "Waiting",
    "background",
    "install",
    "tasks_snapshot",
    "uninstall",
    "waiting_counts",
]

T = TypeVar("T")
_Coroutine: TypeAlias = Coroutine[Any, Any, T] | Generator[Any, None, T]

_log: Final = logging.getLogger("logferry.asyncio")
_background: Final[set[asyncio.Task[Any]]] = set()


@dataclass(slots=True)
class _Installed:
    """What a loop had before, and what it has of us."""

    handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
    factory: Any
    slow: float


_loops: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, _Installed]] = WeakKeyDictionary()
# Seconds that a callback may take, by the id of the thread whose loop runs.
_slow: Final[dict[int, float]] = {}
_plain_run: Final = asyncio.events.Handle._run


def install(loop: asyncio.AbstractEventLoop | None = None, *, slow_ms: float | None = 100.0) -> None:
    """Watch a loop (by default the running one); `slow_ms` None: not its callbacks.

    A second call only sets that. Raises RuntimeError without a loop.
    """
    loop = loop or asyncio.get_running_loop()
    slow = float("inf") if slow_ms is None else slow_ms / 1000
    there = _loops.get(loop)
    if there is not None:
        there.slow = slow
    else:
        _loops[loop] = _Installed(loop.get_exception_handler(), loop.get_task_factory(), slow)
        loop.set_exception_handler(_on_exception)
        loop.set_task_factory(_make_task)
    if slow_ms is not None:
        asyncio.events.Handle._run = _timed_run  # type: ignore[method-assign,assignment]
    loop.call_soon_threadsafe(_know_thread, loop)


def uninstall(loop: asyncio.AbstractEventLoop | None = None) -> None:
    """Put back what the loop had before. Raises RuntimeError without a loop."""
    loop = loop or asyncio.get_running_loop()
    there = _loops.pop(loop, None)
    if there is None:
        return
    if loop.get_exception_handler() is _on_exception:
        loop.set_exception_handler(there.handler)
    if loop.get_task_factory() is _make_task:
        loop.set_task_factory(there.factory)
    if not any(one.slow < float("inf") for one in _loops.values()):
        asyncio.events.Handle._run = _plain_run  # type: ignore[method-assign]


def _know_thread(loop: asyncio.AbstractEventLoop) -> None:
    there = _loops.get(loop)
    if there is not None:
        _slow[threading.get_ident()] = there.slow


def _timed_run(handle: asyncio.Handle) -> None:
    begun = perf_counter()
    try:
        return _plain_run(handle)
    finally:
        took = perf_counter() - begun
        if took > 0.001 and took > _slow.get(threading.get_ident(), float("inf")):
            _tell_slow(handle, took)


def _tell_slow(handle: Any, took: float) -> None:
    try:
        loop = handle._loop
        there = _loops.get(loop)
        if there is None or took <= there.slow:
            return
        task = getattr(handle._callback, "__self__", None)
        extra: dict[str, object] = {"duration_ms": round(took * 1000, 3)}
        what = safe_repr(handle._callback)
        if isinstance(task, asyncio.Task):
            what = f"a step of task {task.get_name()}"
            extra["task_name"] = task.get_name()
            extra["coroutine"] = getattr(task.get_coro(), "__qualname__", "")
            created = noted(task)
            if created is not None:
                extra["created_at"] = created.where
        text = "the loop was held for %.0f ms by %s"
        handle._context.run(_log.warning, text, took * 1000, what, extra=extra)
    except Exception:  # noqa: BLE001, S110 - private parts of the loop: whatever changes there
        pass


def _make_task(loop: asyncio.AbstractEventLoop, coro: _Coroutine[T], **more: Any) -> asyncio.Future[T]:
    there = _loops.get(loop)
    factory = None if there is None else there.factory
    made = asyncio.Task(coro, loop=loop, **more) if factory is None else factory(loop, coro, **more)
    note(made, _creator(), monotonic(), context.current())
    return made


def _creator() -> str:
    """Return file, line and function of whoever makes a task: the first outside of asyncio and of us."""
    frame = sys._getframe(2)
    while frame.f_back is not None and (
        frame.f_globals.get("__name__", "").partition(".")[0] == "asyncio"
        or frame.f_code.co_filename == __file__
    ):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _on_exception(loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
    with suppress(Exception):  # the loop must go on
        _report(told)
    there = _loops.get(loop)
    if there is not None and there.handler is not None:
        there.handler(loop, told)


def _report(told: dict[str, Any]) -> None:
    future = told.get("task") or told.get("future")
    extra: dict[str, object] = {}
    fields: dict[str, object] = {}
    if isinstance(future, asyncio.Task):
        extra["task_name"] = future.get_name()
        extra["coroutine"] = getattr(future.get_coro(), "__qualname__", "")
        created = noted(future)
        if created is not None:
            extra["created_at"] = created.where
            fields = dict(created.fields)
    elif told.get("handle") is not None:
        extra["callback"] = safe_repr(told["handle"])
    error = told.get("exception")
    text = str(told.get("message") or "unhandled exception in the event loop")
    with context.isolated(**fields):
        _log.error("%s", text, exc_info=error if isinstance(error, BaseException) else None, extra=extra)


def background(
    coro: Coroutine[Any, Any, T],
    *,
    name: str | None = None,
    group: asyncio.TaskGroup | None = None,
    daemon: bool = False,
) -> asyncio.Task[T]:
    """Run a coroutine as a task that is kept until its end, and log that end in the context of this call.

    INFO when it is done or cancelled, ERROR with the traceback when it failed; with `duration_ms`. In a
    `group` the task is the group's, which is told of a failure as ever. `daemon`: it is meant to run for as
    long as the process; `tasks_snapshot` can leave it out. Raises RuntimeError without a running loop.
    """
    make = group.create_task if group is not None else asyncio.get_running_loop().create_task
    begun = perf_counter()
    task = make(coro, name=name)
    note(task, _caller(), monotonic(), context.current(), daemon=daemon)
    _background.add(task)
    task.add_done_callback(lambda ended: _tell_end(ended, begun), context=contextvars.copy_context())
    return task


def _caller() -> str:
    frame = sys._getframe(2)
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _tell_end(task: asyncio.Task[Any], begun: float) -> None:
    _background.discard(task)
    name = task.get_name()
    extra: dict[str, object] = {
        "task_name": name,
        "duration_ms": round((perf_counter() - begun) * 1000, 3),
        "failed": False,
    }
    if task.cancelled():
        _log.info("task %s was cancelled", name, extra={**extra, "ended_by": "CancelledError"})
        return
    error = task.exception()  # which counts as retrieved: the loop does not tell of it again
    if error is None:
        _log.info("task %s is done", name, extra=extra)
    else:
        _log.error("task %s failed", name, exc_info=error, extra={**extra, "failed": True})
