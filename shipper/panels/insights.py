"""Each panel as a query of CloudWatch Logs Insights.

Lines hold truth values as JSON does, which Insights shows but does not sum; `strcontains` on the line
gives a number. What is counted over time is by minute (`bin(1m)`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["INSIGHTS"]

_ACCESS: Final = 'filter kind = "access"'
_ENDPOINTS: Final = f"{_ACCESS} and ispresent(endpoint)"
_FAILED: Final = """sum(strcontains(@message, '"failed":true')) / count(*)"""

INSIGHTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "qps": f"{_ACCESS}\n| stats count(*) / 60 as qps by bin(1m), service",
        "heatmap": f"{_ACCESS}\n| stats count(*) as requests by bin(1m), duration_le",
        "latency": (
            f"{_ACCESS}\n| stats pct(duration_ms, 50) as p50, pct(duration_ms, 95) as p95,"
            " pct(duration_ms, 99) as p99 by bin(1m)"
        ),
        "error_rate": f"{_ACCESS}\n| stats {_FAILED} as error_rate by bin(1m), service",
        "top_errors": (
            f"{_ENDPOINTS}\n| stats {_FAILED} as error_rate, count(*) as requests by service, endpoint"
            "\n| filter error_rate > 0\n| sort error_rate desc\n| limit 5"
        ),
        "slowest": (
            f"{_ENDPOINTS}\n| stats pct(duration_ms, 95) as p95, count(*) as requests by service, endpoint"
            "\n| sort p95 desc\n| limit 5"
        ),
        "volume": "stats count(*) as events by bin(1m), level",
        "errors": (
            'filter level in ["ERROR", "CRITICAL"] and ispresent(error_pattern)'
            "\n| stats count(*) as events by error_pattern\n| sort events desc\n| limit 50"
        ),
        "calls": (
            f'filter kind = "span" and ispresent(peer)\n| stats count(*) as calls, {_FAILED} as error_rate,'
            " pct(duration_ms, 95) as p95 by service, peer\n| sort calls desc\n| limit 50"
        ),
    }
)
"""Panel → query."""
