# ruff: noqa: D301 - click reads the character \b, not its name
"""`logferry query`: the local store, searched with words that people can guess, or with SQL."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final

import click

from .codes import OK, PROBLEMS, UNAVAILABLE, USAGE
from .common import config_option, fail, of_trace, open_store, store_option
from .output import Output, event_line, stdout, warn
from .pager import paged

if TYPE_CHECKING:
    from ..store import Store

__all__ = ["as_filter", "query", "show_events"]

_FIELD: Final = re.compile(r"([-!]?[\w.@-]+(?:!=|<=|>=|=~|!~|[=:<>~]))(.*)\Z", re.DOTALL)
_MORE: Final = re.compile(r"\s(?:[\w.@-]+(?:!=|<=|>=|=~|!~|[=:<>~])|(?:AND|OR|NOT)(?:\s|\Z))")  # no value
_CSV_SAMPLE: Final = 1_000  # events whose keys make the columns


def as_filter(words: Iterable[str]) -> str:
    """Return command-line words as one filter: what the shell unquoted is quoted again."""
    parts = []
    for word in words:
        if re.search(r"\s", word) and '"' not in word and "'" not in word:
            match = _FIELD.match(word)
            several = match is not None and _MORE.search(match[2])
            if match and not several:
                word = f'{match[1]}"{match[2]}"'  # noqa: PLW2901 - the word, quoted
            elif not match and not re.search(r"[=<>()~]|\b(?:AND|OR|NOT)\b", word):
                word = f'"{word}"'  # noqa: PLW2901 - the word, quoted
        parts.append(word)
    return " ".join(parts)


@click.command(short_help="Search the local store.")
@click.argument("words", nargs=-1)
@config_option
@store_option
@click.option("--since", help="From this time on: 15m (ago), today, 08:30, 2026-11-21, ISO 8601.")
@click.option("--until", help="Before this time.")
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many events."
)
@click.option("--oldest", is_flag=True, help="The oldest that match, not the newest.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "csv"]),
    help="Default: table on a terminal, json (one event a line) on a pipe.",
)
@click.option(
    "--trace", "trace_id", help="Only this trace: a trace id, a UUID or a whole traceparent header."
)
@click.option(
    "--pager/--no-pager",
    "pages",
    default=True,
    show_default=True,
    help="On a terminal, what is longer than it goes through $PAGER (less).",
)
@click.option("--sql", help="One SELECT over the view `events` instead of words.")
def query(  # noqa: PLR0913, PLR0917 - click passes every option by itself
    words: tuple[str, ...],
    config_path: str | None,
    store_path: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    oldest: bool,  # noqa: FBT001 - click's signature
    form: str | None,
    trace_id: str | None,
    pages: bool,  # noqa: FBT001 - as above
    sql: str | None,
) -> None:
    """Search the local store; without WORDS, show the newest events.

    \b
    logferry query level=ERROR service=checkout "time-out" --since 15m
    logferry query 'duration_ms>500' 'endpoint="/orders/*"' --format json
    logferry query --sql 'SELECT level, count(*) FROM events GROUP BY 1'

    Words side by side must all hold; OR, NOT and parentheses work. A trace id or an event id alone finds it.
    Exits with 1 when nothing matches.
    """
    store = open_store(store_path, config_path)
    out = stdout()
    form = form or ("table" if out.people else "json")
    if sql is not None:
        if words or since or until or trace_id:
            fail("--sql stands alone: put the conditions into the statement", USAGE)
        _sql(out, store, sql, form)
        return
    from ..core.filter import FilterError
    from ..store import StoreError

    try:
        wanted = store.parse(of_trace(as_filter(words), trace_id))
        if since and until:
            store.span(since, until)  # a time that ends before it begins is a mistake, not an empty answer
        events = store.query(wanted, since, until, limit, "asc" if oldest else "desc")
        shown = list(events)
    except (FilterError, ValueError) as error:
        fail(str(error), USAGE)
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    if not oldest:
        shown.reverse()  # the newest stand at the bottom, where the eye is
    if form == "table" and out.people and pages:
        _page(out, shown, from_end=not oldest)
    else:
        show_events(out, shown, form)
    if form == "table" and len(shown) == limit:
        warn(f"the limit of {limit} is reached: --limit shows more")
    if not shown:
        warn("\n".join(["nothing matches" + (f" since {since}" if since else ""), *wanted.hints]))
    raise SystemExit(OK if shown else PROBLEMS)


def _page(out: Output, events: Sequence[Mapping[str, Any]], *, from_end: bool) -> None:
    text = "".join(f"{event_line(event, colour=out.colour, width=out.width)}\n" for event in events)
    if not paged(text, from_end=from_end):
        out.stream.write(text)
        out.flush()


def show_events(out: Output, events: Iterable[Mapping[str, Any]], form: str) -> None:
    """Write events as lines for people, as JSON lines, or as CSV."""
    if form == "csv":
        _csv(out, iter(events))
        return
    for event in events:
        if form == "json":
            out.json(event)
        else:
            out.line(event_line(event, colour=out.colour, width=out.width))


def _csv(out: Output, events: Iterator[Mapping[str, Any]]) -> None:
    head = list(islice(events, _CSV_SAMPLE))
    columns = list(dict.fromkeys(name for event in head for name in event))
    writer = csv.writer(out.stream)
    writer.writerow(columns)
    for event in chain(head, events):
        writer.writerow([_csv_cell(event.get(column)) for column in columns])


def _csv_cell(value: object) -> object:
    if isinstance(value, dict | list):
        import orjson

        return orjson.dumps(value).decode()
    return value


def _sql(out: Output, store: Store, text: str, form: str) -> None:
    from ..store import StoreError

    try:
        answer = store.sql(text)
    except StoreError as error:
        fail(str(error), USAGE)
    if form == "csv":
        writer = csv.writer(out.stream)
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
        return
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    if form == "table":
        out.table(rows, answer.columns)
        return
    for row in rows:
        out.json(row)
