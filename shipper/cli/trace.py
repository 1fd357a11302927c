"""`logferry trace ID`: everything that one request caused, across services: a waterfall, and the lines."""

from __future__ import annotations

import click

from .codes import PROBLEMS, UNAVAILABLE
from .common import config_option, fail, open_store, store_option, trace_id_of
from .output import stdout
from .query import show_events
from .waterfall import show_waterfall

__all__ = ["trace", "trace_id_of"]


@click.command(short_help="Show one trace: a waterfall of its spans, and its lines.")
@click.argument("trace_id", metavar="ID")
@config_option
@store_option
@click.option("--lines/--no-lines", default=True, show_default=True, help="The lines below the waterfall.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["waterfall", "json", "csv"]),
    help="Default: waterfall on a terminal, json (one event a line) on a pipe.",
)
def trace(
    trace_id: str,
    config_path: str | None,
    store_path: str | None,
    lines: bool,  # noqa: FBT001 - click's signature
    form: str | None,
) -> None:
    """Show the trace ID across all services: a trace id, a UUID or a whole traceparent header.

    Spans, access events and jobs are bars in time; what is red has failed. Below them stands what was logged,
    with the time since the trace began. On a pipe all events come as JSON, in order.
    """
    from ..core.waterfall import waterfall
    from ..store import StoreError

    out = stdout()
    try:
        events = open_store(store_path, config_path).trace(trace_id_of(trace_id))
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    if not events:
        fail(f"no event of the trace {trace_id} is in the store", PROBLEMS)
    form = form or ("waterfall" if out.people else "json")
    if form == "waterfall":
        show_waterfall(out, trace_id_of(trace_id), waterfall(events), lines=lines)
    else:
        show_events(out, events, form)
