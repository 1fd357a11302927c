"""Sinks and sources by the names that stand behind `type:`.

The built-in ones are a table of import paths, so that a start imports only the kinds that are used and asks
no package metadata; a name that is not in it is looked up in the entry points `logferry.sinks` and
`logferry.sources`, where other distributions register theirs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .ports import SinkKind, SourceKind

__all__ = [
    "BUILT_IN_SINKS",
    "BUILT_IN_SOURCES",
    "UnknownTypeError",
    "sink_kind",
    "sink_types",
    "source_kind",
    "source_types",
]

_SINKS: Final[Mapping[str, str]] = {
    "cloudwatch": ".sinks.cloudwatch:SINK",
    "console": ".sinks.console:SINK",
    "elasticsearch": ".sinks.elasticsearch:SINK",
    "file": ".sinks.file:SINK",
    "http": ".sinks.http:SINK",
    "kafka": ".sinks.kafka:SINK",
    "local": ".sinks.local:SINK",
    "loki": ".sinks.loki:SINK",
    "memory": ".sinks.memory:SINK",
    "s3": ".sinks.s3:SINK",
    "otlp": ".sinks.otlp:SINK",
    "syslog": ".sinks.syslog:SINK",
    "zipkin": ".sinks.zipkin:SINK",
}
_SOURCES: Final[Mapping[str, str]] = {
    "beats": ".sources.beats:SOURCE",
    "exec": ".sources.exec:SOURCE",
    "file": ".sources.file:SOURCE",
    "http": ".sources.http:SOURCE",
    "journald": ".sources.journald:SOURCE",
    "kafka": ".sources.kafka:SOURCE",
    "spool": ".sources.spool:SOURCE",
    "stdin": ".sources.stdin:SOURCE",
    "tcp": ".sources.tcp:SOURCE",
    "udp": ".sources.udp:SOURCE",
    "unix": ".sources.unix:SOURCE",
}

BUILT_IN_SINKS: Final = tuple(sorted(_SINKS))
BUILT_IN_SOURCES: Final = tuple(sorted(_SOURCES))


class UnknownTypeError(LookupError):
    """No sink or source has this type; `known` are the types that exist."""

    def __init__(self, what: str, name: str, known: tuple[str, ...]) -> None:
        self.what, self.name, self.known = what, name, known
        super().__init__(f"no {what} has the type {name!r}; known: {', '.join(known)}")


def sink_kind(name: str) -> SinkKind[Any]:
    """Return the sink kind called `name`; `UnknownTypeError` when there is none."""
    kind: SinkKind[Any] = _find("sink", name, _SINKS)
    return kind


def source_kind(name: str) -> SourceKind[Any]:
    """Return the source kind called `name`; `UnknownTypeError` when there is none."""
    kind: SourceKind[Any] = _find("source", name, _SOURCES)
    return kind


def sink_types() -> tuple[str, ...]:
    """Return the names of all sinks that can be had, built-in and installed."""
    return _types("sink", _SINKS)


def source_types() -> tuple[str, ...]:
    """Return the names of all sources that can be had, built-in and installed."""
    return _types("source", _SOURCES)


def _find(what: str, name: str, built_in: Mapping[str, str]) -> Any:
    target = built_in.get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module, __package__), attribute)
    from importlib.metadata import entry_points  # costs milliseconds: only for what is not built in

    for point in entry_points(group=f"logferry.{what}s", name=name):
        return point.load()
    raise UnknownTypeError(what, name, _types(what, built_in))


def _types(what: str, built_in: Mapping[str, str]) -> tuple[str, ...]:
    from importlib.metadata import entry_points

    return tuple(sorted({*built_in, *(point.name for point in entry_points(group=f"logferry.{what}s"))}))
