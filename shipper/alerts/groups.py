"""When a receiver is told of what. One for each receiver; a pure state machine, time comes in.

- Alerts with equal labels under `group_by` are one group, and one message.
- A new group waits for company (`wait`). After a message the next one comes no sooner than `interval`, and
  only when something fires anew or has recovered; while nothing changes, every `repeat`.
- What fired and recovered before it was told is not told.
- A message that could not be sent is tried again, ever more slowly, with what is true by then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from .conditions import Alert

__all__ = ["Groups", "Notice"]

_FIRST, _LONGEST = 5.0, 300.0  # seconds between tries


class _Group(msgspec.Struct):
    labels: dict[str, str]
    told: dict[str, Alert] = {}
    last: float | None = None
    firing: dict[str, Alert] = {}
    due: float | None = None
    failures: int = 0


_GROUPS = msgspec.json.Decoder(dict[str, _Group])


@dataclass(frozen=True, slots=True)
class Notice:
    """One message: all of a group that fires, and what has recovered since the last one."""

    key: str
    labels: Mapping[str, str]
    firing: tuple[Alert, ...]
    recovered: tuple[Alert, ...]


class Groups:
    """What one receiver knows, and when it is to hear more. Times are seconds."""

    def __init__(self, by: tuple[str, ...], *, wait: float, interval: float, repeat: float) -> None:
        self._by = by
        self._wait, self._interval, self._repeat = wait, interval, repeat
        self._groups: dict[str, _Group] = {}

    def update(self, firing: Mapping[str, Alert], now: float) -> None:
        """Take what fires now."""
        for group in self._groups.values():
            group.firing = {}
        for known, alert in firing.items():
            labels = {name: alert.labels[name] for name in self._by if name in alert.labels}
            key = "\n".join(f"{name}={labels[name]}" for name in sorted(labels))
            self._groups.setdefault(key, _Group(labels)).firing[known] = alert
        for key, group in list(self._groups.items()):
            if not group.firing and not group.told:
                del self._groups[key]
                continue
            self._plan(group, now)

    def _plan(self, group: _Group, now: float) -> None:
        changed = group.firing.keys() != group.told.keys()
        if not changed:
            over = group.last is not None and now >= group.last + self._repeat
            group.due = (group.due or now) if over else None
        elif group.due is None:
            group.due = now + self._wait if group.last is None else max(now, group.last + self._interval)

    def take(self, now: float) -> list[Notice]:
        """Return what is to be sent now; say afterwards with `sent` or `failed` what became of each."""
        return [
            Notice(
                key,
                group.labels,
                tuple(group.firing.values()),
                tuple(alert for known, alert in group.told.items() if known not in group.firing),
            )
            for key, group in self._groups.items()
            if group.due is not None and group.due <= now
        ]

    def sent(self, notice: Notice, now: float) -> None:
        """Note that the receiver has it."""
        if (group := self._groups.get(notice.key)) is not None:
            group.told = {alert.id: alert for alert in notice.firing}
            group.last, group.due, group.failures = now, None, 0

    def failed(self, notice: Notice, now: float) -> float:
        """Note that it did not get through; return the seconds until the next try."""
        group = self._groups.get(notice.key)
        if group is None:
            return 0.0
        pause = min(_LONGEST, _FIRST * 2.0**group.failures)
        group.failures += 1
        group.due = now + pause
        return pause

    def dump(self) -> dict[str, _Group]:
        """Return the state, for msgspec to write."""
        return self._groups

    def load(self, raw: bytes) -> None:
        """Go on with what `dump` returned, as JSON. Raises `msgspec.MsgspecError`."""
        self._groups = _GROUPS.decode(raw)
