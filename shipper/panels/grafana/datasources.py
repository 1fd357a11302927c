"""The data sources, and how one leads from a line to its trace and back."""

from __future__ import annotations

from .board import Json

__all__ = ["datasources"]


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
