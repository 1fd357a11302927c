"""The trace as a comment on a SQL statement, so that the database's slow-query log carries it. Pure.

Rules (https://google.github.io/sqlcommenter/spec)
- Keys and values are URL-encoded (everything but letters, digits and ``_.-~``), values stand in single
  quotes, pairs are sorted by key and joined by commas. What is encoded holds no quote, no ``*/`` and no
  line break, so nothing that a request brings can end the comment.
- A statement that holds a comment already is not changed; so is one that is empty.
- ``percent="%%"`` where the driver will still format the statement with its parameters: a lone ``%`` would be
  a placeholder to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from .context import current
from .propagation import outgoing

__all__ = ["MAX_VALUE", "comment", "commented", "trace_fields"]

MAX_VALUE: Final = 256


def trace_fields() -> dict[str, str]:
    """Return what a statement is to carry: `traceparent`, `request_id`, and the endpoint as `route`."""
    found = {}
    ours = outgoing()
    for name, key in (("traceparent", "traceparent"), ("x-request-id", "request_id")):
        if name in ours:
            found[key] = ours[name]
    endpoint = current().get("endpoint")
    if isinstance(endpoint, str) and endpoint:
        found["route"] = endpoint
    return found


def comment(fields: Mapping[str, str], percent: str = "%") -> str:
    """Write `fields` as a comment; `""` when there are none. Values are cut at `MAX_VALUE` characters."""
    pairs = sorted((_encoded(key), _encoded(value)) for key, value in fields.items() if key and value)
    text = ",".join(f"{key}='{value}'" for key, value in pairs)
    return f"/*{text.replace('%', percent) if percent != '%' else text}*/" if text else ""


def _encoded(text: str) -> str:
    return quote(text[:MAX_VALUE].encode("utf-8", "replace"), safe="")


def commented(statement: str, fields: Mapping[str, str], percent: str = "%") -> str:
    """Return `statement` with the comment at its end."""
    if not statement.strip() or "/*" in statement or "--" in statement:
        return statement
    text = comment(fields, percent)
    return f"{statement} {text}" if text else statement
