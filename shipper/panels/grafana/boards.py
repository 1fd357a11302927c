"""The dashboards: which panels stand where."""

from __future__ import annotations

from collections.abc import Mapping

from .board import Board, Json, Store, dashboard, source, text, variable
from .panels import VARIABLES, bars, calls, cloud, heatmap, lines, logs

__all__ = ["dashboards"]


def _overview(store: Store) -> Json:
    board = Board(store, [])
    board.add(lines(store, "qps"), 12, 8)
    board.add(heatmap(store), 12, 8)
    board.add(lines(store, "error_rate"), 12, 8)
    board.add(lines(store, "latency"), 12, 8)
    board.add(bars(store, "top_errors"), 12, 8)
    board.add(bars(store, "slowest"), 12, 8)
    board.add(cloud(store), 12, 9)
    board.add(bars(store, "errors", limit=10), 12, 9)
    board.add(lines(store, "volume", stack=True), 24, 9)
    board.add(calls(store, graph=True), 12, 10)
    board.add(calls(store, graph=False), 12, 10)
    streams = f'{VARIABLES},level=~"$level"'
    where = "" if store == "loki" else "service:$service AND environment:$environment AND level:$level"
    board.add(logs(store, streams, where, "Logs"), 24, 14)
    variables = [variable(store, name) for name in ("service", "environment", "level")]
    return dashboard(store, "overview", f"Overview ({store})", board, variables)


def _endpoint(store: Store) -> Json:
    board = Board(store, [])
    where = '| endpoint=~"$endpoint"' if store == "loki" else "endpoint:$endpoint"
    board.add(lines(store, "qps", where=where), 12, 8)
    board.add(heatmap(store, where), 12, 8)
    board.add(lines(store, "error_rate", where=where), 12, 8)
    board.add(lines(store, "latency", where=where), 12, 8)
    streams = f'{VARIABLES},kind="access"'
    query = where if store == "loki" else f"kind:access AND service:$service AND {where}"
    board.add(logs(store, streams, query, "Requests"), 24, 14)
    endpoint = text("endpoint", ".+") if store == "loki" else variable(store, "endpoint")
    variables = [*(variable(store, name) for name in ("service", "environment")), endpoint]
    return dashboard(store, "endpoint", f"Endpoint ({store})", board, variables)


def _errors(store: Store) -> Json:
    board = Board(store, [])
    board.add(lines(store, "error_rate"), 12, 8)
    board.add(bars(store, "top_errors", limit=10), 12, 8)
    board.add(cloud(store), 12, 10)
    board.add(bars(store, "errors", limit=20), 12, 10)
    streams = f'{VARIABLES},level=~"ERROR|CRITICAL"'
    where = "" if store == "loki" else "level:(ERROR OR CRITICAL) AND service:$service"
    board.add(logs(store, streams, where, "Errors"), 24, 14)
    variables = [variable(store, name) for name in ("service", "environment")]
    return dashboard(store, "errors", f"Errors ({store})", board, variables)


def _trace(store: Store) -> Json:
    board = Board(store, [])
    traces = {
        "type": "traces",
        "title": "Spans",
        "description": "Of the trace whose id stands above. Elsewhere, open a line and click its trace.",
        "datasource": source("zipkin"),
        "targets": [
            {
                "refId": "A",
                "datasource": source("zipkin"),
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
    board.add(logs(store, 'service=~".+"', where, "Lines of this trace", order="Ascending"), 24, 16)
    made = dashboard(store, "trace", f"Trace ({store})", board, [text("trace_id", "", "trace id")])
    return {**made, "annotations": {"list": []}}


def _pipeline() -> Json:
    board = Board("loki", [])
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
            "datasource": source("prometheus"),
            "expr": expr,
            "legendFormat": legend,
            "range": True,
        }
        panel = {
            "type": "timeseries",
            "title": title,
            "datasource": source("prometheus"),
            "targets": [target],
            "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
            "options": {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi"},
            },
        }
        board.add(panel, 12, 8)
    made = dashboard("loki", "pipeline", "Pipeline", board, [])
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
