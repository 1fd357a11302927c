"""Each panel for Elasticsearch, as Grafana's query editor keeps it and as a search of its own.

A panel is a filter (Lucene), buckets from the outside in, and metrics in the innermost. `grafana_target` is
what a dashboard holds, `search_body` what Grafana sends for it: a test sends it, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

__all__ = ["SEARCHES", "Search", "grafana_target", "search_body"]

TIME: Final = "@timestamp"


@dataclass(frozen=True, slots=True)
class Search:
    """A panel. `terms` are fields that events are grouped by; `over_time`: the innermost bucket is time.

    `metrics` are (type, field, settings); `order`: the index of the metric that ranks the groups, or -1 for
    their number of events.
    """

    where: str
    terms: tuple[str, ...] = ()
    over_time: bool = True
    metrics: tuple[tuple[str, str, Mapping[str, Any]], ...] = (("count", "", {}),)
    order: int = -1
    size: int = 500


_ACCESS: Final = "kind:access"
_FAILED: Final[tuple[str, str, Mapping[str, Any]]] = ("avg", "failed", {})

SEARCHES: Final[Mapping[str, Search]] = MappingProxyType(
    {
        "qps": Search(_ACCESS, ("service",)),
        "heatmap": Search(_ACCESS, ("duration_le",)),
        "latency": Search(
            _ACCESS, metrics=(("percentiles", "duration_ms", {"percents": ["50", "95", "99"]}),)
        ),
        "error_rate": Search(_ACCESS, ("service",), metrics=(_FAILED,)),
        "top_errors": Search(
            f"{_ACCESS} AND endpoint:*",
            ("service", "endpoint"),
            over_time=False,
            metrics=(_FAILED, ("count", "", {})),
            order=0,
            size=5,
        ),
        "slowest": Search(
            f"{_ACCESS} AND endpoint:*",
            ("service", "endpoint"),
            over_time=False,
            metrics=(("percentiles", "duration_ms", {"percents": ["95"]}), ("count", "", {})),
            order=0,
            size=5,
        ),
        "volume": Search("*", ("level",)),
        "errors": Search(
            "level:(ERROR OR CRITICAL) AND error_pattern:*", ("error_pattern",), over_time=False, size=50
        ),
        "calls": Search(
            "kind:span AND peer:*",
            ("service", "peer"),
            over_time=False,
            metrics=(
                ("count", "", {}),
                _FAILED,
                ("percentiles", "duration_ms", {"percents": ["95"]}),
            ),
            size=50,
        ),
    }
)


def grafana_target(
    search: Search, *, where: str = "", alias: str = "", interval: str = "auto", ref: str = "A"
) -> dict[str, Any]:
    """Return the panel as Grafana's Elasticsearch data source keeps a query. `where`: a further filter."""
    metrics = [
        {
            "id": str(number),
            "type": kind,
            **({"field": field} if field else {}),
            **({"settings": dict(settings)} if settings else {}),
        }
        for number, (kind, field, settings) in enumerate(search.metrics, 1)
    ]
    buckets: list[dict[str, Any]] = []
    for number, field in enumerate(search.terms, len(metrics) + 1):
        buckets.append(
            {
                "id": str(number),
                "type": "terms",
                "field": field,
                "settings": {
                    "size": str(search.size),
                    "order": "desc",
                    "orderBy": _order(search),
                    "min_doc_count": "1",
                },
            }
        )
    if search.over_time:
        settings = {"interval": interval, "min_doc_count": "0", "trimEdges": "0"}
        number = len(metrics) + len(buckets) + 1
        buckets.append({"id": str(number), "type": "date_histogram", "field": TIME, "settings": settings})
    return {
        "refId": ref,
        "query": f"{search.where} AND {where}" if where else search.where,
        "alias": alias,
        "timeField": TIME,
        "metrics": metrics,
        "bucketAggs": buckets,
    }


def _order(search: Search) -> str:
    if search.order < 0:
        return "_count"
    kind, _, settings = search.metrics[search.order]
    if kind == "percentiles":
        return f"{search.order + 1}[{float(settings['percents'][0])}]"
    return str(search.order + 1)


def search_body(target: Mapping[str, Any], start: str, end: str, interval: str = "1m") -> dict[str, Any]:
    """Return the search that Grafana sends for a target: times as ISO 8601, `end` not included."""
    metrics: dict[str, Any] = {}
    for metric in target["metrics"]:
        if metric["type"] == "count":
            continue
        given = {**metric.get("settings", {}), "field": metric["field"]}
        if metric["type"] == "percentiles":
            given["percents"] = [float(one) for one in given["percents"]]
        metrics[metric["id"]] = {metric["type"]: given}
    inner = metrics
    ranking = metrics
    for bucket in reversed(target["bucketAggs"]):
        if bucket["type"] == "date_histogram":
            how: dict[str, Any] = {
                "field": bucket["field"],
                "fixed_interval": interval
                if bucket["settings"]["interval"] == "auto"
                else bucket["settings"]["interval"],
                "min_doc_count": int(bucket["settings"]["min_doc_count"]),
            }
            inner = {bucket["id"]: {"date_histogram": how, "aggs": inner}}
            continue
        settings = bucket["settings"]
        order = settings["orderBy"]
        how = {
            "field": bucket["field"],
            "size": int(settings["size"]),
            "min_doc_count": int(settings["min_doc_count"]),
            "order": {order: settings["order"]},
        }
        # What ranks the groups must be asked for beside the inner groups, too.
        beside = {} if order == "_count" else ranking
        inner = {bucket["id"]: {"terms": how, "aggs": {**inner, **beside}}}
    within = {"range": {TIME: {"gte": start, "lt": end, "format": "strict_date_optional_time"}}}
    words = {"query_string": {"query": target["query"], "analyze_wildcard": True}}
    return {"size": 0, "query": {"bool": {"filter": [within, words]}}, "aggs": inner}
