"""`logferry trace ID`: everything that one request caused, across services, in order."""

from __future__ import annotations

import re
from typing import Final

import click

from .codes import PROBLEMS, UNAVAILABLE
from .common import config_option, fail, open_store, store_option
from .output import stdout
from .query import show_events

__all__ = ["trace", "trace_id_of"]

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def trace_id_of(text: str) -> str:
    """Return the trace id in what was pasted: a trace id, a UUID or a `traceparent`."""
    match = _TRACEPARENT.fullmatch(text.strip().lower())
    return match[1] if match else text.strip()


@click.command(short_help="Show all events of one trace, in order.")
@click.argument("trace_id", metavar="ID")
@config_option
@store_option
def trace(trace_id: str, config_path: str | None, store_path: str | None) -> None:
    """Show all events of the trace ID, in order: a trace id, a UUID or a whole traceparent header."""
    from ..store import StoreError

    out = stdout()
    try:
        events = open_store(store_path, config_path).trace(trace_id_of(trace_id))
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    if not events:
        fail(f"no event of the trace {trace_id} is in the store", PROBLEMS)
    show_events(out, events, "table" if out.people else "json")
