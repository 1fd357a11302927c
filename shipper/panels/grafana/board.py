"""A dashboard: panels laid in rows, with the variables, links and marks around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

__all__ = ["Board", "Json", "Store", "dashboard", "source", "text", "variable"]

Json: TypeAlias = dict[str, Any]
Store: TypeAlias = Literal["loki", "elasticsearch"]

_SCHEMA: Final = 41  # of Grafana 12's dashboards


@dataclass(slots=True)
class Board:
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


def source(uid: str) -> Json:
    """Return a reference to a data source."""
    return {"type": uid, "uid": uid}


def variable(store: Store, name: str) -> Json:
    """Return a choice of the values that a field has in a store."""
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
        "datasource": source(store),
        "query": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": everything,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def text(name: str, value: str, label: str = "") -> Json:
    """Return a variable that is typed in."""
    return {
        "name": name,
        "type": "textbox",
        "label": label or name,
        "query": value,
        "current": {"text": value, "value": value},
        "options": [{"selected": True, "text": value, "value": value}],
    }


def dashboard(store: Store, name: str, title: str, board: Board, variables: Sequence[Json]) -> Json:
    """Return a dashboard of a store, for a file."""
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
    made: Json = {"name": "deployments", "enable": True, "iconColor": "blue", "datasource": source(store)}
    if store == "loki":
        # Of what a format names and a line has not, Grafana writes down the name: so the line says it all.
        words = '| json message="message", version="version" | line_format "{{.message}} {{.version}}"'
        expr = f'{{kind="deployment",service=~"$service"}} {words}'
        return {**made, "expr": expr, "titleFormat": "{{service}}", "tagKeys": "environment"}
    # Without a field for its words a mark would say nothing.
    target = {"refId": "Anno", "query": "kind:deployment AND service:$service"}
    return {**made, "textField": "message", "tagsField": "service", "target": target}
