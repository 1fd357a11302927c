"""Dashboards, data sources and alerts for Grafana 12, made from the panels' definitions. Pure: values only.

`board.py` lays panels into a dashboard, `panels.py` makes them, `boards.py` says which dashboard has which;
`datasources.py` and `alerts.py` are what else is provisioned.

Rules, each of them a trap that was met:

- Every `uid` is fixed, and references take uids: provisioning by name breaks when something is renamed.
- `maxDataPoints` and a least interval of a minute go with `$__auto`, or a range longer than the step inflates
  sums.
- Loki's heatmap has `legendFormat` {{duration_le}} (else rows sort as text) and `rowsFrame.layout` le.
- A word cloud needs a plugin; a bar chart with the same numbers stands beside it.
"""

from .alerts import alert_rules
from .boards import dashboards
from .datasources import datasources

__all__ = ["alert_rules", "dashboards", "datasources"]
