"""The handler that hands events to an outlet, and the marks that keep the pipeline out of its own stream.

Rules
- No lock, no I/O, no wait: filter, build, offer. Nothing but a BaseException (an interrupt) leaves `handle`.
- What could not be handed over is counted: `refused` (the outlet said no, and counted it too), `failed`
  (a defect in a filter, the builder or the outlet), `nested` (logged too deep inside another log call).
- Feedback: a thread under `suppressed` (a sink's worker and what its client logs) forwards nothing. The set of
  thread ids is only a quick pre-check; the truth is thread-local, because ids are reused when threads end.
- Re-entrance: a `__repr__`, an outlet, a signal handler or a finaliser may log while a record is being built.
  Such a record is forwarded like any other, `_DEPTH` deep; deeper down without arguments and extras, which
  calls no foreign code and so ends the recursion; twice as deep it is counted as `nested` and dropped.
- After a fork the child begins without marks: those threads are not there any more.
"""

from __future__ import annotations

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

__all__ = ["ForwardHandler", "suppress_thread", "suppressed"]

_DEPTH: Final = 4

_suppressed: Final[set[int]] = set()
_busy: Final[set[int]] = set()


class _Marks(threading.local):
    """This thread's marks: how often it is suppressed, and how deep it logs inside log calls."""

    suppressed = 0
    depth = 0


_marks: Final = _Marks()


def _after_fork() -> None:
    """Keep only the marks of the thread that forked (and is the child's only one)."""
    _busy.clear()
    _suppressed.clear()
    _marks.depth = 0
    if _marks.suppressed:
        _suppressed.add(get_ident())


os.register_at_fork(after_in_child=_after_fork)


def suppress_thread() -> None:
    """Forward nothing that this thread logs from here on, to its end."""
    _marks.suppressed += 1
    _suppressed.add(get_ident())


@contextmanager
def suppressed() -> Iterator[None]:
    """Forward nothing that this thread logs inside the block."""
    suppress_thread()
    try:
        yield
    finally:
        _marks.suppressed -= 1
        if not _marks.suppressed:
            _suppressed.discard(get_ident())


class _Tally(dict[int, int]):
    """A counter without a lock: each thread adds under its own key, so no increment is lost."""

    __slots__ = ()

    def __missing__(self, key: int) -> int:
        return 0

    def total(self) -> int:
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
        self._refused = _Tally()
        self._failed = _Tally()
        self._nested = _Tally()

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
        if ident in _busy or ident in _suppressed:
            return self._handle_marked(record, ident)
        try:
            _busy.add(ident)
            return self._forward(record, ident)
        finally:
            _busy.discard(ident)

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
        marks = _marks
        if marks.suppressed:
            return False
        _suppressed.discard(ident)  # left by a thread that has ended; its id is ours now
        if marks.depth >= 2 * _DEPTH:
            self._nested[ident] += 1
            return True
        if marks.depth >= _DEPTH:
            record = _bare(record)
        marks.depth += 1
        try:
            return self._forward(record, ident)
        finally:
            marks.depth -= 1


def _bare(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record without anything whose text would have to be asked for."""
    message = record.msg if type(record.msg) is str else f"<{type(record.msg).__name__}>"
    bare = logging.LogRecord(
        record.name, record.levelno, record.pathname, record.lineno, message, None, None, record.funcName
    )
    bare.created, bare.levelname = record.created, record.levelname
    return bare
