"""The dashboards' panels, defined once: what they are called, and how each store is asked for them.

`catalogue` names, units and words · `logql` Loki · `search` Elasticsearch · `shipper/store/panels.py` the
local store's SQL · `insights` CloudWatch Logs Insights · `grafana` dashboards made of them. A
test asks all stores the same questions about the same events and compares the numbers.
"""

from __future__ import annotations

from .catalogue import CATALOGUE, Panel

__all__ = ["CATALOGUE", "Panel"]
