"""One exception, one event: a server's second word on what an access event holds is not made an event.

Servers and frameworks log an exception that passes through them, outside the request's trace and without its
body. `tell_once` marks loggers that do; for an exception that `hold` was called with

- a handler that has got the access event does not get the server's record;
- every other handler (the server's own file, its console) gets it as if nothing were there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from ..levels import ACCESS

__all__ = ["REQUEST", "hold", "is_held", "tell_once"]

REQUEST: Final = "logferry.request"
_HELD: Final = "__logferry_told__"  # an attribute of exceptions that an event holds


def hold(error: BaseException) -> None:
    """Note that an event tells of this exception."""
    with suppress(Exception):  # it may refuse attributes; then it is logged twice
        setattr(error, _HELD, True)


def is_held(error: object) -> bool:
    """Tell whether an event tells of this exception."""
    return isinstance(error, BaseException) and _HELD in BaseException.__getattribute__(error, "__dict__")


def tell_once(*names: str) -> None:
    """Mark loggers by name; again and again is once."""
    for name in names:
        logging.getLogger(name).addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if not is_held(error):
        return True
    reached = {id(handler) for handler in _handlers(ACCESS)}
    for handler in _handlers(record.name):
        if id(handler) not in reached and record.levelno >= handler.level:
            handler.handle(record)
    return False


def _handlers(name: str) -> Iterator[logging.Handler]:
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None
