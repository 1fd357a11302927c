"""What a Beat says, as what a line would say. Pure.

- `message` goes through the parser like a line of a file, and counts more than what the Beat says beside it.
- All else is taken as `ecs` says: host, file, time; further fields keep their names.
- A line of a file that is sent again (its acknowledgement got lost) gets the same id again: it is made of the
  Beat, the file, the time at which the line was read, and its place. A store that knows ids keeps it once.
- What is no JSON object is kept whole as the message.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import orjson

from ...core.lines import CutLine
from ...core.parse import Parsed, parse, parse_object
from ..ecs import from_ecs
from ..mixed import Mixed
from ..parsed_blocks import Told

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["told_of_beat"]

_LARGEST: Final = 10**18


def told_of_beat(payload: bytes, mixed: Mixed, extra: Mapping[str, Any]) -> Told | None:
    """Return what a Beat says; None: there is nothing in it. `mixed` understands its messages."""
    content = None if isinstance(payload, CutLine) else _object(payload)
    own = ""
    if content is None:
        parsed = parse(payload, "text")
        if parsed is None:
            return None
        parsed.fields["parse_error"] = "not a JSON object"
    else:
        own = _identity(content)
        parsed = _read(content, mixed)
    for name, value in extra.items():
        parsed.fields.setdefault(name, value)
    return parsed, own


def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError:
        try:
            content = orjson.loads(payload.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            return None
    return content if isinstance(content, dict) else None


def _read(content: dict[str, Any], mixed: Mixed) -> Parsed:
    line = content.pop("message", None) or content.pop("line", None)  # version 1 calls it so
    from_ecs(content)
    if isinstance(line, str):
        content["message"] = "-"  # its place is taken: a field `event` or `msg` is a field
    beside = parse_object(content)
    if not isinstance(line, str):
        if line is not None:
            beside.fields["message_value"] = line
        return beside
    found = mixed.read(line.encode("utf-8", "replace"))
    if found is None:
        beside.message = line
        return beside
    found.timestamp = beside.timestamp if found.timestamp is None else found.timestamp
    found.level = beside.level if found.level == "INFO" else found.level
    for name in ("logger", "service", "trace_id", "span_id", "error"):
        if not getattr(found, name):
            setattr(found, name, getattr(beside, name))
    for name, value in beside.fields.items():
        found.fields.setdefault(name, value)
    return found


def _identity(content: dict[str, Any]) -> str:
    """Return the id of a line of a file; empty: it is none, or too little is known of it."""
    agent, log = content.get("agent"), content.get("log")
    if not isinstance(agent, dict) or not isinstance(log, dict):
        return ""
    file, offset = log.get("file"), log.get("offset")
    path = file.get("path") if isinstance(file, dict) else None
    parts: Any = (agent.get("id"), agent.get("ephemeral_id"), path, content.get("@timestamp"))
    if type(offset) is not int or not 0 <= offset < _LARGEST:
        return ""
    try:
        said = "\0".join(parts)
    except TypeError:  # one of them is no text
        return ""
    name = blake2b(said.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return f"{name}-{offset + 1}"
