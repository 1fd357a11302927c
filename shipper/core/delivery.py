"""A batch in flight: what a sink's verdict means and what is to be done next. Pure, one machine per sink.

    begin(batch) ──▶ part() ── send ──▶ settle(verdict) ──▶ None: part() again, or done
                       ▲                     │
                       └──── after it ◀── Wait(seconds)

Rules

- Each event of the batch ends in exactly one of: delivered, dead letter (reason), filtered (reason), dropped
  (reason). Nothing leaves the machine before that; what is settled leaves it in order, as a prefix.
- Order: what must be sent again goes before what has not been sent yet.
- `Delivered` settles the part, `Retry` sends it again later, `Partial` settles what was not refused and
  keeps only what may be tried again, `Split` halves it (a single event becomes a dead letter).
- `Rejected` for a part of several events halves it too: a sink that cannot say which event the server minded
  must not lose the good ones with the bad. A single rejected event is a dead letter.
- A sink that rejects everything is paused, not drained into the dead letters: after `patience` wholly
  rejected parts with nothing stored in between, only single events are tried, ever more slowly, until one is
  stored. (Each such probe that is rejected becomes a dead letter: one poisonous event must not stop a sink
  for ever.) What is rejected for a matter of its `own`, such as its age, does not count: a backlog of events
  that have become too old is dead-lettered as fast as the server names them.
- A verdict that makes no sense (a wrong type, indexes outside the batch) is a defect of the sink and counts
  as `Retry`: nothing is lost by somebody's mistake.
- What is delivered costs nothing per event here: only what is refused is looked at one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..model import Batch, Delivered, Limits, Partial, Refusal, Rejected, Retry, Split, Verdict
from .retry import Backoff

__all__ = ["Delivery", "Fate", "Settled", "Wait"]

Kind: TypeAlias = Literal["dead", "filtered", "dropped"]


@dataclass(frozen=True, slots=True)
class Fate:
    """Where an event ends that is not delivered, and why."""

    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Send `part()` again in `seconds`. `paused`: a human has to mend what `reason` says."""

    seconds: float
    reason: str
    paused: bool = False


@dataclass(slots=True)
class Settled:
    """Events in order, up to and with sequence `upto`, that need nothing more but to be committed.

    `fates` holds those that were not delivered, as (index in the batch, fate).
    """

    upto: int
    delivered: int
    fates: list[tuple[int, Fate]]
    retried: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Indexes of the batch that are sent together."""

    indexes: Sequence[int]
    attempt: int = 1


@dataclass(slots=True)
class Delivery:
    """The state of one sink's delivery. Not thread-safe: one worker owns it."""

    backoff: Backoff = field(default_factory=Backoff)
    patience: int = 5
    _batch: Batch | None = None
    _parts: deque[_Part] = field(default_factory=deque)
    _fates: dict[int, Fate] = field(default_factory=dict)
    _taken: int = 0  # events of the batch that have left as settled
    _failures: int = 0  # sends in a row without anything stored or settled
    _rejections: int = 0  # wholly rejected parts since something was stored
    _retried: int = 0
    _duplicates: int = 0

    @property
    def batch(self) -> Batch | None:
        """The batch in flight."""
        return self._batch

    @property
    def done(self) -> bool:
        """True when every event of the batch is settled."""
        return not self._parts

    @property
    def failures(self) -> int:
        """Sends in a row that stored nothing."""
        return self._failures

    @property
    def suspicious(self) -> bool:
        """True while the sink rejects everything and is only probed."""
        return self._rejections >= self.patience

    def begin(self, batch: Batch, limits: Limits, decided: Mapping[int, Fate]) -> None:
        """Take a batch. `decided` are the events (by index) that are not to be sent, with their fates."""
        if not self.done:
            raise RuntimeError("a batch is in flight already")
        self._batch, self._taken, self._fates = batch, 0, dict(decided)
        self._retried = self._duplicates = 0
        largest = min(limits.max_event_bytes, limits.max_bytes) - limits.overhead
        if (batch.longest or max(map(len, batch.lines), default=0)) > largest:
            for index, line in enumerate(batch.lines):
                if len(line) > largest and index not in self._fates:
                    reason = f"larger than the sink takes: {len(line)} bytes, at most {largest}"
                    self._fates[index] = Fate("dead", reason)
        size = len(batch)
        rest: Sequence[int] = range(size)
        if self._fates:
            rest = [index for index in rest if index not in self._fates]
        self._parts = deque([_Part(rest)] if rest else [])

    def abandon(self) -> None:
        """Forget the batch: what has not left as settled will be read again."""
        self._batch, self._taken = None, 0
        self._parts.clear()
        self._fates.clear()

    def part(self) -> Batch:
        """Return what is to be sent now."""
        assert self._batch is not None
        part = self._parts[0]
        if self.suspicious and len(part.indexes) > 1:
            self._parts.popleft()
            self._parts.appendleft(_Part(part.indexes[1:], part.attempt))
            part = _Part(part.indexes[:1], part.attempt)
            self._parts.appendleft(part)
        whole = self._batch
        if len(part.indexes) == len(whole) and part.attempt == 1:
            return whole
        return Batch(
            whole.spool,
            [whole.sequences[i] for i in part.indexes],
            [whole.lines[i] for i in part.indexes],
            part.attempt,
        )

    def settle(self, verdict: Verdict, chance: float) -> Wait | None:
        """Take the verdict on `part()`; return how long to wait before the next one (None: go on at once).

        `chance` is random in [0, 1).
        """
        part = self._parts.popleft()
        match verdict:
            case Delivered():
                self._stored(verdict.duplicates)
                return None
            case Partial() if _sound(verdict, len(part.indexes)):
                return self._partial(part, verdict, chance)
            case Rejected() | Split() if len(part.indexes) > 1:
                half = len(part.indexes) // 2
                self._again(_Part(part.indexes[half:], part.attempt + 1))
                self._again(_Part(part.indexes[:half], part.attempt + 1))
                return None
            case Rejected() | Split():
                own = isinstance(verdict, Rejected) and verdict.own
                return self._partial(part, Partial({0: Rejected(verdict.reason, own)}), chance)
            case Retry():
                return self._retry(part, verdict, chance)
        defect = Retry(f"the sink answered what it may not: {verdict!r}"[:200])
        return self._retry(part, defect, chance)

    def take(self) -> Settled | None:
        """Return what has been settled since the last call, in order from the front; None: nothing new."""
        batch = self._batch
        if batch is None:
            return None
        end = min((part.indexes[0] for part in self._parts), default=len(batch))
        if end <= self._taken:
            return None
        fates = sorted(
            ((i, fate) for i, fate in self._fates.items() if self._taken <= i < end), key=lambda pair: pair[0]
        )
        settled = Settled(
            upto=batch.sequences[end - 1],
            delivered=end - self._taken - len(fates),
            fates=fates,
            retried=self._retried,
            duplicates=self._duplicates,
        )
        self._taken, self._retried, self._duplicates = end, 0, 0
        return settled

    def _again(self, part: _Part) -> None:
        self._retried += len(part.indexes)
        self._parts.appendleft(part)

    def _stored(self, duplicates: int) -> None:
        self._duplicates += duplicates
        self._failures = self._rejections = 0

    def _retry(self, part: _Part, verdict: Retry, chance: float) -> Wait:
        self._failures += 1
        self._again(_Part(part.indexes, part.attempt + 1))
        seconds = self.backoff.delay(self._failures, chance, after=verdict.after, pause=verdict.pause)
        return Wait(seconds, verdict.reason, verdict.pause)

    def _partial(self, part: _Part, verdict: Partial, chance: float) -> Wait | None:
        retries: list[tuple[int, Retry]] = []
        rejected = ""
        for position, refusal in sorted(verdict.refused.items()):
            index = part.indexes[position]
            if isinstance(refusal, Retry):
                retries.append((index, refusal))
            else:
                rejected = _reason(refusal)
                self._fates[index] = Fate("dead", rejected)
        if len(verdict.refused) < len(part.indexes):
            self._stored(verdict.duplicates)
        elif not retries and not all(isinstance(r, Rejected) and r.own for r in verdict.refused.values()):
            self._rejections += 1
        if retries:
            return self._retry(_Part([i for i, _ in retries], part.attempt), _worst(retries), chance)
        if self.suspicious:
            return Wait(
                self.backoff.delay(1, chance, pause=True), f"rejects everything: {rejected}", paused=True
            )
        return None


def _sound(verdict: Partial, size: int) -> bool:
    return all(i in range(size) and isinstance(r, Retry | Rejected) for i, r in verdict.refused.items())


def _reason(refusal: Refusal) -> str:
    return str(getattr(refusal, "reason", "")) or "rejected without a reason"


def _worst(retries: list[tuple[int, Retry]]) -> Retry:
    """Return one retry that honours all: the longest advice, and a pause when any of them asks for it."""
    advice = max((r.after for _, r in retries if r.after is not None), default=None)
    return Retry(retries[0][1].reason, after=advice, pause=any(r.pause for _, r in retries))
