"""Elastic's names for what an event always has, taken to ours. Pure.

Beats and Elastic's loggers write objects in objects (`log.level`, `host.name`, `trace.id`); so does whoever
sends to Elasticsearch by ECS. What has no name here stays where it was. What Beats say of themselves
(`agent`, `ecs`, `input`, `@metadata`) is no part of the log and is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ..core.parse import moment_of

__all__ = ["from_ecs"]

_NAMES: Final[Mapping[tuple[str, str], str]] = {
    ("log", "level"): "level",
    ("log", "logger"): "logger",
    ("service", "name"): "service",
    ("service", "version"): "version",
    ("service", "environment"): "environment",
    ("trace", "id"): "trace_id",
    ("span", "id"): "span_id",
    ("transaction", "id"): "span_id",
    ("user", "id"): "user_id",
    ("process", "pid"): "process",
}
_DEEP: Final[Mapping[tuple[str, str, str], str]] = {
    ("log", "file", "path"): "log_file",
    ("log", "origin", "function"): "function",
    ("log", "syslog", "appname"): "service",
    ("process", "thread", "name"): "thread",
}
_THEIRS: Final = ("ephemeral_id", "type")
"""A Beat's `agent` has both; a field of the same name that somebody logged does not."""


_MOVES: Final = tuple((path[0], path, name) for path, name in (*_NAMES.items(), *_DEEP.items()))
_OUTER: Final = frozenset(outer for outer, _, _ in _MOVES)


def from_ecs(content: dict[str, Any]) -> None:
    """Give what `content` says in ECS's words the names of events, unless they are taken."""
    _name_host(content)
    objects = [name for name in _OUTER.intersection(content) if isinstance(content[name], dict)]
    if objects:
        for outer, path, name in _MOVES:
            if outer in objects:
                _move(content, path, name)
    agent = content.get("agent")
    beat = "@metadata" in content
    if isinstance(agent, dict) and all(name in agent for name in _THEIRS):
        beat = True
        del content["agent"]
        content.pop("input", None)
    content.pop("@metadata", None)
    if isinstance(content.get("ecs"), dict):
        del content["ecs"]
    _name_time(content, beat=beat)
    for name in objects:
        _prune(content, name)


def _name_time(content: dict[str, Any], *, beat: bool) -> None:
    """Take the time to its name. Two times: the line's own counts, and no event has a field `@timestamp`.

    Elasticsearch's sink writes one itself. A Beat's is when it read the line, or the line's own in
    milliseconds; what it is with others is not known, so it is kept.
    """
    stamp, own = content.get("@timestamp"), content.get("timestamp")
    if stamp is None:
        return
    if own in (None, stamp):
        content["timestamp"] = content.pop("@timestamp")
    elif moment_of(own, datetime.timestamp) is not None:
        del content["@timestamp"]
        if not beat and not str(own).startswith(str(stamp).removesuffix("Z")):
            content.setdefault("ecs_timestamp", stamp)


def _name_host(content: dict[str, Any]) -> None:
    """Put the host's name in the place of what is known of it; the rest is `host_info`."""
    host = content.get("host")
    if not isinstance(host, dict):
        return
    name = next((host[key] for key in ("name", "hostname") if isinstance(host.get(key), str)), None)
    if name is None or "host_info" in content:
        return
    rest = {key: value for key, value in host.items() if value != name}
    content["host"] = name
    if rest:
        content["host_info"] = rest


def _move(content: dict[str, Any], path: tuple[str, ...], name: str) -> None:
    """Take a value at a path to a name, unless something else is there."""
    holder: Any = content
    for part in path[:-1]:
        holder = holder.get(part) if isinstance(holder, dict) else None
    if isinstance(holder, dict) and path[-1] in holder and not isinstance(holder[path[-1]], dict | list):
        if name not in content:
            content[name] = holder.pop(path[-1])
        elif content[name] == holder[path[-1]]:
            del holder[path[-1]]


def _prune(holder: dict[str, Any], name: str) -> None:
    """Remove an object of which nothing is left."""
    held = holder.get(name)
    if isinstance(held, dict):
        for inner in [key for key, value in held.items() if isinstance(value, dict)]:
            _prune(held, inner)
        if not held:
            del holder[name]
