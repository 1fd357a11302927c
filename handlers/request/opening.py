"""That a request is open, told where it matters: before the first span inside it says the same of itself.

The access event comes at a request's end. Of a process that is killed before it, a collector has the spans
inside the request, and would have a tree without a root; from this event it knows the root, and closes it as
unfinished. A request without spans leaves no hole, and costs no second event.

It refers to nothing of the request but texts: a task that outlives the request holds it.
"""

from __future__ import annotations

import logging
from time import time
from typing import Final

from .. import context
from ..clock import stamp
from ..levels import ACCESS, SPAN

__all__ = ["Opening"]

_log: Final = logging.getLogger(SPAN)
_access_log: Final = logging.getLogger(ACCESS)


class Opening:
    """Tells it once, unless the request is `over`. `fields` are those with the request's ids."""

    __slots__ = ("_fields", "_method", "_path", "_since", "over")

    def __init__(self, method: str, path: str, fields: context.Fields) -> None:
        self._method = method
        self._path = path
        self._fields = fields
        self._since = time()
        self.over = False

    def tell(self) -> None:
        """Log it. Without access events nobody would ever say that the request has ended."""
        if self.over or not (_log.isEnabledFor(logging.INFO) and _access_log.isEnabledFor(logging.INFO)):
            return
        self.over = True
        extra = {
            "kind": "span_start",
            "span_kind": "server",
            "started": stamp(self._since),
            "method": self._method,
            "path": self._path,
        }
        here = context.raw()
        context.restore(self._fields)
        try:
            # A record without a search for its caller: nobody but us logs here.
            make = logging.getLogRecordFactory()
            arguments = (self._method, self._path)
            record = make(SPAN, logging.INFO, __file__, _LINE, "%s %s", arguments, None, "tell")
            record.__dict__.update(extra)
            _log.handle(record)
        finally:
            context.restore(here)


_LINE: Final = Opening.tell.__code__.co_firstlineno
