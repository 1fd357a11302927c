"""Redis streams (redis-py, sync and async): the trace as fields of an entry.

    from logferry.handlers.integrations import redis as traced
    traced.install()                                  # every XADD of the process carries the trace
    for _, entries in client.xread({"orders": "$"}, block=1000):
        for entry_id, fields in entries:
            with traced.received(fields): ...

Without `install`: ``client.xadd("orders", traced.with_trace({"order": "42"}))``. `without_trace` returns
an entry's own fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from .. import carry
from ..tracing import HEADERS, Incoming
from ._needs import missing
from ._patch import Patches

try:
    from redis.commands.core import StreamCommands
except ImportError as error:
    raise missing("redis", "redis", error) from error

__all__ = ["install", "received", "uninstall", "with_trace", "without_trace"]

_patches = Patches()


def with_trace(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return an entry's fields with those of the trace."""
    return carry.inject_headers(dict(fields))


def without_trace(fields: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return an entry's fields without those of the trace."""
    return {
        name: value
        for name, value in fields.items()
        if (name.decode("latin-1") if isinstance(name, bytes) else str(name)) not in HEADERS
    }


def received(
    entry: Mapping[Any, Any], name: str = "receive", **fields: object
) -> AbstractContextManager[Incoming]:
    """Handle one entry in its own context; `entry` are its fields, `fields` are bound as well."""
    return carry.received(entry, name, **fields)


def install() -> None:
    """Put the trace into every entry that this process adds, through clients and pipelines of both kinds."""
    uninstall()

    def make(original: Any) -> Any:
        def xadd(client: Any, name: Any, fields: Mapping[Any, Any], *args: Any, **kwargs: Any) -> Any:
            return original(client, name, with_trace(fields), *args, **kwargs)

        return xadd

    _patches.replace(StreamCommands, "xadd", make)


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
