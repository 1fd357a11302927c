"""From which offset to read on, which messages are new, and what may be committed. Pure.

- `Place` is what stands in the spool with the last message of a partition: the offset after it, and the
  offset that the group had committed then.
- The group's offset says how far everybody's sinks are, the place how far this machine's spool is. What lies
  between is in the spool and will be delivered from there: reading goes on at the later of the two.
- Unless the group's offset is behind the one that the place knew: then somebody set it back to read again,
  and means it. A group without an offset where the place knew one was forgotten: it begins anew.
- An offset below the expected one has been taken already: a message is taken once.
- An event's id that was seen a moment ago is the same event, sent twice by an agent that was killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

__all__ = ["NONE", "Partition", "Place", "Seen", "resume_at"]

NONE: Final = -1
"""No offset."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a partition is in this machine's spool, and how far the group was when that was written."""

    next: int
    committed: int = NONE

    def encode(self) -> bytes:
        """Return it as it stands in the spool."""
        return b"%d %d" % (self.next, self.committed)

    @classmethod
    def decode(cls, data: bytes) -> Place | None:
        """Read what `encode` wrote; None: it is something else."""
        parts = data.split(b" ")
        try:
            return cls(int(parts[0]), int(parts[1])) if len(parts) == 2 else None
        except ValueError:
            return None


def resume_at(place: Place | None, committed: int) -> int:
    """Return where to read on; `NONE`: where a group without an offset begins."""
    if place is None or committed < place.committed:
        return committed
    return max(place.next, committed)


@dataclass(slots=True)
class Partition:
    """One partition that is ours now: the next offset, what is committed, whether it is at its end."""

    next: int = NONE
    committed: int = NONE
    at_end: bool = False

    @property
    def dirty(self) -> bool:
        """Whether there is something to commit."""
        return self.next > max(self.committed, 0)


@dataclass(slots=True)
class Seen:
    """Ids seen of late: at least the last `size`, at most twice as many."""

    size: int = 32_768
    _fresh: set[bytes] = field(default_factory=set)
    _old: set[bytes] = field(default_factory=set)

    def __contains__(self, event: bytes) -> bool:
        return event in self._fresh or event in self._old

    def add(self, events: Iterable[bytes]) -> None:
        """Remember ids whose events have been appended."""
        self._fresh.update(events)
        if len(self._fresh) >= self.size:
            self._fresh, self._old = set(), self._fresh
