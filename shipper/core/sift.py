"""Which events of a batch are not for a sink, decided before anything is sent. Pure.

- What broke the schema (`violations`) becomes a dead letter.
- Older than the sink's `max_age`: dropped, reason `max_age`.
- Below its `min_level` (an unknown level passes), or not what `match` says: filtered, reasons `min_level` and
  `match`.
- `sample` keeps that share of the traces, each whole: a trace id decides alike in every service, process and
  sink (CRC-32 of its text). Without a trace the event's own id decides. Errors, and what says `failed`, are
  kept always. Filtered, reason `sample`.
- `rate_limit` keeps so many events for each second of *their own* time: a backlog after an outage is sent as
  it would have been. Filtered, reason `rate_limit`.
- `collapse`: events that say the same (level, logger, message, error type, service) within one batch become
  one, the first, which says how many it stands for: `repeated`. Access, job and span events (`kind`) are left
  alone, for rates are made of them. Filtered, reason `repeat`.

What is looked at is read with a typed decoder that skips the rest of the line; only `match` decodes all of
it. Without conditions no line is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import msgspec

from ..model import Batch
from .delivery import Fate

__all__ = ["Routes", "Sieve", "event_time"]

_RANK = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_SECONDS = 256  # of the past whose events are remembered for `rate_limit`


class _Error(msgspec.Struct, gc=False):
    type: Any = ""


class _Head(msgspec.Struct, gc=False):
    level: str = ""
    timestamp: str = ""
    trace_id: str = ""
    failed: Any = None


class _Text(msgspec.Struct, gc=False):
    level: str = ""
    service: str = ""
    logger: str = ""
    message: str = ""
    kind: str | None = None
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Head).decode
_decode_text = msgspec.json.Decoder(_Text).decode
_decode_all = msgspec.json.Decoder(dict[str, Any]).decode


def event_time(line: bytes) -> float | None:
    """Return the time of an event line in seconds since 1970; None when it has none that can be read."""
    try:
        return datetime.fromisoformat(_decode(line).timestamp).timestamp()
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Routes:
    """What one sink takes. `max_age` is seconds, `sample` a share from 0 to 1, `rate_limit` events a second.

    `match` tells whether a decoded event is for the sink.
    """

    min_level: str | None = None
    max_age: float | None = None
    match: Callable[[Mapping[str, Any]], bool] | None = None
    sample: float | None = None
    rate_limit: int | None = None
    collapse: bool = False


@dataclass(slots=True)
class Sieve:
    """One sink's routes, and what they have to remember: how many events there were in the last seconds."""

    routes: Routes = field(default_factory=Routes)
    _counts: dict[str, int] = field(default_factory=dict)

    def sift(self, batch: Batch, violations: Mapping[int, str], now: float) -> tuple[Batch, dict[int, Fate]]:
        """Return index → fate for what is not to be sent, and the batch as it is to be sent.

        `now` is seconds since 1970. The batch has other lines only where repeats were collapsed.
        """
        found: dict[int, Fate] = {}
        routes = self.routes
        if violations:
            for index, sequence in enumerate(batch.sequences):
                if sequence in violations:
                    found[index] = Fate("dead", violations[sequence])
        if routes != _EVERYTHING:
            self._look(batch, now, found)
            if routes.collapse:
                batch = _collapsed(batch, found)
        return batch, found

    def _look(self, batch: Batch, now: float, found: dict[int, Fate]) -> None:
        """Decide about each event by itself."""
        routes = self.routes
        least = _RANK.get(routes.min_level or "", 0)
        oldest = ""
        if routes.max_age is not None:
            # times of events have one form, so that text compares as time does
            oldest = datetime.fromtimestamp(max(0.0, now - routes.max_age), UTC).strftime(
                "%Y-%m-%dT%H:%M:%S.%fZ"
            )
        match, share, limit = routes.match, _share(routes.sample), routes.rate_limit
        rank = _RANK.get
        for index, line in enumerate(batch.lines):
            if index in found:
                continue
            try:
                head = _decode(line)
            except msgspec.MsgspecError:
                continue
            if rank(head.level, 100) < least:
                found[index] = _LOW
            elif head.timestamp and head.timestamp < oldest:
                found[index] = _OLD
            elif match is not None and not match(_decoded(line)):
                found[index] = _OTHER
            elif share is not None and not _sampled(head, share, batch, index):
                found[index] = _UNSAMPLED
            elif limit is not None and not self._within(head.timestamp[:19], limit):
                found[index] = _TOO_MANY

    def _within(self, second: str, limit: int) -> bool:
        """Count an event of `second`; say whether it is within the limit."""
        counts = self._counts
        count = counts.get(second, 0) + 1
        if count > limit:
            return False
        if count == 1 and len(counts) >= _SECONDS:
            del counts[min(counts)]
        counts[second] = count
        return True


_EVERYTHING = Routes()
_LOW, _OLD = Fate("filtered", "min_level"), Fate("dropped", "max_age")
_OTHER, _UNSAMPLED = Fate("filtered", "match"), Fate("filtered", "sample")
_TOO_MANY, _REPEAT = Fate("filtered", "rate_limit"), Fate("filtered", "repeat")


def _decoded(line: bytes) -> Mapping[str, Any]:
    try:
        return _decode_all(line)
    except msgspec.MsgspecError:
        return {}


def _share(sample: float | None) -> int | None:
    """Return the share as a bound on a CRC-32; None when all is kept."""
    return None if sample is None or sample >= 1 else int(sample * (1 << 32))


def _sampled(head: _Head, share: int, batch: Batch, index: int) -> bool:
    if _RANK.get(head.level, 0) >= _RANK["ERROR"] or head.failed is True:
        return True
    return crc32((head.trace_id or batch.event_id(index)).encode()) < share


def _collapsed(batch: Batch, found: dict[int, Fate]) -> Batch:
    """Find repeats; return the batch with the number of repeats in each event that stands for them."""
    first: dict[tuple[object, ...], int] = {}
    times: dict[int, int] = {}
    for index, line in enumerate(batch.lines):
        if index in found:
            continue
        try:
            text = _decode_text(line)
        except msgspec.MsgspecError:
            continue
        if text.kind is not None:
            continue
        kind = text.error.type if text.error is not None else None
        key = (text.message, text.level, text.logger, text.service, str(kind))
        at = first.setdefault(key, index)
        if at != index:
            found[index] = _REPEAT
            times[at] = times.get(at, 1) + 1
    if not times:
        return batch
    lines = list(batch.lines)
    for index, count in times.items():
        lines[index] = b'{"repeated":%d,' % count + lines[index][1:]
    return replace(batch, lines=lines, longest=0, beside=())
