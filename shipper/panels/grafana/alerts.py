"""The alerts: an endpoint that fails or is slow, a service that is silent, a pipeline that lags or drops."""

from __future__ import annotations

from typing import Final

from ..logql import Scope
from .board import Json

__all__ = ["alert_rules"]

# Not the title of the dashboards' folder: groups of alerts know no folder's uid, and would make a second one.
_FOLDER: Final = "logferry alerts"


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
    group = {"orgId": 1, "name": "logferry", "folder": _FOLDER, "interval": "1m", "rules": rules}
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
