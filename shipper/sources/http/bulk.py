"""Elasticsearch's bulk request, and what its clients ask beside it. Pure.

- `create` and `index` are events; `update` and `delete` are refused, each by itself: a log only grows.
- A document that is no JSON object is refused by itself (400). An action that is none refuses the request.
- An answer for each item: 201 when it is in the spool, 429 when there was no room for it, so that a client
  repeats these only.
- `GET /` says what clients ask before they send: that this is Elasticsearch, of a version that they accept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..listen.identity import known_id

__all__ = ["HELLO", "PRODUCT", "Item", "answer_of", "error_of", "read_bulk"]

PRODUCT: Final = {"X-elastic-product": "Elasticsearch"}
VERSION: Final = "8.19.0"
HELLO: Final = {
    "name": "logferry",
    "cluster_name": "logferry",
    "cluster_uuid": "logferry-agent",
    "version": {
        "number": VERSION,
        "build_flavor": "default",
        "build_type": "tar",
        "build_hash": "0" * 40,
        "build_date": "2026-01-01T00:00:00.000Z",
        "build_snapshot": False,
        "lucene_version": "9.12.0",
        "minimum_wire_compatibility_version": "7.17.0",
        "minimum_index_compatibility_version": "7.0.0",
    },
    "tagline": "You Know, for Search",
}
_ACTIONS: Final = ("create", "index", "update", "delete")


@dataclass(slots=True)
class Item:
    """One action: its document (empty: none that can be taken), and what became of it."""

    action: str
    index: str
    name: str  # its `_id`; empty: none
    line: bytes = b""
    status: int = 429
    reason: str = ""

    @property
    def own(self) -> str:
        """The id of the event, if another logferry gave it one."""
        return known_id(self.name)


def read_bulk(body: bytes, index: str = "") -> list[Item]:
    """Return the items of a bulk request; ValueError when it is none."""
    items: list[Item] = []
    item: Item | None = None  # whose document comes next
    for line in body.removesuffix(b"\n").split(b"\n"):
        if item is not None:
            _give(item, line.strip())
            item = None
        elif line.strip():
            made = _item(line, index, len(items) + 1)
            items.append(made)
            item = made if made.action != "delete" else None
    if item is not None:
        raise ValueError("the last action has no document behind it")
    return items


def _item(line: bytes, index: str, number: int) -> Item:
    try:
        action = orjson.loads(line)
        (name, about), *more = action.items()
    except (ValueError, AttributeError):
        raise ValueError(f"action {number} is no object with one of create and index in it") from None
    if name not in _ACTIONS or more or not isinstance(about, dict):
        raise ValueError(f"action {number} is {str(name)[:40]!r}, and none of create and index")
    made = Item(name, str(about.get("_index", index)), str(about.get("_id") or ""))
    if name in {"update", "delete"}:
        made.status, made.reason = 400, "a log is only appended to: send create or index"
    return made


def _give(item: Item, line: bytes) -> None:
    if item.reason:
        return
    if line[:1] == b"{" and line[-1:] == b"}":
        item.line = line
    else:
        item.status, item.reason = 400, "the document is no JSON object"


def answer_of(items: Sequence[Item], took: int) -> dict[str, Any]:
    """Return the answer to a bulk request."""
    return {
        "errors": any(item.status != 201 for item in items),
        "took": took,
        "items": [{item.action: _told(number, item)} for number, item in enumerate(items)],
    }


def _told(number: int, item: Item) -> dict[str, Any]:
    told: dict[str, Any] = {
        "_index": item.index,
        "_id": item.name or f"logferry-{number}",
        "status": item.status,
    }
    if item.status == 201:
        return told | {"_version": 1, "result": "created", "_seq_no": 0, "_primary_term": 1}
    if item.status == 429:
        kind, reason = "es_rejected_execution_exception", "the spool is full at present"
    else:
        kind, reason = "illegal_argument_exception", item.reason
    return told | {"error": {"type": kind, "reason": reason}}


def error_of(status: int, reason: str) -> dict[str, Any]:
    """Return what Elasticsearch answers to a request that it refuses."""
    kind = "es_rejected_execution_exception" if status == 429 else "illegal_argument_exception"
    cause = {"type": kind, "reason": reason}
    return {"error": {**cause, "root_cause": [cause]}, "status": status}
