"""Scheduled and background work: its beginning, its end, and what of it failed.

    with job("invoices.send") as run:                  # also `async with`, also `@job("invoices.send")`
        for order in orders:
            with run.item(order.id):                   # counted; what it raises is noted and goes no further
                send(order)

Rules
- Logged by ``logferry.job``: an event of `kind` ``job_start``, and one of `kind` ``job`` at the end with the
  name as `job`, `items_done`, `items_failed`, `failed_ids` (the first hundred), `started`, `duration_ms`,
  `failed`. INFO; ERROR when an item failed or the job itself did, then with its traceback.
- A job has ids of its own, bound while it runs: a new trace, or a child of the span in force. What is begun
  in it is its child. Nothing bound inside remains afterwards.
- An exception of the job goes on to its caller. Cancelled is not failed: `ended_by` says it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from . import context
from .clock import stamp
from .each_call import each_call
from .levels import JOB
from .spans import Span, active_span, set_active
from .tracing import new_span_id, new_trace_id

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

__all__ = ["Job", "current_job", "job"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_FAILED_IDS: Final = 100

_log: Final = logging.getLogger(JOB)
_current: Final[ContextVar[Job | None]] = ContextVar("logferry_job", default=None)


def current_job() -> Job | None:
    """Return the job that runs here: for a decorated function, which is given none."""
    return _current.get()


class Job:
    """A job that runs. `done` and `failed` count; the ids of what failed are kept, the first hundred."""

    __slots__ = ("_begun", "done_count", "failed_count", "failed_ids", "name", "started")

    def __init__(self, name: str) -> None:
        self.name = name
        self.done_count = 0
        self.failed_count = 0
        self.failed_ids: list[object] = []
        self.started = stamp(None)
        self._begun = perf_counter()

    def done(self, count: int = 1) -> None:
        """Count what went well."""
        self.done_count += count

    def failed(self, item: object, error: BaseException | None = None) -> None:
        """Count what failed, keep its id, and log `error` as a WARNING with its traceback."""
        self.failed_count += 1
        if len(self.failed_ids) < MAX_FAILED_IDS:
            self.failed_ids.append(item)
        if error is not None:
            extra = {"job": self.name, "item": item}
            _log.warning("%s: an item failed", self.name, exc_info=error, extra=extra)

    @contextmanager
    def item(self, item: object) -> Iterator[None]:
        """Do one item: counted as done, or as failed when it raises an `Exception`, which ends here."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever an item's work raises
            self.failed(item, error)
        else:
            self.done()

    @property
    def duration_ms(self) -> float:
        """How long it has run, in milliseconds."""
        return round((perf_counter() - self._begun) * 1000, 3)


class job:  # noqa: N801 - reads as a function: `with job(...)`, `@job(...)`
    """A job around a block, or around each call of a function, plain or async.

    Every keyword is a field that all events of the job carry. Entering returns the `Job`.
    """

    __slots__ = ("_entered", "_fields", "_name")

    def __init__(self, name: str, /, **fields: object) -> None:
        self._name = name
        self._fields = fields
        self._entered: list[tuple[Job, AbstractContextManager[Any], Any, Span | None]] = []

    def __enter__(self) -> Job:
        around = context.get_trace_context()
        trace_id = around.trace_id or new_trace_id()
        ids = context.TraceContext(trace_id, new_span_id(), around.span_id if around.trace_id else "")
        inside = context.isolated(**self._fields)
        inside.__enter__()
        context.put_trace(ids)
        made = Job(self._name)
        self._entered.append((made, inside, _current.set(made), active_span()))
        extra = {"kind": "job_start", "job": made.name, "started": made.started}
        _log.info("%s begins", made.name, extra=extra)
        return made

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        made, inside, token, around = self._entered.pop()
        try:
            _tell(made, error)
        finally:
            _current.reset(token)
            set_active(around)  # whatever the job began and never ended
            inside.__exit__(None, None, None)

    async def __aenter__(self) -> Job:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F, /) -> F:
        """Make each call of `function` a job. Raises TypeError for a generator."""
        return each_call(function, lambda: job(self._name, **self._fields), "job")


def _tell(run: Job, error: BaseException | None) -> None:
    raised = error if isinstance(error, Exception) else None
    failed = raised is not None or run.failed_count > 0
    extra: dict[str, object] = {
        "kind": "job",
        "job": run.name,
        "items_done": run.done_count,
        "items_failed": run.failed_count,
        "started": run.started,
        "duration_ms": run.duration_ms,
        "failed": failed,
    }
    if run.failed_ids:
        extra["failed_ids"] = list(run.failed_ids)
    if error is not None and raised is None:
        extra["ended_by"] = type(error).__name__
    words = "%s failed: %d done, %d failed" if failed else "%s ended: %d done, %d failed"
    level = logging.ERROR if failed else logging.INFO
    _log.log(level, words, run.name, run.done_count, run.failed_count, exc_info=raised, extra=extra)
