"""The panels of the dashboards: each with the queries of its store, drawn as its numbers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..catalogue import CATALOGUE
from ..logql import Scope, logql
from ..search import SEARCHES, grafana_target
from .board import Json, Store, source

__all__ = ["VARIABLES", "bars", "calls", "cloud", "heatmap", "lines", "logs"]

VARIABLES: Final = 'service=~"$service",environment=~"$environment"'
_CLOUD: Final = """\
const words = context.panel.data.series.flatMap((frame) => {
  const names = frame.fields.find((field) => field.type === "string");
  const counts = frame.fields.filter((field) => field.type === "number").at(-1);
  if (!counts) return [];
  const name = (row) => names ? names.values.at(row) : (counts.labels?.error_pattern ?? frame.name);
  const rows = Math.max(counts.values.length, 0);
  return names
    ? Array.from({length: rows}, (_, row) => ({name: name(row), value: counts.values.at(row)}))
    : [{name: name(0), value: counts.values.at(-1)}];
});
return {
  tooltip: {},
  series: [{type: "wordCloud", shape: "square", sizeRange: [11, 42], rotationRange: [0, 0], data: words}],
};
"""


def _override(name: str, prop: str, value: object) -> Json:
    return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": prop, "value": value}]}


# Grafana gives colours in the order of the series: green to errors. Elasticsearch has its own names of ranks.
_LEVELS: Final = {
    "CRITICAL": "purple",
    "ERROR": "red",
    "WARNING": "orange",
    "INFO": "green",
    "DEBUG": "blue",
    "TRACE": "text",
}
_OVERRIDES: Final[Mapping[str, Sequence[Json]]] = {
    "volume": [
        _override(level, "color", {"mode": "fixed", "fixedColor": color}) for level, color in _LEVELS.items()
    ],
    "latency": [_override(f"p{rank}.0 duration_ms", "displayName", f"P{rank}") for rank in (50, 95, 99)],
}


def _targets(store: Store, name: str, *, where: str = "", limit: int = 5) -> list[Json]:
    """Return the queries of a panel for a store; `where` narrows them (a label filter, or Lucene)."""
    over_time = CATALOGUE[name].over == "time"
    if store == "loki":
        scope = Scope(VARIABLES, where, "$__auto", "$__range", limit)
        return [
            {
                "refId": chr(ord("A") + number),
                "datasource": source("loki"),
                "editorMode": "code",
                "expr": query,
                "legendFormat": legend,
                "queryType": "range" if over_time else "instant",
            }
            for number, (legend, query) in enumerate(logql(name, scope).items())
        ]
    narrowed = " AND ".join(filter(None, ("service:$service AND environment:$environment", where)))
    search = SEARCHES[name]
    alias = f"{{{{term {search.terms[0]}}}}}" if over_time and search.terms else ""
    target = grafana_target(search, where=narrowed, alias=alias)
    return [{**target, "datasource": source("elasticsearch")}]


def _panel(store: Store, name: str, kind: str, *, where: str = "", limit: int = 5, **more: Any) -> Json:
    panel = CATALOGUE[name]
    defaults: Json = {"unit": panel.unit, **more.pop("defaults", {})}
    made: Json = {
        "type": kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": source(store),
        "targets": _targets(store, name, where=where, limit=limit),
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}),
        **more,
    }
    if panel.over == "time":
        made |= {"interval": "1m", "maxDataPoints": 120}
    return made


def lines(store: Store, name: str, *, where: str = "", stack: bool = False, **more: Any) -> Json:
    """Return numbers over time, as lines or (`stack`) as bars on each other."""
    custom = {
        "drawStyle": "bars" if stack else "line",
        "fillOpacity": 60 if stack else 10,
        "lineWidth": 0 if stack else 2,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stack else "none"},
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "calcs": ["mean", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    defaults = {"custom": custom, "min": 0, **more.pop("defaults", {})}
    overrides = _OVERRIDES.get(name, [])
    made = _panel(
        store,
        name,
        "timeseries",
        where=where,
        defaults=defaults,
        options=options,
        overrides=overrides,
        **more,
    )
    if store == "elasticsearch" and name == "qps":
        # Elasticsearch counts the events of an interval: of a fixed one, which the title says.
        made["title"] = "Requests per minute"
        made["fieldConfig"]["defaults"]["unit"] = "reqpm"
        for target in made["targets"]:
            target["bucketAggs"][-1]["settings"]["interval"] = "1m"
    return made


# The column that a bar is long by, in the tables of the two stores.
_BARS: Final[Mapping[str, str]] = {
    "top_errors": "Average",
    "slowest": "p95.0 duration_ms",
    "errors": "Count",
}


def bars(store: Store, name: str, *, limit: int = 5, where: str = "") -> Json:
    """Return a bar for each row: both stores answer with one table, whose other numbers are no bars."""
    options = {
        "displayMode": "gradient",
        "orientation": "horizontal",
        "showUnfilled": True,
        "valueMode": "color",
        "namePlacement": "top" if name == "errors" else "left",
        "sizing": "manual",
        # A pattern stands above its bar, and both want room; what does not fit is scrolled to.
        "minVizHeight": 40 if name == "errors" else 18,
        "maxVizHeight": 40,
        "text": {"titleSize": 13, "valueSize": 15},
        "reduceOptions": {"calcs": ["lastNotNull"], "values": True, "limit": 50},
    }
    defaults: Json = {"min": 0, "color": {"mode": "continuous-GrYlRd"}}
    if CATALOGUE[name].unit == "percentunit":
        # The whole bar is everything: so the colour says what is bad. Red is what the alert calls bad, too.
        steps = [("green", None), ("orange", 0.01), ("red", 0.05)]
        levels = [{"color": color, "value": above} for color, above in steps]
        defaults |= {"color": {"mode": "thresholds"}, "thresholds": {"mode": "absolute", "steps": levels}}
    made = _panel(store, name, "bargauge", where=where, limit=limit, options=options, defaults=defaults)
    column = _BARS[name] if store == "elasticsearch" else "Value #A"
    # Elasticsearch ranks endpoints within their service, and counts their requests beside the share.
    made["transformations"] = [
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Count": column != "Count"},
                "indexByName": {"service": 0, "endpoint": 1},
            },
        },
        {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": column, "desc": True}]}},
        {"id": "limit", "options": {"limitField": limit}},
    ]
    return made


def heatmap(store: Store, where: str = "") -> Json:
    """Return how many requests took how long, over time."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "scale": "exponential",
            "exponent": 0.5,
            "steps": 64,
        },
        "rowsFrame": {"layout": "le"},
        "yAxis": {"unit": "ms", "axisPlacement": "left"},
        "tooltip": {"mode": "single", "yHistogram": True},
        "legend": {"show": True},
    }
    return _panel(store, "heatmap", "heatmap", where=where, options=options)


def cloud(store: Store) -> Json:
    """Return the patterns of errors, each as large as it is frequent."""
    options = {"renderer": "canvas", "editorMode": "code", "getOption": _CLOUD}
    made = _panel(store, "errors", "volkovlabs-echarts-panel", limit=50, options=options)
    return {**made, "title": f"{made['title']}, as a cloud"}


# What the columns of the two stores' tables are in the graph of calls, and what people read. Loki's are named
# by the queries, Elasticsearch's by what is counted; the graph knows its own by their names.
_CALLS: Final[Mapping[Store, tuple[str, str, str]]] = {
    "loki": ("Value #A", "Value #B", "Value #C"),
    "elasticsearch": ("Count", "Average", "p95.0 duration_ms"),
}


def calls(store: Store, *, graph: bool) -> Json:
    """Return who calls whom, as a graph (Grafana makes its nodes of the edges' ends) or as a table."""
    made = _panel(store, "calls", "nodeGraph" if graph else "table", limit=50)
    calls, failed, slow = _CALLS[store]
    steps: list[Json] = []
    if store == "loki":
        steps += [{"id": "labelsToFields", "options": {"mode": "columns"}}, {"id": "merge", "options": {}}]
    if graph:
        # The graph takes a column by its name, and what is renamed keeps it: so columns are made anew. An
        # edge has an id, the number of its row. A node adds up what its edges have as statistics: a sum of
        # shares means nothing, so these are details.
        steps += [_renewed("service", "source"), _renewed("peer", "target")]
        steps += [
            _times_one(old, new)
            for old, new in ((calls, "mainstat"), (failed, "detail__failed"), (slow, "detail__p95"))
        ]
        steps.append({"id": "calculateField", "options": {"mode": "index", "alias": "id"}})
        # Units are written down as they stand (it knows no short numbers), and there is room for the number.
        shown = {"mainstat": "calls", "detail__failed": "error rate", "detail__p95": "P95"}
        steps.append({"id": "organize", "options": {"renameByName": shown}})
        units = {"error rate": "percentunit", "P95": "ms"}
    else:
        names = ("caller", "callee", "calls", "error rate", "P95")
        renamed = dict(zip(("service", "peer", calls, failed, slow), names, strict=True))
        places = {old: number for number, old in enumerate(renamed)}
        hidden = {"excludeByName": {"Time": True}, "indexByName": places, "renameByName": renamed}
        steps.append({"id": "organize", "options": hidden})
        made["title"], made["options"] = "Calls, as a table", {"showHeader": True}
        units = {"calls": "short", "error rate": "percentunit", "P95": "ms"}
    made["transformations"] = steps
    made["fieldConfig"] = {
        "defaults": {} if graph else {"custom": {"minWidth": 70}},
        "overrides": [_override(name, "unit", unit) for name, unit in units.items()],
    }
    return made


def _renewed(old: str, new: str) -> Json:
    how = {"source": old, "format": "regexp", "regExp": f"/(?<{new}>.*)/"}
    return {"id": "extractFields", "options": how}


def _times_one(old: str, new: str) -> Json:
    factors = {
        "left": {"matcher": {"id": "byName", "options": old}},
        "operator": "*",
        "right": {"fixed": "1"},
    }
    return {"id": "calculateField", "options": {"mode": "binary", "alias": new, "binary": factors}}


def logs(store: Store, streams: str, where: str, title: str, *, order: str = "Descending") -> Json:
    """Return a list of lines. With `order` Ascending they are read as a story."""
    if store == "loki":
        expr = f'{{{streams}}} {where} | json message="message"'
        expr += ' | line_format "{{.service}}: {{.message}}"'
        target: Json = {"refId": "A", "datasource": source("loki"), "expr": " ".join(expr.split())}
        target |= {"queryType": "range", "editorMode": "code", "maxLines": 500}
    else:
        settings = {"limit": "500"}
        target = {
            "refId": "A",
            "datasource": source("elasticsearch"),
            "query": where,
            "timeField": "@timestamp",
            "metrics": [{"id": "1", "type": "logs", "settings": settings}],
            "bucketAggs": [],
        }
    options = {
        "showTime": True,
        "wrapLogMessage": True,
        "enableLogDetails": True,
        "sortOrder": order,
        "dedupStrategy": "none",
        "prettifyLogMessage": False,
    }
    return {
        "type": "logs",
        "title": title,
        "datasource": source(store),
        "targets": [target],
        "options": options,
        "fieldConfig": {"defaults": {}, "overrides": []},
    }
