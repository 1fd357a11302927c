"""Every query of every dashboard, filled in and asked as Grafana would: for all tests that have servers.

    for board, title, target in targets(): …
    fill(target["expr"], {"$service": "shop"})

`loki`, `prometheus`, `elasticsearch` and `zipkin` ask and return rows; RuntimeError says what was answered
instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import urllib3

from logferry.shipper.panels.grafana import dashboards
from logferry.shipper.panels.search import search_body

__all__ = ["Asker", "fill", "innermost", "is_metric", "targets"]


def targets() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the file of a dashboard, the title of a panel, and each of its queries."""
    for path, board in dashboards().items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield path, panel["title"], target


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a query with its variables filled in; AssertionError when one is left."""
    for name in sorted(values, key=len, reverse=True):
        text = text.replace(name, values[name])
    assert not re.search(r"\$\w", text), text
    return text


def is_metric(query: str) -> bool:
    """Say whether a LogQL query counts, and does not list lines."""
    return re.search(r"(count_over_time|rate|quantile_over_time)\(", query) is not None


def innermost(
    aggregations: Mapping[str, Any], *keys: Any
) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """Yield (keys from the outside in, innermost bucket) of an answer's aggregations."""
    inner = next(
        (value for value in aggregations.values() if isinstance(value, dict) and "buckets" in value), None
    )
    if inner is None:
        yield keys, aggregations
        return
    for bucket in inner["buckets"]:
        yield from innermost(bucket, *keys, bucket["key"])


@dataclass(frozen=True)
class Asker:
    """Asks about the time from `begin` to `end`, in seconds since 1970."""

    begin: float
    end: float
    http: urllib3.PoolManager

    def get(self, url: str, **query: Any) -> Any:
        """Return the JSON answer of a GET."""
        return self._answer("GET", f"{url}?{urlencode(query)}", None)

    def _answer(self, method: str, url: str, body: object) -> Any:
        text = None if body is None else json.dumps(body)
        answer = self.http.request(method, url, body=text, headers={"Content-Type": "application/json"})
        if answer.status != 200:
            raise RuntimeError(f"{method} {url}: {answer.status} {answer.data[:500]!r}")
        return json.loads(answer.data)

    def loki(self, url: str, query: str, kind: str = "range") -> list[Any]:
        """Return series with values, or streams with lines."""
        if kind == "instant":
            found = self.get(f"{url}/loki/api/v1/query", query=query, time=f"{self.end:.3f}")
        else:
            times = {"start": f"{self.begin:.3f}", "end": f"{self.end:.3f}"}
            step = {"step": "60"} if is_metric(query) else {"limit": "100"}
            found = self.get(f"{url}/loki/api/v1/query_range", query=query, **times, **step)
        rows: list[Any] = found["data"]["result"]
        return rows

    def prometheus(self, url: str, query: str) -> list[Any]:
        """Return series with values."""
        times = {"start": self.begin, "end": self.end, "step": 15}
        found = self.get(f"{url}/api/v1/query_range", query=query, **times)
        if found["status"] != "success":
            raise RuntimeError(f"{query}: {found}")
        rows: list[Any] = found["data"]["result"]
        return rows

    def elasticsearch(self, url: str, index: str, target: Mapping[str, Any]) -> list[Any]:
        """Return buckets that are not empty, or lines."""
        if target["metrics"][0]["type"] == "logs":
            body: dict[str, Any] = {"query": {"query_string": {"query": target["query"]}}, "size": 100}
            hits: list[Any] = self._search(url, index, body)["hits"]["hits"]
            return hits
        found = self._search(url, index, search_body(target, _iso(self.begin), _iso(self.end)))
        return [bucket for _, bucket in innermost(found.get("aggregations", {})) if bucket["doc_count"]]

    def _search(self, url: str, index: str, body: dict[str, Any]) -> Any:
        found = self._answer("POST", f"{url}/{index}/_search", body)
        if found["timed_out"] or found["_shards"]["failed"]:
            raise RuntimeError(f"{body}: {found['_shards']}")
        return found

    def zipkin(self, url: str, trace_id: str) -> list[Any]:
        """Return the spans of a trace."""
        spans: list[Any] = self.get(f"{url}/api/v2/trace/{trace_id}")
        return spans


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
