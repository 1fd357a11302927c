"""The state of each alert: pending → firing → recovered. A pure state machine; time comes in.

above, not known          → pending since now
above, pending for `hold` → firing
not above (or not there)  → gone; if it was firing, it has recovered
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

__all__ = ["Alert", "Conditions", "Reading", "fingerprint"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A rule's condition holds for what `labels` say: one sentence (`summary`), event lines (`samples`)."""

    rule: str
    labels: Mapping[str, str]
    value: float
    summary: str
    hold: float = 0.0
    to: tuple[str, ...] = ()
    samples: tuple[bytes, ...] = ()


class Alert(msgspec.Struct, frozen=True):
    """One alert that fires. Times are seconds since 1970; `labels` hold the rule's name as `alert`."""

    id: str
    labels: dict[str, str]
    since: float
    value: float
    summary: str
    to: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    trace_id: str = ""


class _State(msgspec.Struct):
    since: float
    firing: bool
    alert: Alert


_STATES = msgspec.json.Decoder(dict[str, _State])


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return an alert's id: the same for the same labels, in every process."""
    text = "\0".join(f"{name}\0{labels[name]}" for name in sorted(labels))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


@dataclass(slots=True)
class Conditions:
    """Knows which conditions hold, and since when."""

    _states: dict[str, _State] = field(default_factory=dict)

    def step(self, readings: Iterable[Reading], now: float) -> dict[str, Alert]:
        """Take all conditions that hold at `now`; return what fires, by id."""
        seen: dict[str, _State] = {}
        for reading in readings:
            labels = {**reading.labels, "alert": reading.rule}
            known = fingerprint(labels)
            before = self._states.get(known)
            since = before.since if before is not None else now
            samples, trace_id = _told(reading.samples)
            if not samples and before is not None:
                samples, trace_id = before.alert.samples, before.alert.trace_id
            alert = Alert(known, labels, since, reading.value, reading.summary, reading.to, samples, trace_id)
            firing = now - since >= reading.hold or (before is not None and before.firing)
            seen[known] = _State(since, firing, alert)
        self._states = seen
        return self.firing()

    def firing(self) -> dict[str, Alert]:
        """Return what fires, by id."""
        return {known: state.alert for known, state in self._states.items() if state.firing}

    def dump(self) -> dict[str, _State]:
        """Return the state, for msgspec to write."""
        return self._states

    def load(self, raw: bytes) -> None:
        """Go on with what `dump` returned, as JSON. Raises `msgspec.MsgspecError`."""
        self._states = _STATES.decode(raw)


class _Line(msgspec.Struct, gc=False):
    timestamp: str = ""
    message: str = ""
    trace_id: str = ""


_LINE = msgspec.json.Decoder(_Line)


def _told(lines: Iterable[bytes]) -> tuple[tuple[str, ...], str]:
    """Return event lines as people read them, and the trace of the last one."""
    texts, trace_id = [], ""
    for line in lines:
        try:
            event = _LINE.decode(line)
        except msgspec.MsgspecError:
            continue
        texts.append(f"{event.timestamp[:23]} {event.message}"[:300])
        trace_id = event.trace_id or trace_id
    return tuple(texts), trace_id
