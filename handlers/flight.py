"""The flight recorder: a request's lines below the level are held, and shipped only if the request fails.

Full detail of what went wrong, nothing of what went right.

Rules

- The root logger lets through what the recorder wants; what is below the level that was asked for is held
  instead of forwarded. A logger with a level of its own keeps it: what it lets through is shipped as ever,
  what it stops is not held either.
- A request is what its `request_id` says, else its `trace_id`. Lines outside of any request are not held.
- It fails with the first record at ERROR or above, or with an access event that says `failed`. What was held
  is then shipped in order, before that record, each line marked `flight_recorder: true`; what follows below
  the level is shipped at once. The access event ends the request, and what is still held is forgotten.
- A line is made into an event (redacted, in the bounds) when it is logged: what an object says later is not
  what it said then. Lines are bounded for each request (the newest stay) and for all requests together (the
  oldest request goes first); what a failed request lost this way is said in an event of its own.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import OrderedDict, deque
from typing import Final

from . import context
from .levels import overridden
from .outlet import Outlet
from .record import EventBuilder

__all__ = ["BelowLevel", "FlightRecorder"]

LINES: Final = 500  # of one request
REQUEST_BYTES: Final = 512 * 1024
TOTAL_BYTES: Final = 16 * 1024 * 1024
REQUESTS: Final = 10_000  # that have lines held or have failed


def _has_level_of_its_own(name: str) -> bool:
    """Tell whether a logger's level is set on it or below the root, or on the root in the running process."""
    if "" in overridden:
        return True
    found = logging.root.manager.loggerDict.get(name)
    while isinstance(found, logging.Logger) and found is not logging.root:
        if found.level:
            return True
        found = found.parent
    return False


class BelowLevel(logging.Filter):
    """Stops what only the flight recorder wants to see: for the other handlers of the root logger."""

    def __init__(self, level: int) -> None:
        super().__init__()
        self.level = level

    def filter(self, record: logging.LogRecord) -> bool:
        """Let through what is at or above the level, or comes from a logger with a level of its own."""
        return record.levelno >= self.level or _has_level_of_its_own(record.name)


class _Request:
    __slots__ = ("dropped", "failed", "lines", "size")

    def __init__(self) -> None:
        self.lines: deque[bytes] = deque()
        self.size = 0
        self.dropped = 0
        self.failed = False


class FlightRecorder(logging.Filter):
    """A filter for the `ForwardHandler`: holds what is below `level`, and ships it when its request fails.

    `builder` makes the held lines, `outlet` takes them. The bounds are lines and bytes.
    """

    def __init__(
        self,
        level: int,
        builder: EventBuilder,
        outlet: Outlet,
        *,
        lines: int = LINES,
        request_bytes: int = REQUEST_BYTES,
        total_bytes: int = TOTAL_BYTES,
        requests: int = REQUESTS,
    ) -> None:
        super().__init__()
        self.level = level
        self._builder = builder
        self._outlet = outlet
        self._bounds = (lines, request_bytes, total_bytes, requests)
        self._lock = threading.RLock()  # a signal handler that logs comes in again
        self._requests: OrderedDict[str, _Request] = OrderedDict()
        self._size = 0
        _all.add(self)

    @property
    def held(self) -> int:
        """Lines that are held now."""
        with self._lock:
            return sum(len(request.lines) for request in self._requests.values())

    def filter(self, record: logging.LogRecord) -> bool:
        """Hold the record (False), or let it through and see whether it decides its request's fate."""
        if record.levelno < self.level and not _has_level_of_its_own(record.name):
            self._hold(record)
            return False
        kind = record.__dict__.get("kind")
        if record.levelno >= logging.ERROR or (kind == "access" and record.__dict__.get("failed") is True):
            self._fail(ends=kind == "access")
        elif kind == "access" and self._requests:
            self._forget(_key())
        return True

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self._requests.clear()
        self._size = 0

    def _hold(self, record: logging.LogRecord) -> None:
        key = _key()
        if not key:
            return
        marked = logging.makeLogRecord(record.__dict__)
        marked.__dict__["flight_recorder"] = True
        line = self._builder.build(marked)
        with self._lock:
            request = self._requests.get(key)
            if request is None:
                request = self._requests[key] = _Request()
            if not request.failed:
                request.lines.append(line)
                request.size += len(line)
                self._size += len(line)
                self._bound(request)
                return
        self._outlet.offer(line)

    def _bound(self, request: _Request) -> None:
        """Let the oldest lines go where a bound is passed. The lock is held."""
        lines, request_bytes, total_bytes, requests = self._bounds
        while len(request.lines) > lines or request.size > request_bytes:
            gone = len(request.lines.popleft())
            request.size -= gone
            self._size -= gone
            request.dropped += 1
        while len(self._requests) > requests:
            self._forget(next(iter(self._requests)))
        while self._size > total_bytes:
            key, oldest = self._requests.popitem(last=False)
            self._size -= oldest.size
            oldest.dropped += len(oldest.lines)
            oldest.lines.clear()
            oldest.size = 0
            self._requests[key] = oldest  # if it fails it says what it lost

    def _fail(self, *, ends: bool) -> None:
        key = _key()
        if not key:
            return
        with self._lock:
            request = self._requests.get(key)
            if request is None:
                request = self._requests[key] = _Request()
            request.failed = True
            lines, dropped = list(request.lines), request.dropped
            self._size -= request.size
            request.lines.clear()
            request.size = request.dropped = 0
            if ends:
                del self._requests[key]
            self._bound(request)
        if dropped:
            text = (
                f"the flight recorder kept the last {len(lines)} lines of this request, {dropped} came before"
            )
            fields = {"flight_recorder": True, "dropped": dropped}
            name = "logferry.flight_recorder"
            self._outlet.offer(self._builder.compose(level="INFO", message=text, logger=name, fields=fields))
        for line in lines:
            self._outlet.offer(line)

    def _forget(self, key: str) -> None:
        with self._lock:
            request = self._requests.pop(key, None)
            if request is not None:
                self._size -= request.size


def _key() -> str:
    fields = context.current()
    key = fields.get("request_id") or fields.get("trace_id")
    return key if isinstance(key, str) else ""


_all: weakref.WeakSet[FlightRecorder] = weakref.WeakSet()


def _after_fork() -> None:
    """Begin anew in a forked child: requests and locks are the parent's."""
    for recorder in list(_all):
        recorder._after_fork()  # noqa: SLF001 - the module's own hook


os.register_at_fork(after_in_child=_after_fork)
