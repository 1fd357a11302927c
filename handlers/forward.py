"""The handler that hands events to an outlet, and the marks that keep the pipeline out of its own stream.

Rules
- No lock, no I/O, no wait: filter, build, offer. Nothing but a BaseException (an interrupt) leaves `handle`.
- What could not be handed over is counted: `refused` (the outlet said no, and counted it too), `failed`
  (a defect in a filter, the builder or the outlet), `nested` (logged too deep inside another log call).
- Feedback: a thread under `suppressed` (a sink's worker and what its client logs) forwards nothing. The set
  of thread ids is only a quick pre-check; the truth is thread-local, because ids are reused when threads end.
- The garbage collector runs finalisers in whatever thread allocates, in a suppressed one too: what these log
  is the application's, and forwarded.
- Re-entrance: a `__repr__`, an outlet, a signal handler or a finaliser may log while a record is being built.
  Such a record is forwarded like any other, `DEPTH` deep; deeper down without arguments and extras, which
  calls no foreign code and so ends the recursion; twice as deep it is counted as `nested` and dropped.
- After a fork the child begins without marks: those threads are not there any more.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .outlet import Outlet
    from .record import EventBuilder

__all__ = [
    "BUSY",
    "DEPTH",
    "SUPPRESSED",
    "ForwardHandler",
    "Tally",
    "ascend",
    "descend",
    "is_suppressed",
    "suppress_thread",
    "suppressed",
]

DEPTH: Final = 4

# Idents of threads that forward nothing, and of those inside a log call.
SUPPRESSED: Final[set[int]] = set()
BUSY: Final[set[int]] = set()


class _Marks(threading.local):
    """This thread's marks: how often it is suppressed, if garbage is collected in it, how deep it logs."""

    suppressed = 0
    collecting = False
    depth = 0


_marks: Final = _Marks()


def _after_fork() -> None:
    """Keep only the marks of the thread that forked (and is the child's only one)."""
    BUSY.clear()
    SUPPRESSED.clear()
    _marks.depth = 0
    if _marks.suppressed:
        SUPPRESSED.add(get_ident())


os.register_at_fork(after_in_child=_after_fork)


def suppress_thread() -> None:
    """Forward nothing that this thread logs from here on, to its end."""
    if _note_collecting not in gc.callbacks:
        gc.callbacks.append(_note_collecting)
    _marks.suppressed += 1
    SUPPRESSED.add(get_ident())


def _note_collecting(phase: str, _info: object) -> None:
    if get_ident() in SUPPRESSED:
        _marks.collecting = phase == "start"


@contextmanager
def suppressed() -> Iterator[None]:
    """Forward nothing that this thread logs inside the block."""
    suppress_thread()
    try:
        yield
    finally:
        _marks.suppressed -= 1
        if not _marks.suppressed:
            SUPPRESSED.discard(get_ident())


def descend() -> int:
    """Begin to handle a record on a marked thread: how deep this is (from 1), or 0 when it is suppressed.

    For those who reach the outlet without a `ForwardHandler`. What began with a depth ends with `ascend`.
    """
    if is_suppressed():
        return 0
    if not _marks.suppressed:
        SUPPRESSED.discard(get_ident())  # left by a thread that has ended; its id is ours now
    _marks.depth += 1
    return _marks.depth


def ascend() -> None:
    """End what `descend` began."""
    _marks.depth -= 1


def is_suppressed() -> bool:
    """Tell whether this thread is suppressed."""
    return _marks.suppressed > 0 and not _marks.collecting


class Tally(dict[int, int]):
    """A counter without a lock: each thread adds under its own key, so no increment is lost."""

    __slots__ = ()

    def __missing__(self, key: int) -> int:
        return 0

    def total(self) -> int:
        """Return the sum over all threads."""
        return sum(self.copy().values())


class ForwardHandler(logging.Handler):
    """Hands each record to `outlet` as an event line made by `builder`.

    Safe to call from any thread, signal handler and finaliser. A formatter has no effect: events are made by
    the builder.
    """

    def __init__(self, outlet: Outlet, builder: EventBuilder, level: int | str = logging.NOTSET) -> None:
        super().__init__(level)
        self.outlet = outlet
        self.builder = builder
        self._offer = outlet.offer
        self._build = builder.build
        self._refused = Tally()
        self._failed = Tally()
        self._nested = Tally()

    def createLock(self) -> None:  # noqa: N802 - the standard library's name
        """Have no lock: nothing here needs one, and a forked child could inherit it held."""
        self.lock = None

    @property
    def refused(self) -> int:
        """Events that the outlet refused."""
        return self._refused.total()

    @property
    def failed(self) -> int:
        """Records lost to an exception in a filter, the builder or the outlet."""
        return self._failed.total()

    @property
    def nested(self) -> int:
        """Records dropped because they were logged too deep inside another log call."""
        return self._nested.total()

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter, build, offer. Never raises, never waits. True when the record was not filtered."""
        ident = get_ident()
        if ident in BUSY or ident in SUPPRESSED:
            return self._handle_marked(record, ident)
        try:
            BUSY.add(ident)
            if self.filters:
                return self._forward(record, ident)
            if not self._offer(self._build(record)):
                self._refused[ident] += 1
        except Exception:  # noqa: BLE001 - whatever it was, a log call does not raise
            self._failed[ident] += 1
        finally:
            BUSY.discard(ident)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Forward the record; for those who call `emit` themselves."""
        self.handle(record)

    def _forward(self, record: logging.LogRecord, ident: int) -> bool:
        try:
            if self.filters:
                verdict = self.filter(record)
                if not verdict:
                    return False
                if isinstance(verdict, logging.LogRecord):  # since Python 3.12 a filter may replace it
                    record = verdict  # type: ignore[unreachable]  # unknown to 3.11's stubs
            if not self._offer(self._build(record)):
                self._refused[ident] += 1
        except Exception:  # noqa: BLE001 - whatever it was, a log call does not raise
            self._failed[ident] += 1
        return True

    def _handle_marked(self, record: logging.LogRecord, ident: int) -> bool:
        """Handle what a marked thread logs: nothing when it is suppressed, bounded when it is nested."""
        depth = descend()
        if not depth:
            return False
        try:
            if depth > 2 * DEPTH:
                self._nested[ident] += 1
                return True
            return self._forward(record if depth <= DEPTH else _bare(record), ident)
        finally:
            ascend()


def _bare(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record without anything whose text would have to be asked for."""
    message = record.msg if type(record.msg) is str else f"<{type(record.msg).__name__}>"
    bare = logging.LogRecord(
        record.name, record.levelno, record.pathname, record.lineno, message, None, None, record.funcName
    )
    bare.created, bare.levelname = record.created, record.levelname
    return bare
