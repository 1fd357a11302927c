"""What the rules would have said: the watch's own counting and conditions, over events of the past.

Time is the events' own and passes in steps of `every`, of five seconds at least, so a day is over in seconds.
Lag and dropped records are no events; nothing is said of them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from ..model import Account, Batch
from .conditions import Alert, Conditions
from .counting import Counting
from .readings import Readings
from .rules import AlertPlan

__all__ = ["Rehearsed", "rehearse"]

_NO_EVENTS: Final = frozenset({"lag", "dropped"})
_STEP: Final = 5.0
_STEPS: Final = 50_000
_AT_ONCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One alert that would have fired: from when, and until when (None: it fires still). Unix times."""

    fired: float
    ended: float | None
    alert: Alert


class _NoPipeline:
    def accounts(self) -> Mapping[str, Account]:
        return {}

    def states(self) -> Mapping[str, object]:
        return {}


def rehearse(
    plan: AlertPlan, events: Iterable[tuple[float, bytes]], since: float, until: float
) -> Iterator[Rehearsed]:
    """Yield what would have fired between two Unix times. `events`: times and lines, the oldest first."""
    now, step = since, max(plan.every, _STEP, (until - since) / _STEPS)
    counting = Counting(lambda: now)
    rules = tuple(rule for rule in plan.rules if rule.what not in _NO_EVENTS)
    readings = Readings(replace(plan, rules=rules), counting, _NoPipeline(), lambda: now)  # type: ignore[arg-type]
    conditions = Conditions()
    firing: dict[str, tuple[float, Alert]] = {}
    coming = iter(events)
    ahead = next(coming, None)
    while now < until:
        now = min(now + step, until)
        lines: list[bytes] = []
        while ahead is not None and ahead[0] <= now:
            lines.append(ahead[1])
            ahead = next(coming, None)
        kept = iter(lines)
        while some := list(islice(kept, _AT_ONCE)):
            counting.send(Batch("rehearsal", range(1, 1 + len(some)), some))
        found = conditions.step(readings.look(), now)
        for known in [known for known in firing if known not in found]:
            fired, alert = firing.pop(known)
            yield Rehearsed(fired, now, alert)
        for known, alert in found.items():
            fired, before = firing.get(known, (now, alert))
            firing[known] = (fired, alert if alert.value >= before.value else before)
    for fired, alert in firing.values():
        yield Rehearsed(fired, None, alert)
