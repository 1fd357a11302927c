"""Which service calls which: counted from spans, access events and jobs in the store.

A span whose parent belongs to another service is a call from that service. A `client` or `producer` span
that no other service's span answers is a call to its `peer`, or to what its tags name (`peer.service`,
`server.address`, `net.peer.name`, `db.system`, `messaging.system`): a database, a queue, a host without our
logs.
"""

# ruff: noqa: S608 - texts of ours; values are bound

from __future__ import annotations

from typing import Final

__all__ = ["COLUMNS", "EDGES", "SERVICES"]

_FAILED: Final = "coalesce(failed, status_code >= 500, FALSE)"
_IDS: Final = "trace_id <> '' AND span_id <> ''"


_PEERS: Final = ("peer.service", "server.address", "net.peer.name", "db.system", "messaging.system")
_PEER: Final = "coalesce(peer, " + ", ".join(f"fields ->> '$.tags.\"{name}\"'" for name in _PEERS) + ")"
_NUMBERS: Final = (
    "count(*) AS calls, count(*) FILTER (WHERE bad) AS failed,"
    " avg(CASE WHEN bad THEN 1.0 ELSE 0.0 END) AS rate,"
    " approx_quantile(duration_ms, 0.5) AS p50, approx_quantile(duration_ms, 0.95) AS p95"
)

SERVICES: Final = (
    f"SELECT service, count(*) AS requests, count(*) FILTER (WHERE {_FAILED}) AS failed,"
    f" avg(CASE WHEN {_FAILED} THEN 1.0 ELSE 0.0 END) AS rate, approx_quantile(duration_ms, 0.95) AS p95"
    " FROM events WHERE kind = 'access' AND {within} GROUP BY service ORDER BY requests DESC, service"
)

EDGES: Final = (
    # Only spans name a peer: the widest column is read for them alone.
    "WITH here AS NOT MATERIALIZED (SELECT * FROM events WHERE {within}),"
    " spans AS MATERIALIZED (SELECT service, trace_id, span_id, parent_id, duration_ms,"
    f" {_FAILED} AS bad, NULL AS peer"
    f" FROM here WHERE kind IN ('access', 'job') AND {_IDS}"
    " UNION ALL SELECT service, trace_id, span_id, parent_id, duration_ms,"
    f" {_FAILED} AS bad,"
    f" CASE WHEN fields ->> '$.span_kind' IN ('client', 'producer') THEN {_PEER}"
    f" END AS peer FROM here WHERE kind = 'span' AND {_IDS}),"
    " calls AS (SELECT p.service AS caller, c.service AS callee, c.duration_ms, c.bad, c.trace_id,"
    " c.parent_id"
    " FROM spans c JOIN spans p ON c.trace_id = p.trace_id AND c.parent_id = p.span_id"
    " WHERE c.parent_id <> '' AND c.service <> p.service),"
    " outside AS (SELECT s.service AS caller, s.peer AS callee, s.duration_ms, s.bad FROM spans s"
    " WHERE s.peer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM calls"
    " WHERE calls.trace_id = s.trace_id AND calls.parent_id = s.span_id))"
    f" SELECT caller, callee, FALSE AS external, {_NUMBERS} FROM calls GROUP BY caller, callee"
    f" UNION ALL SELECT caller, callee, TRUE AS external, {_NUMBERS} FROM outside"
    " GROUP BY caller, callee ORDER BY calls DESC, caller, callee"
)

COLUMNS: Final = frozenset(
    {
        *("service", "trace_id", "span_id", "parent_id", "duration_ms", "failed", "status_code", "kind"),
        *("peer", "fields", "timestamp"),
    }
)
