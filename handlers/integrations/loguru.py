"""A sink for loguru: ``logger.add(LoguruSink(outlet, builder))``.

Rules
- The event is made from loguru's record, not from its formatted text; its own format and colours don't
  matter.
- loguru's TRACE becomes DEBUG and SUCCESS becomes INFO; other levels of one's own fall to the next lower one.
- Never raises and never waits: what could not be handed over is counted in `failed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..forward import is_suppressed

if TYPE_CHECKING:
    from ..outlet import Outlet
    from ..record import EventBuilder

__all__ = ["LoguruSink"]


class LoguruSink:
    """Hands what loguru logs to `outlet` as events made by `builder`."""

    def __init__(self, outlet: Outlet, builder: EventBuilder) -> None:
        self._offer = outlet.offer
        self._compose = builder.compose
        self.failed = 0

    def __call__(self, message: Any) -> None:
        """Take one message (a `str` of loguru's with the attribute `record`)."""
        if is_suppressed():
            return
        try:
            record = message.record
            error = record["exception"]
            made = self._compose(
                level=_level(record["level"].no),
                message=record["message"],
                logger=record["name"] or "",
                timestamp=record["time"].timestamp(),
                fields=record["extra"],
                exc_info=None if error is None else (error.type, error.value, error.traceback),
                source={
                    "module": record["module"],
                    "function": record["function"],
                    "line": record["line"],
                    "process": record["process"].id,
                    "thread": record["thread"].name,
                },
            )
            if not self._offer(made):
                self.failed += 1
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a log call does not raise
            self.failed += 1


def _level(number: int) -> str:
    if number >= 50:
        return "CRITICAL"
    if number >= 40:
        return "ERROR"
    if number >= 30:
        return "WARNING"
    return "INFO" if number >= 20 else "DEBUG"
