"""Each panel in LogQL.

Rules, each of them a trap that was met:

- Access events have a stream of their own (`kind="access"`) and their numbers in the structured metadata: no
  line is parsed.
- A quantile says `by (…)`, or Loki makes one series of each event; `| __error__=""` follows `unwrap`, or one
  malformed number fails the whole panel.
- What is counted over time is counted over the step (`step`), what is ranked over the whole range.
- A share is over the endpoints that had requests at all; those without a failure count as 0 by `or … * 0`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["LOGQL", "Scope", "logql"]

FAILED: Final = '| status_code>=500 or failed="true"'


@dataclass(frozen=True, slots=True)
class Scope:
    """What is asked about: matchers of streams, a filter of metadata, and the windows.

    `streams` are matchers without braces (`service=~"shop"`), `where` is a label filter with its bar
    (`| endpoint="/o"`) or empty; `step` and `range_` are durations, or Grafana's names of them.
    """

    streams: str = 'service=~".+"'
    where: str = ""
    step: str = "1m"
    range_: str = "1h"
    limit: int = 5

    @property
    def access(self) -> str:
        """The access events in scope."""
        return f'{{kind="access",{self.streams}}} {self.where}'.strip()

    @property
    def all(self) -> str:
        """All events in scope."""
        return f"{{{self.streams}}} {self.where}".strip()


def _count(selected: str, window: str, by: str) -> str:
    return f"sum by ({by}) (count_over_time({selected} [{window}]))"


def _share(scope: Scope, window: str, by: str) -> str:
    requests = _count(scope.access, window, by)
    return f"({_count(f'{scope.access} {FAILED}', window, by)} or {requests} * 0) / {requests}"


def _quantile(scope: Scope, quantile: float, window: str, by: str = "") -> str:
    values = f'{scope.access} | unwrap duration_ms | __error__=""'
    return f"quantile_over_time({quantile}, {values} [{window}]) by ({by})"


def _qps(scope: Scope) -> Mapping[str, str]:
    return {"{{service}}": f"sum by (service) (rate({scope.access} [{scope.step}]))"}


def _heatmap(scope: Scope) -> Mapping[str, str]:
    return {"{{duration_le}}": _count(scope.access, scope.step, "duration_le")}


def _latency(scope: Scope) -> Mapping[str, str]:
    return {f"P{q * 100:.0f}": _quantile(scope, q, scope.step) for q in (0.5, 0.95, 0.99)}


def _error_rate(scope: Scope) -> Mapping[str, str]:
    return {"{{service}}": _share(scope, scope.step, "service")}


def _top_errors(scope: Scope) -> Mapping[str, str]:
    share = _share(scope, scope.range_, "service, endpoint")
    return {"{{service}} {{endpoint}}": f"sort_desc(topk({scope.limit}, {share} > 0))"}


def _slowest(scope: Scope) -> Mapping[str, str]:
    slow = _quantile(scope, 0.95, scope.range_, "service, endpoint")
    return {"{{service}} {{endpoint}}": f"sort_desc(topk({scope.limit}, {slow}))"}


def _volume(scope: Scope) -> Mapping[str, str]:
    return {"{{level}}": _count(scope.all, scope.step, "level")}


def _errors(scope: Scope) -> Mapping[str, str]:
    selected = f'{{level=~"ERROR|CRITICAL",{scope.streams}}} {scope.where} | error_pattern!=""'
    counted = _count(selected, scope.range_, "error_pattern")
    return {"{{error_pattern}}": f"sort_desc(topk({scope.limit}, {counted}))"}


def _calls(scope: Scope) -> Mapping[str, str]:
    # Few lines are spans of calls, and only they are taken apart: whom they call is no metadata.
    selected = (
        f'{{kind="span",{scope.streams}}} {scope.where} |= `"peer":"` | json peer="peer"'
        ' | peer!="" | __error__=""'
    )
    by = "service, peer"
    requests = _count(selected, scope.range_, by)
    failed = _count(f'{selected} | failed="true"', scope.range_, by)
    slow = f'quantile_over_time(0.95, {selected} | unwrap duration_ms | __error__="" [{scope.range_}])'
    most = f"topk({scope.limit}, {requests})"
    return {
        "calls": f"sort_desc({most})",
        "error rate": f"(({failed} or {requests} * 0) / {requests}) and {most}",
        "P95": f"({slow} by ({by})) and {most}",
    }


LOGQL: Final[Mapping[str, Callable[[Scope], Mapping[str, str]]]] = MappingProxyType(
    {
        "qps": _qps,
        "heatmap": _heatmap,
        "latency": _latency,
        "error_rate": _error_rate,
        "top_errors": _top_errors,
        "slowest": _slowest,
        "volume": _volume,
        "errors": _errors,
        "calls": _calls,
    }
)


def logql(name: str, scope: Scope) -> Mapping[str, str]:
    """Return the queries of a panel, by the legend of their series. KeyError for an unknown panel."""
    return {legend: " ".join(query.split()) for legend, query in LOGQL[name](scope).items()}
