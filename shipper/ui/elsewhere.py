"""A panel of the page, asked elsewhere: the same question for Loki and for Elasticsearch. Pure.

What of the filter is `field=value` goes along; anything else is named in a comment, not guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..core.filter_nodes import All, Node, Not, Test
from ..panels.logql import LOGQL, Scope, logql
from ..panels.search import SEARCHES, grafana_target, search_body

__all__ = ["elsewhere"]

_STREAMS: Final = ("service", "level", "environment", "kind")


def elsewhere(name: str, node: Node, since: str, until: str) -> Mapping[str, str]:
    """Return the panel's question as `logql` and `elasticsearch`; empty where it has none."""
    if name not in LOGQL or name not in SEARCHES:
        return {}
    tests, left = list(_tests(node)), _has_more(node)
    streams = [
        f"{field}{'!~' if no else '=~'}{json.dumps('|'.join(map(re.escape, values)))}"
        for field, values, no in tests
        if field in _STREAMS
    ]
    where = "".join(
        " | "
        + (" and " if no else " or ").join(
            f"{field}{'!=' if no else '='}{json.dumps(value)}" for value in values
        )
        for field, values, no in tests
        if field not in _STREAMS
    )
    scope = Scope(",".join(streams) or 'service=~".+"', where.strip())
    queries = "\n".join(f"{query}  # {legend}" for legend, query in logql(name, scope).items())
    words = " AND ".join(
        f"{'NOT ' * no}{field}:({' OR '.join(json.dumps(value) for value in values)})"
        for field, values, no in tests
    )
    body: Any = search_body(grafana_target(SEARCHES[name], where=words), since, until)
    note = "# words and comparisons of the filter are left out\n" if left else ""
    return {"logql": note + queries, "elasticsearch": json.dumps(body, indent=1)}


def _parts(node: Node) -> tuple[Node, ...]:
    return node.nodes if isinstance(node, All) else (node,)


def _tests(node: Node) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield (field, values, negated) for each test of equality that must hold."""
    for part in _parts(node):
        inner = part.node if isinstance(part, Not) else part
        if _is_plain(inner):
            assert isinstance(inner, Test)
            yield inner.field, tuple(value.text for value in inner.values), isinstance(part, Not)


def _has_more(node: Node) -> bool:
    return any(not _is_plain(part.node if isinstance(part, Not) else part) for part in _parts(node))


def _is_plain(node: Node) -> bool:
    return (
        isinstance(node, Test) and node.operator == "=" and not any(value.wildcard for value in node.values)
    )
