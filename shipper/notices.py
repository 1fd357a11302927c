"""What the pipeline itself puts into the log stream: deaths, and levels that somebody changed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..handlers.record import EventBuilder
    from .spool.death import DeathNotice

__all__ = ["death_notice", "level_notice"]

_OPEN_REQUESTS: Final = 100  # of those that a process left, so many are named


def death_notice(death: DeathNotice, *, service: bool = False) -> tuple[str, dict[str, Any]]:
    """Return text and fields of a death; with the `service` where it may be another one than ours."""
    fields = {
        "kind": "death",
        "died_process": death.pid,
        **({"died_service": death.service} if service else {}),
        "last_event": death.last_event,
        "open_requests": list(death.open_requests[:_OPEN_REQUESTS]),
        "spool": death.spool,
    }
    return f"process {death.pid} died without shutdown", fields


def level_notice(builder: EventBuilder, logger: str, level: int, until: float | None) -> bytes:
    """Return the event that says that a logger has another level, or the one it had before."""
    end = "" if until is None else f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}"
    text = f"level of {logger} is {logging.getLevelName(level)}{end}"
    return builder.compose(level="INFO", message=text, logger="logferry.level", fields={"kind": "level"})
