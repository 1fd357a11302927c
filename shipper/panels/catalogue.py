"""The panels by name: what people read above them, in a terminal, on the local page and in Grafana alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["CATALOGUE", "Panel"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. `unit` is Grafana's name of it; `over`: over time, or one answer for the whole range."""

    name: str
    title: str
    about: str
    unit: str
    over: Literal["time", "range"]


_PANELS: Final = (
    Panel("qps", "Requests per second", "by service", "reqps", "time"),
    Panel("heatmap", "Durations", "requests by duration, the darker the more", "short", "time"),
    Panel("latency", "P50, P95, P99", "half, 95 % and 99 % of the requests were faster", "ms", "time"),
    Panel("error_rate", "Error rate", "share of requests that failed, by service", "percentunit", "time"),
    Panel("top_errors", "Endpoints by error rate", "the five with the highest share", "percentunit", "range"),
    Panel("slowest", "Slowest endpoints", "the five with the highest P95", "ms", "range"),
    Panel("volume", "Log volume", "events by level", "short", "time"),
    Panel(
        "errors",
        "Frequent errors",
        "errors that differ in numbers and names only, together",
        "short",
        "range",
    ),
    Panel("calls", "Calls between services", "who calls whom, what fails of it, and P95", "short", "range"),
)

CATALOGUE: Final[Mapping[str, Panel]] = MappingProxyType({panel.name: panel for panel in _PANELS})
