"""What is bound within a request, for the steps of an answer that is made when the request has been left.

    inside = Inside()                     # before `exchange.leave()`
    with inside: data = next(steps)       # one step; what it binds is there at the next one

Between two steps the thread is the server's, and as it was: no field, no span and no header of the request is
left in it. The steps may be taken in another thread, one after another.
"""

from __future__ import annotations

from types import TracebackType

from .. import context
from ..propagation import CARRIED
from ..spans import Span, active_span, set_active
from ..tracing import Incoming

__all__ = ["Inside"]


class Inside:
    """Keeps what is bound where it is made."""

    __slots__ = ("_around", "_carried", "_fields", "_span")

    def __init__(self) -> None:
        self._fields = context.raw()
        self._carried = CARRIED.get()
        self._span = active_span()
        self._around: tuple[context.Fields, Incoming | None, Span | None] | None = None

    def __enter__(self) -> None:
        self._around = (context.raw(), CARRIED.get(), set_active(self._span))
        context.restore(self._fields)
        CARRIED.set(self._carried)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        around, self._around = self._around, None
        if around is not None:
            fields, carried, span = around
            self._fields, self._carried, self._span = context.raw(), CARRIED.get(), set_active(span)
            context.restore(fields)
            CARRIED.set(carried)
