"""What the handlers of other libraries have in common here: a record whose event has been made already.

The event is made in the thread of the log call, where the context (trace, bound fields) is. What the library
then does with the record (queues, threads, its own formatting) cannot change it, and finds no argument or
exception in it.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING

from ..filters import untouched

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Made", "event_of", "made_record"]


class Made(str):
    """An event line, in the place of a record's message."""

    __slots__ = ()


def made_record(record: logging.LogRecord, render: Callable[[logging.LogRecord], str]) -> logging.LogRecord:
    """Return a copy of the record whose message is its event, as `render` makes it."""
    if isinstance(record.msg, Made):
        return record
    made = copy.copy(record)
    made.msg = Made(render(untouched(record)))
    made.args = made.exc_info = made.exc_text = made.stack_info = None
    return made


def event_of(record: logging.LogRecord) -> str | None:
    """Return the event that a record holds; None when none was made."""
    return record.msg if isinstance(record.msg, Made) else None
