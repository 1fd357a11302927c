"""From numbers to the conditions that hold, each with its sentence. `Readings` asks; it decides nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeAlias

from ..model import Account
from .conditions import Alert, Reading, fingerprint
from .counting import Counting, Total
from .rules import NAME, AlertPlan, Rule

__all__ = ["Observed", "Readings"]

_GONE = 24 * 3600.0  # a service that was silent for so long was taken out of service


_Judged: TypeAlias = tuple[Reading, bool]


class _Told(Protocol):
    @property
    def lag(self) -> float: ...
    @property
    def error(self) -> str: ...


class Observed(Protocol):
    """The pipeline, as far as alerts look at it."""

    def accounts(self) -> Mapping[str, Account]:
        """Return the books by sink."""
        ...

    def states(self) -> Mapping[str, _Told]:
        """Return how each sink is."""
        ...


class Readings:
    """All conditions of a plan. `now` is seconds since 1970."""

    def __init__(
        self, plan: AlertPlan, counting: Counting, observed: Observed, now: Callable[[], float]
    ) -> None:
        self._rules = plan.rules
        self._counting, self._observed, self._now = counting, observed, now
        self._began = now()
        self._dropped: deque[tuple[float, Mapping[tuple[str, str], int]]] = deque()
        for rule in plan.rules:
            if rule.what in {"error_rate", "p95"}:
                slow = {"slow": rule.above} if rule.what == "p95" else {}
                counting.want(rule.match, rule.window, **slow)

    def begin(self) -> None:
        """Take the books as they are for known, before anything is delivered."""
        self._look_at_books()

    def look(self, before: Iterable[Alert] = ()) -> Iterator[Reading]:
        """Yield the conditions that hold now. `before`: what fired when the agent was started anew.

        Counts begin with nothing then. So what had fired goes on until its endpoint has had enough requests
        to be judged, or a whole window has passed.
        """
        judged: set[str] = set()
        for rule, reading, holds in self._all():
            judged.add(fingerprint({**reading.labels, "alert": rule.name}))
            if holds:
                yield reading
        rules = {rule.name: rule for rule in self._rules if rule.what in {"error_rate", "p95"}}
        for alert in before:
            known = rules.get(alert.labels.get("alert", ""))
            if known is None or alert.id in judged or self._now() - self._began > known.window:
                continue
            labels = {name: value for name, value in alert.labels.items() if name != "alert"}
            yield Reading(known.name, labels, alert.value, alert.summary, known.hold, known.to)

    def _all(self) -> Iterator[tuple[Rule, Reading, bool]]:
        """Yield each that can be judged, and whether it holds."""
        kinds = {
            "error_rate": self._error_rate,
            "p95": self._p95,
            "silence": self._silence,
            "lag": self._lag,
            "dropped": self._drops,
        }
        if any(rule.what == "dropped" for rule in self._rules):
            self._look_at_books()
        for rule in self._rules:
            for reading, holds in kinds[rule.what](rule):
                yield rule, reading, holds

    def _endpoints(self, rule: Rule) -> Iterator[tuple[dict[str, str], str, Total]]:
        for (service, endpoint), total in self._counting.totals(rule.match, rule.window).items():
            if total.requests >= rule.at_least and (not rule.services or service in rule.services):
                labels = {"service": service} | ({"endpoint": endpoint} if endpoint else {})
                yield labels, f"{service} {endpoint}".strip(), total

    def _error_rate(self, rule: Rule) -> Iterator[_Judged]:
        for labels, name, total in self._endpoints(rule):
            share = total.failed / total.requests
            text = (
                f"{name}: {share:.1%} of {total.requests:,} requests failed within {_span(rule.window)}"
                f" (limit {rule.above:.3g})"
            )
            reading = Reading(rule.name, labels, share, text, rule.hold, rule.to, tuple(total.samples))
            yield reading, share > rule.above

    def _p95(self, rule: Rule) -> Iterator[_Judged]:
        for labels, name, total in self._endpoints(rule):
            slow = total.quantile(0.95) or 0.0
            text = (
                f"{name}: P95 is {slow:,.0f} ms over {total.requests:,} requests within"
                f" {_span(rule.window)} (limit {rule.above:,.0f} ms)"
            )
            reading = Reading(rule.name, labels, slow, text, rule.hold, rule.to, tuple(total.samples))
            yield reading, slow > rule.above

    def _silence(self, rule: Rule) -> Iterator[_Judged]:
        now = self._now()
        seen = dict(self._counting.last_seen())
        expected = {name: seen.get(name, self._began) for name in rule.services}
        for service, last in (expected or seen).items():
            quiet = now - last
            if quiet > _GONE and not expected:
                self._counting.forget(service)
            elif quiet > rule.window:
                known = seen.get(service)
                when = (
                    "never since the agent began" if known is None else f"the last line is of {_clock(known)}"
                )
                text = f"{service}: no logs for {_span(quiet)} ({when})"
                yield Reading(rule.name, {"service": service}, quiet, text, rule.hold, rule.to), True

    def _lag(self, rule: Rule) -> Iterator[_Judged]:
        for sink, state in self._observed.states().items():
            if sink != NAME and state.lag > rule.above:
                text = f"sink {sink} is {_span(state.lag)} behind (limit {_span(rule.above)})"
                text += f": {state.error}" if state.error else ""
                yield Reading(rule.name, {"sink": sink}, state.lag, text, rule.hold, rule.to), True

    def _look_at_books(self) -> None:
        books = {
            (sink, reason): count
            for sink, account in self._observed.accounts().items()
            if sink != NAME
            for reason, count in account.dropped.items()
        }
        now = self._now()
        self._dropped.append((now, books))
        longest = max((rule.window for rule in self._rules if rule.what == "dropped"), default=0.0)
        while len(self._dropped) > 1 and self._dropped[1][0] <= now - longest:
            self._dropped.popleft()

    def _drops(self, rule: Rule) -> Iterator[_Judged]:
        first = self._now() - rule.window
        # The last look before the window began is what it is compared with.
        before = [books for at, books in self._dropped if at <= first] or [self._dropped[0][1]]
        for (sink, reason), count in self._dropped[-1][1].items():
            more = count - before[-1].get((sink, reason), 0)
            if more > rule.above:
                text = f"sink {sink} dropped {more:,} records within {_span(rule.window)}: {reason}"
                labels = {"sink": sink, "reason": reason}
                yield Reading(rule.name, labels, more, text, rule.hold, rule.to), True


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}"


def _span(seconds: float) -> str:
    if seconds >= 7200:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
