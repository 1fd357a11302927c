"""For users' own tests: see the events that code under test has logged, as they would have been shipped.

    with logferry.handlers.testing.capture() as events:
        place_order()
    assert events.find(level="INFO", message="order created").order_id == 42

Rules
- Events are decoded from the very bytes that an outlet would get: redaction and schema included.
- `capture` puts levels and handlers back as they were.
- With pytest the fixture `logferry_events` does the same around a test.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

import orjson

from .formatter import make_builder
from .forward import ForwardHandler

if TYPE_CHECKING:
    from .record import EventBuilder

__all__ = ["Events", "MemoryOutlet", "capture"]


class MemoryOutlet:
    """An outlet that keeps what it is offered; `accept` False makes it refuse everything."""

    def __init__(self, *, accept: bool = True) -> None:
        self.accept = accept
        self.lines: list[bytes] = []
        self.refused = 0

    def offer(self, event: bytes, /) -> bool:
        """Keep the line, or refuse it."""
        if self.accept:
            self.lines.append(event)
        else:
            self.refused += 1
        return self.accept


class Events:
    """The events captured so far, oldest first; a sequence of dicts that grows while code logs."""

    def __init__(self, outlet: MemoryOutlet) -> None:
        self._outlet = outlet
        self._decoded: list[dict[str, Any]] = []

    def _all(self) -> list[dict[str, Any]]:
        lines = self._outlet.lines
        self._decoded.extend(orjson.loads(line) for line in lines[len(self._decoded) :])
        return self._decoded

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(list(self._all()))

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self._all()[index]

    def __repr__(self) -> str:
        return "\n".join(f"{event.get('level')} {event.get('message')}" for event in self) or "(no events)"

    @property
    def messages(self) -> list[str]:
        """The messages, in order."""
        return [event["message"] for event in self]

    @property
    def lines(self) -> list[bytes]:
        """The event lines as an outlet got them."""
        return list(self._outlet.lines)

    def where(self, **fields: object) -> list[dict[str, Any]]:
        """Return the events whose fields equal all of `fields`."""
        missing = object()
        return [
            event
            for event in self
            if all(event.get(name, missing) == value for name, value in fields.items())
        ]

    def find(self, **fields: object) -> dict[str, Any]:
        """Return the one event whose fields equal all of `fields`; AssertionError when there is not one."""
        found = self.where(**fields)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} events with {fields}; captured were:\n{self!r}")
        return found[0]

    def clear(self) -> None:
        """Forget what was captured."""
        self._outlet.lines.clear()
        self._decoded.clear()


@contextmanager
def capture(
    logger: str | logging.Logger | None = None,
    *,
    level: int | str = logging.DEBUG,
    builder: EventBuilder | None = None,
    **options: Any,
) -> Iterator[Events]:
    """Capture what is logged to `logger` (default: the root logger) inside the block.

    `builder`, or `options` as in `make_builder` (`service`, `environment`, `schema`, `redact`). The logger's
    level is `level` meanwhile.
    """
    target = logger if isinstance(logger, logging.Logger) else logging.getLogger(logger)
    outlet = MemoryOutlet()
    handler = ForwardHandler(
        outlet, builder or make_builder(**{"service": "test", "environment": "test", **options})
    )
    before = target.level
    target.addHandler(handler)
    target.setLevel(level)
    try:
        yield Events(outlet)
    finally:
        target.setLevel(before)
        target.removeHandler(handler)
        handler.close()
