"""The values that pass between spool, worker and sinks. No I/O, no decisions.

Event line: one JSON object in UTF-8 without a line break (`bytes`).
Sequence: an event's number in its spool, from 1, without gaps as the writer counts.
Event id: `<spool id, 32 hex digits>-<sequence>`; the same for every sink and every retry. An event that comes
out of another pipeline (Kafka) carries the id that it had there, at the front of its line, and keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

__all__ = [
    "ID_FRONT",
    "Account",
    "Batch",
    "Beside",
    "Delivered",
    "Limits",
    "Partial",
    "Refusal",
    "Rejected",
    "Retry",
    "Split",
    "Verdict",
    "carried_id",
    "carry",
    "event_id",
    "uncarried",
    "writer_of",
]


def event_id(spool: str, sequence: int) -> str:
    """Return the id of the event `sequence` of spool `spool` (32 hex digits)."""
    return f"{spool}-{sequence}"


def writer_of(spool: str) -> int:
    """Return the writer's number of spool `spool`, 0 to 255: what its last two digits say.

    Spools that a service has in one place at the same time have different ones, up to 256 of them
    (`shipper/spool/supply.py`). A store that must tell writers apart has few names for them, used again.
    """
    return int(spool[-2:], 16)


ID_FRONT: Final = b'{"event_id":"'
"""How a line begins that carries its id with it, because it had one before it came into this spool."""

_BEHIND_IDS: Final = ID_FRONT[:-1] + bytes([ID_FRONT[-1] + 1])
"""The first bytes that come behind all lines with an id, as bytes are ordered."""


def carried_id(line: bytes) -> str:
    """Return the id that a line carries; empty: it has none of its own."""
    if not line.startswith(ID_FRONT):
        return ""
    found = line[len(ID_FRONT) : line.find(b'"', len(ID_FRONT))].decode("ascii", "replace")
    return found if found.rpartition("-")[2].isdecimal() else ""


def carry(lines: Sequence[bytes]) -> bool:
    """Say whether any line may carry an id of its own (see `ID_FRONT`)."""
    # The usual lines begin with their timestamp: then all of them come behind those that carry an id.
    if min(lines, default=_BEHIND_IDS) >= _BEHIND_IDS:
        return False
    return any(line.startswith(ID_FRONT) for line in lines)


def uncarried(line: bytes, own: str) -> bytes:
    """Return a line without the id `own` that it carries."""
    return b"{" + line[len(ID_FRONT) + len(own) + 2 :]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one batch of a sink may hold. The worker never builds a larger one.

    `max_bytes` counts event lines plus `overhead` bytes for each. An event that alone exceeds
    `max_event_bytes` is not sent: it becomes a dead letter. `max_age` (seconds) is how long the oldest
    event of a batch may wait for company.
    """

    max_events: int = 5_000
    max_bytes: int = 1_000_000
    max_event_bytes: int = 1_000_000
    max_age: float = 0.2
    overhead: int = 0


class Beside(NamedTuple):
    """What was written beside `size` lines, from sequence `first` on: packed columns (`core/columns.py`)."""

    first: int
    size: int
    columns: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one spool in order; `lines[i]` has the sequence `sequences[i]`.

    `longest`: no line has more bytes; 0: that is not known. `beside` says what was written beside some of the
    lines, in order; the first and the last may reach beyond the batch.
    """

    spool: str
    sequences: Sequence[int]
    lines: Sequence[bytes]
    attempt: int = 1
    longest: int = 0
    beside: Sequence[Beside] = ()

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def carries(self) -> bool:
        """Whether any line carries an id of its own (see `ID_FRONT`)."""
        return carry(self.lines)

    def event_id(self, index: int) -> str:
        """Return the id of the event at `index`: its own, which it came with, or that of its place here."""
        return carried_id(self.lines[index]) or event_id(self.spool, self.sequences[index])


@dataclass(frozen=True, slots=True)
class Delivered:
    """All of the batch is stored; `duplicates` of it had been stored before."""

    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """Nothing was stored, or it is safe to send again. `after` seconds, when the server said so.

    `pause` marks what a human must mend (credentials, quota, blocked ingestion): retried at the slowest
    pace, never dropped, and shown as the sink's state.
    """

    reason: str
    after: float | None = None
    pause: bool = False


@dataclass(frozen=True, slots=True)
class Rejected:
    """The server will never take it: a dead letter with `reason`.

    `own`: the server named this event, for something that only gets worse with waiting (its age). Any number
    of those is no sign of a server that refuses everything.
    """

    reason: str
    own: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """The batch was too large for the server: send it again in halves. A single event is rejected."""

    reason: str


Refusal: TypeAlias = Retry | Rejected


@dataclass(frozen=True, slots=True)
class Partial:
    """Some events were refused, by index in the batch; all others are stored."""

    refused: Mapping[int, Refusal]
    duplicates: int = 0


Verdict: TypeAlias = Delivered | Retry | Rejected | Split | Partial


@dataclass(slots=True)
class Account:
    """One sink's books. `accepted = delivered + pending + dead_lettered + filtered + dropped`, always.

    `retried` (events sent again), `duplicates` and `replayed` (dead letters that were delivered afterwards)
    stand beside the identity, not in it: what a worker decided is history, and no figure ever falls.
    """

    accepted: int = 0
    delivered: int = 0
    pending: int = 0
    dead_lettered: int = 0
    filtered: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    retried: int = 0
    duplicates: int = 0
    replayed: int = 0

    @property
    def balance(self) -> int:
        """Accepted less everything accounted for: 0, or records are missing (or counted twice)."""
        known = self.delivered + self.pending + self.dead_lettered
        return self.accepted - known - sum(self.filtered.values()) - sum(self.dropped.values())

    def add(self, other: Account) -> None:
        """Add another account's figures to this one."""
        self.accepted += other.accepted
        self.delivered += other.delivered
        self.pending += other.pending
        self.dead_lettered += other.dead_lettered
        self.retried += other.retried
        self.duplicates += other.duplicates
        self.replayed += other.replayed
        for mine, theirs in ((self.filtered, other.filtered), (self.dropped, other.dropped)):
            for reason, count in theirs.items():
                mine[reason] = mine.get(reason, 0) + count
