# ruff: noqa: D301 - click reads the character \b, not its name
"""`logferry tail`: the local store as it grows."""

from __future__ import annotations

import click

from .codes import UNAVAILABLE, USAGE
from .common import config_option, fail, of_trace, open_store, store_option
from .output import stdout
from .query import as_filter, show_events

__all__ = ["tail"]


@click.command(short_help="Show events as they arrive in the local store.")
@click.argument("words", nargs=-1)
@config_option
@store_option
@click.option("--since", help="Begin with what is there since then: 15m (ago), today, 08:30.")
@click.option(
    "--trace", "trace_id", help="Only this trace: a trace id, a UUID or a whole traceparent header."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    help="Default: table on a terminal, json (one event a line) on a pipe.",
)
def tail(
    words: tuple[str, ...],
    config_path: str | None,
    store_path: str | None,
    since: str | None,
    trace_id: str | None,
    form: str | None,
) -> None:
    """Show events that match WORDS as they arrive, until Ctrl-C. The words are those of `logferry query`.

    \b
    logferry tail level=ERROR
    logferry tail service=shop --since 15m          what is there since then, and what comes
    logferry tail --trace 4bf92f3577b34da6a3ce929d0e0e4736
    logferry tail level>=WARNING | jq .message      piped: one JSON line for each event
    """
    from ..core.filter import FilterError
    from ..store import StoreError

    store = open_store(store_path, config_path, awaited=True)
    out = stdout()
    form = form or ("table" if out.people else "json")
    wanted = of_trace(as_filter(words), trace_id)
    try:
        arriving = store.tail(wanted)
        if since is not None:
            show_events(out, store.query(wanted, since, limit=None, order="asc"), form)
        out.flush()
        for event in arriving:
            show_events(out, [event], form)
            out.flush()
    except (FilterError, ValueError) as error:
        fail(str(error), USAGE)
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
