"""The death notice of a process that left its spool without saying so. Read-only.

Open requests are those whose ids were seen in the last events without the access event that ends a request. Only
the end of the spool is looked at (`BYTES`): a request is not open for longer than that.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from ..core.framing import EVENT, LINES, SHUTDOWN
from .directory import Home
from .scan import frames

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


def death_of(home: Home, limit: int = BYTES) -> DeathNotice | None:
    """Return the notice for a dead owner's spool; None when it was shut down or never held an event."""
    numbers: list[int] = []
    size = 0
    for number in reversed(home.numbers()):
        segment = home.open(number)
        if segment is None:
            continue
        size += segment.size()
        segment.close()
        numbers.insert(0, number)
        if size >= limit:
            break
    decoder = msgspec.json.Decoder(_Event)
    open_requests: dict[str, None] = {}
    last, seen = "", False
    for number in numbers:
        for frame, block, _ in frames(home, number):
            if frame.kind == SHUTDOWN:
                return None
            if frame.kind not in (EVENT, LINES):
                continue
            seen = True
            for line in block[frame.start + frame.prefix : frame.stop].split(b"\n"):
                try:
                    event = decoder.decode(line)
                except msgspec.MsgspecError:
                    continue
                last = event.timestamp or last
                request = event.request_id or event.trace_id
                if request and event.kind == "access":
                    open_requests.pop(request, None)
                elif request:
                    open_requests[request] = None
    if not seen:
        return None
    owner = home.owner
    return DeathNotice(home.id, owner.pid, owner.service, last, tuple(open_requests))
