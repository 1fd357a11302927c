"""Decisions about segments: how large the next one is, which may go, and why events are missing. Pure.

Rules
- Segments begin at `SMALLEST` bytes and double up to `LARGEST`, or to an eighth of what the spool may take
  when that is less; an event that needs more gets a segment of its own size.
- A segment may go when every cursor's place lies in a later one. The newest segment never goes: it carries
  the sources' positions.
- Sequences are the truth: a hole between two sequences is a loss. What was evicted on purpose was written
  down before it went (`Evicted`, inclusive ranges in order); the rest of a hole has the reason the reader
  knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["LARGEST", "SMALLEST", "Evicted", "attribute", "deletable", "grown", "merged"]

SMALLEST = 64 * 1024
LARGEST = 8 * 1024 * 1024
_LEAST = 4096


@dataclass(frozen=True, slots=True)
class Evicted:
    """Events `first` to `last`, both inclusive, were given up for `reason`."""

    first: int
    last: int
    reason: str


def grown(previous: int, needed: int, max_bytes: int, room: int) -> int:
    """Return the next segment's size in bytes; 0 when it cannot be had.

    `previous` is the last segment's size (0: none), `needed` what the event at hand takes, header and reserve
    included, `max_bytes` the spool's bound and `room` what is left of it.
    """
    ceiling = min(LARGEST, max(_LEAST, max_bytes // 8))
    size = min(previous * 2 if previous else SMALLEST, ceiling)
    while size > room and size > _LEAST:
        size //= 2
    size = max(size, needed, _LEAST)
    return -(-size // _LEAST) * _LEAST if -(-size // _LEAST) * _LEAST <= room else 0


def deletable(segments: Iterable[int], places: Sequence[int]) -> list[int]:
    """Return which of `segments` (numbers) may go, when the cursors' places lie in the segments `places`."""
    known = sorted(segments)
    if not known or not places:
        return []
    behind = min(places)
    return [number for number in known[:-1] if number < behind]


def merged(ranges: Iterable[Evicted], keep: int = 64) -> list[Evicted]:
    """Return `ranges` in order with neighbours of one reason joined.

    Of more than `keep` the oldest are joined under the reason of the later one.
    """
    out: list[Evicted] = []
    for entry in sorted(ranges, key=lambda e: (e.first, e.last)):
        if entry.last < entry.first:
            continue
        if out and entry.reason == out[-1].reason and entry.first <= out[-1].last + 1:
            out[-1] = Evicted(out[-1].first, max(out[-1].last, entry.last), entry.reason)
        elif out and entry.first <= out[-1].last:
            if entry.last > out[-1].last:
                out.append(Evicted(out[-1].last + 1, entry.last, entry.reason))
        else:
            out.append(entry)
    while len(out) > keep:
        out[0:2] = [Evicted(out[0].first, out[1].last, out[1].reason)]
    return out


def attribute(first: int, last: int, evicted: Iterable[Evicted], otherwise: str) -> dict[str, int]:
    """Return how many of the missing sequences `first` to `last` (inclusive) are gone for which reason."""
    reasons: dict[str, int] = {}
    at = first
    for entry in evicted:
        low, high = max(at, entry.first), min(last, entry.last)
        if low > high:
            continue
        if low > at:
            reasons[otherwise] = reasons.get(otherwise, 0) + low - at
        reasons[entry.reason] = reasons.get(entry.reason, 0) + high - low + 1
        at = high + 1
    if at <= last:
        reasons[otherwise] = reasons.get(otherwise, 0) + last - at + 1
    return reasons
