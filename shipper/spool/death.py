"""The death notice of a process that left its spool without saying so. Read-only.

Open requests are those whose ids were seen in the last events without what ends them: a request's access
event, a message's or a task's span. Only the end of the spool is looked at (`BYTES`): a request is not open
for longer than that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from ..core.framing import EVENT, MANY, SHUTDOWN, beside
from .directory import Home
from .scan import first_of, frames

__all__ = ["DeathNotice", "death_of"]

BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class DeathNotice:
    """Process `pid` of `service` died without shutdown; its last event has the time stamp `last_event`."""

    spool: str
    pid: int
    service: str
    last_event: str
    open_requests: tuple[str, ...]


class _Event(msgspec.Struct):
    timestamp: str = ""
    request_id: str = ""
    trace_id: str = ""
    kind: str = ""
    span_kind: str = ""

    def ends(self) -> bool:
        """Tell whether it is the last word on its request here."""
        return self.kind == "access" or (self.kind == "span" and self.span_kind == "consumer")


_decoder = msgspec.json.Decoder(_Event)


def _events(payload: bytes) -> Iterator[_Event]:
    for line in payload.split(b"\n"):
        with suppress(msgspec.MsgspecError):
            yield _decoder.decode(line)


def _newest(home: Home, limit: int) -> list[int]:
    """Return the newest segments that hold `limit` bytes together, in order."""
    numbers: list[int] = []
    size = 0
    for number in reversed(home.numbers()):
        segment = home.open(number)
        if segment is not None:
            size += segment.size()
            segment.close()
            numbers.insert(0, number)
        if size >= limit:
            break
    return numbers


def death_of(home: Home, limit: int = BYTES) -> DeathNotice | None:
    """Return the notice for a dead owner's spool; None when it was shut down or never held an event.

    Nor of one that was no application: a late spool is no process of its own, and a delivery process's own
    spool holds the deaths of others.
    """
    owner = home.owner
    if owner.late or owner.delivery == "courier":
        return None
    open_requests: dict[str, None] = {}
    last, seen = "", False
    for number in _newest(home, limit):
        seen = seen or first_of(home, number) > 1  # those before are delivered, and their segments gone
        for frame, block, _ in frames(home, number):
            if frame.kind == SHUTDOWN:
                return None
            if frame.kind != EVENT and frame.kind not in MANY:
                continue
            seen = True
            for event in _events(block[beside(block, frame)[1] : frame.stop]):
                last = event.timestamp or last
                request = event.request_id or event.trace_id
                if request and event.ends():
                    open_requests.pop(request, None)
                elif request:
                    open_requests[request] = None
    if not seen:
        return None
    return DeathNotice(home.id, owner.pid, owner.service, last, tuple(open_requests))
