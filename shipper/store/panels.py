"""The dashboard's panels as SQL over `events`. Each is one query; rows come back as dicts.

| panel | rows |
|---|---|
| `qps` | `time`, `service`, `value`: requests a second |
| `heatmap` | `time`, `duration_le`, `count`: requests by duration bucket (not cumulative) |
| `latency` | `time`, `p50`, `p95`, `p99` in milliseconds, `count` |
| `error_rate` | `time`, `service`, `value`: share of requests that failed, `count` |
| `top_errors` | `service`, `endpoint`, `requests`, `failed`, `rate`: highest error rate first |
| `slowest` | `service`, `endpoint`, `requests`, `p95`, `max` in milliseconds: slowest P95 first |
| `volume` | `time`, `level`, `count` |
| `errors` | `service`, `error`, `count`, `first`, `last`, `trace_id` (of the last): most frequent first |
| `calls` | `service`, `peer`, `calls`, `failed`, `rate`, `p95`: who calls whom, most calls first |

`time` is the beginning of a step, UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PANELS", "PanelQuery", "step_for"]

# Requests count as failed by their flag, or by their status where an agent's parser set no flag.
_FAILED: Final = "coalesce(failed, status_code >= 500, FALSE)"
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """`select` up to FROM, `where` beside the time range and the filter, `rest` from GROUP BY on."""

    select: str
    where: str
    rest: str
    columns: frozenset[str]


def step_for(seconds: float, points: int = 120) -> int:
    """Return the step in whole seconds with which a range of `seconds` has at most `points` points."""
    for step in _STEPS:
        if seconds / step <= points:
            return step
    return int(-(-seconds / points // 86_400) * 86_400)


def _bucket(step: int) -> str:
    return f"time_bucket(INTERVAL '{int(step)} seconds', timestamp) AS time"


def _qps(step: int, _: int) -> PanelQuery:
    select = f"{_bucket(step)}, service, count(*) / {int(step)} AS value"
    return PanelQuery(select, "kind = 'access'", "GROUP BY ALL ORDER BY ALL", frozenset({"service", "kind"}))


def _heatmap(step: int, _: int) -> PanelQuery:
    select = f"{_bucket(step)}, duration_le, count(*) AS count"
    where = "kind = 'access' AND duration_le IS NOT NULL"
    rest = "GROUP BY ALL ORDER BY time, max(TRY_CAST(replace(duration_le, '+Inf', 'inf') AS DOUBLE))"
    return PanelQuery(select, where, rest, frozenset({"duration_le", "kind"}))


def _latency(step: int, _: int) -> PanelQuery:
    # One sketch for all three: the same expression is computed once.
    sketch = "approx_quantile(duration_ms, [0.5, 0.95, 0.99])"
    quantiles = ", ".join(f"{sketch}[{n}] AS p{p}" for n, p in enumerate((50, 95, 99), 1))
    return PanelQuery(
        f"{_bucket(step)}, {quantiles}, count(*) AS count",
        "kind = 'access' AND duration_ms IS NOT NULL",
        "GROUP BY ALL ORDER BY time",
        frozenset({"duration_ms", "kind"}),
    )


def _error_rate(step: int, _: int) -> PanelQuery:
    return PanelQuery(
        f"{_bucket(step)}, service, avg(CASE WHEN {_FAILED} THEN 1.0 ELSE 0.0 END) AS value,"
        " count(*) AS count",
        "kind = 'access'",
        "GROUP BY ALL ORDER BY ALL",
        frozenset({"service", "kind", "failed", "status_code"}),
    )


def _top_errors(_: int, limit: int) -> PanelQuery:
    return PanelQuery(
        f"service, endpoint, count(*) AS requests, count(*) FILTER (WHERE {_FAILED}) AS failed,"
        f" avg(CASE WHEN {_FAILED} THEN 1.0 ELSE 0.0 END) AS rate",
        "kind = 'access' AND endpoint IS NOT NULL",
        f"GROUP BY ALL HAVING rate > 0 ORDER BY rate DESC, requests DESC LIMIT {int(limit)}",
        frozenset({"service", "endpoint", "kind", "failed", "status_code"}),
    )


def _slowest(_: int, limit: int) -> PanelQuery:
    return PanelQuery(
        "service, endpoint, count(*) AS requests, approx_quantile(duration_ms, 0.95) AS p95,"
        " max(duration_ms) AS max",
        "kind = 'access' AND endpoint IS NOT NULL AND duration_ms IS NOT NULL",
        f"GROUP BY ALL ORDER BY p95 DESC LIMIT {int(limit)}",
        frozenset({"service", "endpoint", "kind", "duration_ms"}),
    )


def _volume(step: int, _: int) -> PanelQuery:
    select = f"{_bucket(step)}, level, count(*) AS count"
    return PanelQuery(select, "TRUE", "GROUP BY ALL ORDER BY ALL", frozenset({"level"}))


def _errors(_: int, limit: int) -> PanelQuery:
    return PanelQuery(
        "service, coalesce(error_pattern, error_type || ': ' || error_message, error_type, message) AS error,"
        " count(*) AS count, min(timestamp) AS first, max(timestamp) AS last,"
        " arg_max(trace_id, timestamp) AS trace_id",
        "level IN ('ERROR', 'CRITICAL')",
        f"GROUP BY ALL ORDER BY count DESC, last DESC LIMIT {int(limit)}",
        frozenset(
            {"service", "error_pattern", "error_type", "error_message", "message", "trace_id", "level"}
        ),
    )


def _calls(_: int, limit: int) -> PanelQuery:
    return PanelQuery(
        f"service, peer, count(*) AS calls, count(*) FILTER (WHERE {_FAILED}) AS failed,"
        f" avg(CASE WHEN {_FAILED} THEN 1.0 ELSE 0.0 END) AS rate, approx_quantile(duration_ms, 0.95) AS p95",
        "kind = 'span' AND peer <> ''",
        f"GROUP BY ALL ORDER BY calls DESC, service, peer LIMIT {int(limit)}",
        frozenset({"service", "peer", "kind", "failed", "status_code", "duration_ms"}),
    )


PANELS: Final[Mapping[str, Callable[[int, int], PanelQuery]]] = {
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
"""Name → (step in seconds, number of rows) → query."""
