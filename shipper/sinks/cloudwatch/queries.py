"""What `logferry setup` makes of the schema beside group and streams: metric filters and saved queries. Pure.

Metric filters turn events into metrics while they come in: requests, failed requests, durations (of which
CloudWatch knows p95 by itself) and errors. Saved queries are for Logs Insights: the dashboards' panels
(`shipper/panels/insights.py`), and the p95 of each number that the schema declares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ....handlers.schema import FIELDS, Schema
from ...panels import CATALOGUE
from ...panels.insights import INSIGHTS

__all__ = ["PREFIX", "metric_filters", "saved_queries"]

PREFIX: Final = "logferry"
_FIELD: Final = {field.name: field.name for field in FIELDS}
_KIND, _FAILED, _LEVEL = _FIELD["kind"], _FIELD["failed"], _FIELD["level"]
_DURATION = _FIELD["duration_ms"]
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBERS: Final = 20

_ACCESS: Final = f'($.{_KIND} = "access")'


def metric_filters(group: str, namespace: str) -> list[dict[str, Any]]:
    """Return the arguments of PutMetricFilter, one for each metric."""
    rows: tuple[tuple[str, str, str, str], ...] = (
        ("requests", f"{{ {_ACCESS} }}", "1", "Count"),
        ("failed_requests", f"{{ {_ACCESS} && ($.{_FAILED} IS TRUE) }}", "1", "Count"),
        ("duration", f"{{ {_ACCESS} && ($.{_DURATION} >= 0) }}", f"$.{_DURATION}", "Milliseconds"),
        ("errors", f'{{ ($.{_LEVEL} = "ERROR") || ($.{_LEVEL} = "CRITICAL") }}', "1", "Count"),
    )
    return [
        {
            "logGroupName": group,
            "filterName": f"{PREFIX}-{name}",
            "filterPattern": pattern,
            "metricTransformations": [
                {
                    "metricName": name,
                    "metricNamespace": namespace,
                    "metricValue": value,
                    "unit": unit,
                    # Without requests there were none: 0. Without durations there is no duration.
                    **({"defaultValue": 0.0} if unit == "Count" else {}),
                }
            ],
        }
        for name, pattern, value, unit in rows
    ]


def saved_queries(group: str, schema: Schema) -> Mapping[str, str]:
    """Return Logs Insights queries by name."""
    queries = {
        **{CATALOGUE[name].title.lower(): query for name, query in INSIGHTS.items()},
        "errors": f'filter {_LEVEL} in ["ERROR", "CRITICAL"]\n| sort @timestamp desc\n| limit 200',
    }
    numbers = [name for name, kind in schema.declared.items() if kind in {"number", "integer"}]
    for name in [name for name in numbers if _PLAIN.fullmatch(name)][:_NUMBERS]:
        queries[f"p95 {name}"] = f"filter ispresent({name})\n| stats pct({name}, 95), avg({name}) by bin(5m)"
    return {
        f"{PREFIX}{group if group.startswith('/') else '/' + group}/{name}": q for name, q in queries.items()
    }
