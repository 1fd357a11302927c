"""The index template that the schema becomes. Pure.

Rules:

- No undeclared field gets a clean event refused: what the schema does not know becomes a keyword (numbers as
  well: a later event may have text there), is cut off beyond `ignore_above`, and is only stored where it is
  malformed or the index has all the fields it may have.
- `subobjects: false` makes each path a field of its own: `service` and `service.name` are both there, and
  `user: "x"` beside `user: {"id": 1}` is no conflict.
- The Elastic Common Schema's names are aliases: both names find the same events.
- OpenSearch knows neither `subobjects` nor lifecycles: there aliases that would make a field an object and a
  value at once are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ....handlers.schema import FieldType, Schema
from ...config.fields import format_duration
from .framing import UNMAPPED

__all__ = ["Wishes", "field_types", "fingerprint", "index_template", "template_name"]

_KEYWORD: Final[Mapping[str, Any]] = {"type": "keyword", "ignore_above": 1_024}
_LONG_KEYWORD: Final[Mapping[str, Any]] = {"type": "keyword", "ignore_above": 8_191}
"""8,191 characters of four bytes are what a term may have."""

_TEXT: Final[Mapping[str, Any]] = {"type": "text", "norms": False}
_TYPES: Final[Mapping[FieldType, Mapping[str, Any] | None]] = {
    "string": _LONG_KEYWORD,
    "integer": {"type": "long", "ignore_malformed": True},
    "number": {"type": "double", "ignore_malformed": True},
    "boolean": {"type": "boolean"},
    "timestamp": {"type": "date_nanos", "ignore_malformed": True},
    "object": None,
}
_WORDS: Final = {"message", "stack_info"}
_ERROR: Final[Mapping[str, Mapping[str, Any]]] = {
    "error.type": _LONG_KEYWORD,
    "error.message": _TEXT,
    "error.stack": _TEXT,
    "error.code": _LONG_KEYWORD,
    "error.stack_trace": {"type": "alias", "path": "error.stack"},
}
_PRIORITY: Final = 500  # above those that come with the server: 100 to 300


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the configuration says about the indices. `retention`: seconds."""

    retention: float | None = None
    ilm_policy: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


def template_name(stream: str) -> str:
    """Return the name of the template for a data stream."""
    return f"logferry-{stream}"


def field_types(schema: Schema) -> Mapping[str, FieldType]:
    """Return the types of all fields that the schema knows."""
    return {field.name: field.type for field in schema.fields}


def index_template(
    schema: Schema, stream: str, wishes: Wishes, *, opensearch: bool = False
) -> dict[str, Any]:
    """Return the template for `stream`, with its fingerprint in `_meta`."""
    settings: dict[str, Any] = {"index.mapping.ignore_malformed": True}
    template: dict[str, Any] = {"settings": settings, "mappings": _mappings(schema, opensearch=opensearch)}
    if not opensearch:
        settings["index.mapping.total_fields.ignore_dynamic_beyond_limit"] = True
        if wishes.ilm_policy is None:
            keep = {} if wishes.retention is None else {"data_retention": _span(wishes.retention)}
            template["lifecycle"] = {"enabled": True, **keep}
    if wishes.ilm_policy is not None:
        settings["index.lifecycle.name"] = wishes.ilm_policy
    settings |= {f"index.{name.removeprefix('index.')}": value for name, value in wishes.settings.items()}
    body = {"index_patterns": [stream], "priority": _PRIORITY, "data_stream": {}, "template": template}
    mark = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    return {**body, "_meta": {"managed_by": "logferry", "fingerprint": mark}}


def fingerprint(template: Mapping[str, Any]) -> str:
    """Return the fingerprint that a template carries; `""`: it is none of ours."""
    meta = template.get("_meta")
    mark = meta.get("fingerprint") if isinstance(meta, dict) else None
    return mark if isinstance(mark, str) else ""


def _mappings(schema: Schema, *, opensearch: bool) -> dict[str, Any]:
    properties: dict[str, Any] = {"@timestamp": {"type": "date_nanos"}}
    for entry in schema.fields:
        mapping = _TEXT if entry.name in _WORDS else _TYPES[entry.type]
        if mapping is not None:
            properties[entry.name] = dict(mapping)
    names = set(properties)
    for entry in schema.fields:
        # Under OpenSearch `service.name` would make an object of `service`, which is a value.
        clash = opensearch and (entry.ecs or "").partition(".")[0] in names
        if entry.ecs and entry.name in names and entry.ecs not in properties and not clash:
            properties[entry.ecs] = {"type": "alias", "path": entry.name}
    properties |= {name: dict(mapping) for name, mapping in _ERROR.items()}
    properties[UNMAPPED] = {"type": "keyword", "index": False, "doc_values": False}
    kinds = ("string", "long", "double", "boolean")
    plain = [{kind: {"match_mapping_type": kind, "mapping": dict(_KEYWORD)}} for kind in kinds]
    whole = {} if opensearch else {"subobjects": False}
    return {
        **whole,
        "dynamic": True,
        "date_detection": False,
        "numeric_detection": False,
        "dynamic_templates": plain,
        "properties": properties,
    }


def _span(seconds: float) -> str:
    """Return a duration as Elasticsearch reads it: one number, one unit."""
    text = format_duration(seconds)
    return text if text.rstrip("dhms").isdigit() else f"{seconds:.0f}s"
