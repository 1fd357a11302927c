"""Dashboards, data sources and alerts for Grafana 12, made from the panels' definitions. Pure: values only.

Rules, each of them a trap that was met:

- Every `uid` is fixed, and references take uids: provisioning by name breaks when something is renamed.
- `maxDataPoints` and a least interval of a minute go with `$__auto`, or a range longer than the step inflates
  sums.
- Loki's heatmap has `legendFormat` {{duration_le}} (else rows sort as text) and `rowsFrame.layout` le.
- A word cloud needs a plugin; a bar chart with the same numbers stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from .catalogue import CATALOGUE
from .logql import Scope, logql
from .search import SEARCHES, grafana_target

__all__ = ["alert_rules", "dashboards", "datasources"]

Json: TypeAlias = dict[str, Any]
Store: TypeAlias = Literal["loki", "elasticsearch"]

# Not the title of the dashboards' folder: groups of alerts know no folder's uid, and would make a second one.
FOLDER: Final = "logferry alerts"
_SCHEMA: Final = 41  # of Grafana 12's dashboards
_VARIABLES: Final = 'service=~"$service",environment=~"$environment"'
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


@dataclass(slots=True)
class _Board:
    """A dashboard that is being put together: panels are laid from left to right, in rows."""

    store: Store
    panels: list[Json]
    x: int = 0
    y: int = 0
    height: int = 0

    def add(self, panel: Json, width: int, height: int) -> None:
        """Put a panel behind the others; 24 columns make a row."""
        if self.x + width > 24:
            self.x, self.y, self.height = 0, self.y + self.height, 0
        place = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.panels.append({"id": len(self.panels) + 1, "gridPos": place, **panel})
        self.x += width
        self.height = max(self.height, height)


def _source(uid: str) -> Json:
    return {"type": uid, "uid": uid}


def _targets(store: Store, name: str, *, where: str = "", limit: int = 5) -> list[Json]:
    """Return the queries of a panel for a store; `where` narrows them (a label filter, or Lucene)."""
    over_time = CATALOGUE[name].over == "time"
    if store == "loki":
        scope = Scope(_VARIABLES, where, "$__auto", "$__range", limit)
        return [
            {
                "refId": chr(ord("A") + number),
                "datasource": _source("loki"),
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
    return [{**target, "datasource": _source("elasticsearch")}]


def _panel(store: Store, name: str, kind: str, *, where: str = "", limit: int = 5, **more: Any) -> Json:
    panel = CATALOGUE[name]
    defaults: Json = {"unit": panel.unit, **more.pop("defaults", {})}
    made: Json = {
        "type": kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _source(store),
        "targets": _targets(store, name, where=where, limit=limit),
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}),
        **more,
    }
    if panel.over == "time":
        made |= {"interval": "1m", "maxDataPoints": 120}
    return made


def _lines(store: Store, name: str, *, where: str = "", stack: bool = False, **more: Any) -> Json:
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


def _bars(store: Store, name: str, *, limit: int = 5, where: str = "") -> Json:
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


def _heatmap(store: Store, where: str = "") -> Json:
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


def _cloud(store: Store) -> Json:
    options = {"renderer": "canvas", "editorMode": "code", "getOption": _CLOUD}
    made = _panel(store, "errors", "volkovlabs-echarts-panel", limit=50, options=options)
    return {**made, "title": f"{made['title']}, as a cloud"}


# What the columns of the two stores' tables are in the graph of calls, and what people read. Loki's are named
# by the queries, Elasticsearch's by what is counted; the graph knows its own by their names.
_CALLS: Final[Mapping[Store, tuple[str, str, str]]] = {
    "loki": ("Value #A", "Value #B", "Value #C"),
    "elasticsearch": ("Count", "Average", "p95.0 duration_ms"),
}


def _calls(store: Store, *, graph: bool) -> Json:
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


def _logs(store: Store, streams: str, where: str, title: str, *, order: str = "Descending") -> Json:
    """Return a list of lines. With `order` Ascending they are read as a story."""
    if store == "loki":
        expr = f'{{{streams}}} {where} | json message="message"'
        expr += ' | line_format "{{.service}}: {{.message}}"'
        target: Json = {"refId": "A", "datasource": _source("loki"), "expr": " ".join(expr.split())}
        target |= {"queryType": "range", "editorMode": "code", "maxLines": 500}
    else:
        settings = {"limit": "500"}
        target = {
            "refId": "A",
            "datasource": _source("elasticsearch"),
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
        "datasource": _source(store),
        "targets": [target],
        "options": options,
        "fieldConfig": {"defaults": {}, "overrides": []},
    }


def _variable(store: Store, name: str) -> Json:
    query: Any = (
        {"label": name, "refId": "A", "stream": "", "type": 1}
        if store == "loki"
        else f'{{"find": "terms", "field": "{name}", "size": 500}}'
    )
    everything = ".+" if store == "loki" else "*"
    return {
        "name": name,
        "type": "query",
        "label": name,
        "datasource": _source(store),
        "query": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": everything,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _text(name: str, value: str, label: str = "") -> Json:
    return {
        "name": name,
        "type": "textbox",
        "label": label or name,
        "query": value,
        "current": {"text": value, "value": value},
        "options": [{"selected": True, "text": value, "value": value}],
    }


def _dashboard(store: Store, name: str, title: str, board: _Board, variables: Sequence[Json]) -> Json:
    others = {
        "type": "dashboards",
        "title": "logferry",
        "tags": [f"logferry-{store}"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
        "icon": "external link",
    }
    return {
        "uid": f"logferry-{store}-{name}",
        "title": title,
        "tags": ["logferry", f"logferry-{store}"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "timezone": "browser",
        "templating": {"list": list(variables)},
        "annotations": {"list": [_deployments(store)]},
        "links": [others],
        "panels": board.panels,
    }


def _deployments(store: Store) -> Json:
    """Return the annotation that marks deployments: events with `kind: deployment` (docs/dashboards.md)."""
    made: Json = {"name": "deployments", "enable": True, "iconColor": "blue", "datasource": _source(store)}
    if store == "loki":
        # Of what a format names and a line has not, Grafana writes down the name: so the line says it all.
        words = '| json message="message", version="version" | line_format "{{.message}} {{.version}}"'
        expr = f'{{kind="deployment",service=~"$service"}} {words}'
        return {**made, "expr": expr, "titleFormat": "{{service}}", "tagKeys": "environment"}
    # Without a field for its words a mark would say nothing.
    target = {"refId": "Anno", "query": "kind:deployment AND service:$service"}
    return {**made, "textField": "message", "tagsField": "service", "target": target}


def _overview(store: Store) -> Json:
    board = _Board(store, [])
    board.add(_lines(store, "qps"), 12, 8)
    board.add(_heatmap(store), 12, 8)
    board.add(_lines(store, "error_rate"), 12, 8)
    board.add(_lines(store, "latency"), 12, 8)
    board.add(_bars(store, "top_errors"), 12, 8)
    board.add(_bars(store, "slowest"), 12, 8)
    board.add(_cloud(store), 12, 9)
    board.add(_bars(store, "errors", limit=10), 12, 9)
    board.add(_lines(store, "volume", stack=True), 24, 9)
    board.add(_calls(store, graph=True), 12, 10)
    board.add(_calls(store, graph=False), 12, 10)
    streams = f'{_VARIABLES},level=~"$level"'
    where = "" if store == "loki" else "service:$service AND environment:$environment AND level:$level"
    board.add(_logs(store, streams, where, "Logs"), 24, 14)
    variables = [_variable(store, name) for name in ("service", "environment", "level")]
    return _dashboard(store, "overview", f"Overview ({store})", board, variables)


def _endpoint(store: Store) -> Json:
    board = _Board(store, [])
    where = '| endpoint=~"$endpoint"' if store == "loki" else "endpoint:$endpoint"
    board.add(_lines(store, "qps", where=where), 12, 8)
    board.add(_heatmap(store, where), 12, 8)
    board.add(_lines(store, "error_rate", where=where), 12, 8)
    board.add(_lines(store, "latency", where=where), 12, 8)
    streams = f'{_VARIABLES},kind="access"'
    logs = where if store == "loki" else f"kind:access AND service:$service AND {where}"
    board.add(_logs(store, streams, logs, "Requests"), 24, 14)
    endpoint = _text("endpoint", ".+") if store == "loki" else _variable(store, "endpoint")
    variables = [*(_variable(store, name) for name in ("service", "environment")), endpoint]
    return _dashboard(store, "endpoint", f"Endpoint ({store})", board, variables)


def _errors(store: Store) -> Json:
    board = _Board(store, [])
    board.add(_lines(store, "error_rate"), 12, 8)
    board.add(_bars(store, "top_errors", limit=10), 12, 8)
    board.add(_cloud(store), 12, 10)
    board.add(_bars(store, "errors", limit=20), 12, 10)
    streams = f'{_VARIABLES},level=~"ERROR|CRITICAL"'
    where = "" if store == "loki" else "level:(ERROR OR CRITICAL) AND service:$service"
    board.add(_logs(store, streams, where, "Errors"), 24, 14)
    variables = [_variable(store, name) for name in ("service", "environment")]
    return _dashboard(store, "errors", f"Errors ({store})", board, variables)


def _trace(store: Store) -> Json:
    board = _Board(store, [])
    traces = {
        "type": "traces",
        "title": "Spans",
        "description": "Of the trace whose id stands above. Elsewhere, open a line and click its trace.",
        "datasource": _source("zipkin"),
        "targets": [
            {
                "refId": "A",
                "datasource": _source("zipkin"),
                "query": "$trace_id",
                "queryType": "traceID",
            }
        ],
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {},
    }
    board.add(traces, 24, 14)
    # Without a trace id there are no lines, and not those that belong to none.
    where = '| trace_id!="" | trace_id="$trace_id"' if store == "loki" else 'trace_id:"$trace_id"'
    board.add(_logs(store, 'service=~".+"', where, "Lines of this trace", order="Ascending"), 24, 16)
    made = _dashboard(store, "trace", f"Trace ({store})", board, [_text("trace_id", "", "trace id")])
    return {**made, "annotations": {"list": []}}


def _pipeline() -> Json:
    board = _Board("loki", [])
    # Nothing dropped is an answer, not a panel without data.
    dropped = "sum by (sink, reason) (increase(logferry_dropped_total[$__range]))"
    rows = (
        ("Accepted per second", "sum by (sink) (rate(logferry_accepted_total[$__rate_interval]))", "cps"),
        ("Delivered per second", "sum by (sink) (rate(logferry_delivered_total[$__rate_interval]))", "cps"),
        ("Waiting in the spool", "sum by (sink) (logferry_pending)", "short"),
        ("Lag of the oldest event", "max by (sink) (logferry_lag_seconds)", "s"),
        (
            "Dropped, by reason",
            f'{dropped} or on () label_replace(vector(0), "reason", "nothing", "", "")',
            "short",
        ),
        ("Dead letters", "sum by (sink) (increase(logferry_dead_lettered_total[$__range]))", "short"),
        ("Retried per second", "sum by (sink) (rate(logferry_retried_total[$__rate_interval]))", "cps"),
        ("Sinks that do not deliver", 'sum by (sink, state) (logferry_sink_state{state!="ok"})', "short"),
    )
    # Where nothing happens the scale is not a hundred.
    custom = {"axisSoftMax": 1, "lineWidth": 2, "fillOpacity": 10, "showPoints": "never"}
    for title, expr, unit in rows:
        legend = "{{sink}} {{reason}}{{state}}" if "reason" in expr or "state" in expr else "{{sink}}"
        target = {
            "refId": "A",
            "datasource": _source("prometheus"),
            "expr": expr,
            "legendFormat": legend,
            "range": True,
        }
        panel = {
            "type": "timeseries",
            "title": title,
            "datasource": _source("prometheus"),
            "targets": [target],
            "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
            "options": {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi"},
            },
        }
        board.add(panel, 12, 8)
    made = _dashboard("loki", "pipeline", "Pipeline", board, [])
    return {
        **made,
        "uid": "logferry-pipeline",
        "tags": ["logferry", "logferry-loki", "logferry-elasticsearch"],
    } | {"annotations": {"list": []}}


def dashboards() -> Mapping[str, Json]:
    """Return all dashboards, by the path of their file below `dashboards/`."""
    made: dict[str, Json] = {"pipeline.json": _pipeline()}
    stores: tuple[Store, ...] = ("loki", "elasticsearch")
    for store in stores:
        for name, build in (
            ("overview", _overview),
            ("endpoint", _endpoint),
            ("errors", _errors),
            ("trace", _trace),
        ):
            made[f"{store}/{name}.json"] = build(store)
    return made


def datasources() -> Json:
    """Return the data sources to provision. A dollar that Grafana is to see is doubled."""
    # With the time that is looked at: the trace's own default would be the last hour.
    trace = "/d/logferry-{}-trace?var-trace_id=$${{__value.raw}}&$${{__url_time_range}}"
    derived = [
        {
            "name": "trace",
            "matcherType": "label",
            "matcherRegex": "^trace_id$",
            "url": trace.format("loki"),
            "urlDisplayLabel": "lines",
        },
        {
            "name": "spans",
            "matcherType": "label",
            "matcherRegex": "^trace_id$",
            "datasourceUid": "zipkin",
            "url": "$${__value.raw}",
            "urlDisplayLabel": "waterfall",
        },
    ]
    links = [
        {
            "field": "^trace_id$",
            "datasourceUid": "zipkin",
            "url": "$${__value.raw}",
            "urlDisplayLabel": "waterfall",
        },
        {
            "field": "^trace_id$",
            "url": trace.format("elasticsearch"),
            "urlDisplayLabel": "lines",
        },
    ]
    to_logs = {
        "datasourceUid": "loki",
        "spanStartTimeShift": "-5m",
        "spanEndTimeShift": "5m",
        "customQuery": True,
        "query": '{service=~".+"} | trace_id="$${__trace.traceId}"'
        ' | json message="message" | line_format "{{.service}}: {{.message}}"',
    }
    common = {"access": "proxy", "editable": False}
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Loki",
                "uid": "loki",
                "type": "loki",
                "url": "http://loki:3100",
                "isDefault": True,
                **common,
                "jsonData": {"derivedFields": derived, "maxLines": 1000},
            },
            {
                "name": "Elasticsearch",
                "uid": "elasticsearch",
                "type": "elasticsearch",
                "url": "http://elasticsearch:9200",
                "isDefault": False,
                "basicAuth": True,
                "basicAuthUser": "elastic",
                "secureJsonData": {"basicAuthPassword": "$ELASTIC_PASSWORD"},
                **common,
                "jsonData": {
                    "index": "logs-*",
                    "timeField": "@timestamp",
                    "logMessageField": "message",
                    "logLevelField": "level",
                    "dataLinks": links,
                },
            },
            {
                "name": "Prometheus",
                "uid": "prometheus",
                "type": "prometheus",
                "url": "http://prometheus:9090",
                "isDefault": False,
                "jsonData": {"timeInterval": "5s"},
                **common,
            },
            {
                "name": "Zipkin",
                "uid": "zipkin",
                "type": "zipkin",
                "url": "http://zipkin:9411",
                "isDefault": False,
                "jsonData": {"tracesToLogsV2": to_logs},
                **common,
            },
        ],
    }


def _rule(uid: str, title: str, source: str, expr: str, *, above: float, hold: str, words: str) -> Json:
    query: Json = {"refId": "A", "expr": expr, "instant": True, "editorMode": "code"}
    if source == "loki":
        query |= {"queryType": "instant", "range": False}
    threshold = {
        "refId": "C",
        "type": "threshold",
        "expression": "A",
        "conditions": [{"evaluator": {"type": "gt", "params": [above]}}],
    }
    return {
        "uid": uid,
        "title": title,
        "condition": "C",
        "for": hold,
        "noDataState": "OK",
        "execErrState": "Error",
        "annotations": {"summary": words},
        "labels": {"team": "logferry"},
        "data": [
            {
                "refId": "A",
                "datasourceUid": source,
                "relativeTimeRange": {"from": 7500, "to": 0},
                "model": query,
            },
            {
                "refId": "C",
                "datasourceUid": "__expr__",
                "relativeTimeRange": {"from": 0, "to": 0},
                "model": threshold,
            },
        ],
    }


def alert_rules() -> Json:
    """Return the alerts to provision."""
    scope = Scope(step="5m", range_="5m", limit=1000)
    access = scope.access
    enough = f"sum by (service, endpoint) (count_over_time({access} [5m])) > 20"
    share = (
        f'sum by (service, endpoint) (count_over_time({access} | status_code>=500 or failed="true" [5m]))'
        f" / sum by (service, endpoint) (count_over_time({access} [5m]))"
    )
    slow = (
        f'quantile_over_time(0.95, {access} | unwrap duration_ms | __error__="" [5m]) by (service, endpoint)'
    )
    every = "{service=~`.+`}"
    silent = (
        f"sum by (service) (count_over_time({every} [2h]))"
        f" unless sum by (service) (count_over_time({every} [10m]))"
    )
    rules = [
        _rule(
            "logferry-error-rate",
            "Error rate of an endpoint",
            "loki",
            f"({share}) and ({enough})",
            above=0.05,
            hold="5m",
            words="{{ $labels.service }} {{ $labels.endpoint }}: "
            "{{ $values.A.Value | humanizePercentage }} of the requests of five minutes failed",
        ),
        _rule(
            "logferry-p95",
            "P95 of an endpoint",
            "loki",
            f"({slow}) and ({enough})",
            above=1000,
            hold="5m",
            words='{{ $labels.service }} {{ $labels.endpoint }}: P95 {{ printf "%.0f" $values.A.Value }} ms',
        ),
        _rule(
            "logferry-silent",
            "No logs from a service",
            "loki",
            silent,
            above=0,
            hold="5m",
            words="{{ $labels.service }} has logged nothing for ten minutes, but did within two hours",
        ),
        _rule(
            "logferry-lag",
            "Pipeline lag",
            "prometheus",
            "max by (sink) (logferry_lag_seconds)",
            above=60,
            hold="5m",
            words="sink {{ $labels.sink }} is {{ $values.A.Value | humanizeDuration }} behind",
        ),
        _rule(
            "logferry-dropped",
            "Records dropped",
            "prometheus",
            "sum by (sink, reason) (increase(logferry_dropped_total[10m]))",
            above=0,
            hold="0s",
            words='sink {{ $labels.sink }} dropped {{ printf "%.0f" $values.A.Value }} records'
            " ({{ $labels.reason }})",
        ),
    ]
    group = {"orgId": 1, "name": "logferry", "folder": FOLDER, "interval": "1m", "rules": rules}
    contact = {
        "orgId": 1,
        "name": "logferry",
        "receivers": [
            {
                "uid": "logferry-webhook",
                "type": "webhook",
                "settings": {"url": "$ALERT_WEBHOOK", "httpMethod": "POST"},
            }
        ],
    }
    policy = {
        "orgId": 1,
        "receiver": "logferry",
        "group_by": ["alertname", "service"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "4h",
    }
    return {"apiVersion": 1, "groups": [group], "contactPoints": [contact], "policies": [policy]}
