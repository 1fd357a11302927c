# ruff: noqa: D301 - click reads the character \b, not its name
"""`logferry stats`: the dashboards' panels as small charts in the terminal, from the local store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from ..panels import CATALOGUE
from .codes import OK, PROBLEMS, UNAVAILABLE, USAGE
from .common import config_option, fail, open_store, store_option
from .output import Output, stdout, warn
from .query import as_filter

if TYPE_CHECKING:
    from ..store import Store

__all__ = ["stats"]

_ORDER: Final = (
    *("qps", "error_rate", "latency", "heatmap", "top_errors", "slowest", "volume", "errors", "calls"),
)
_WIDE: Final = 150  # columns of a terminal from which on two panels stand side by side
_LEAST: Final = 60


@click.command(short_help="Show the panels as small charts.")
@click.argument("words", nargs=-1)
@config_option
@store_option
@click.option(
    "--panel",
    "names",
    multiple=True,
    type=click.Choice([*CATALOGUE]),
    help="Only this one; may be repeated (default: all).",
)
@click.option("--since", default="1h", show_default=True, help="From this time on: 15m (ago), today, 08:30.")
@click.option("--until", help="Before this time.")
@click.option(
    "--limit", type=click.IntRange(1, 100), default=5, show_default=True, help="Lines of ranked panels."
)
def stats(
    words: tuple[str, ...],
    config_path: str | None,
    store_path: str | None,
    names: tuple[str, ...],
    since: str,
    until: str | None,
    limit: int,
) -> None:
    """Show requests, latencies, error rates, log volume and frequent errors of the local store.

    \b
    logferry stats                                  the last hour
    logferry stats service=checkout --since 15m     WORDS filter, as in `query`
    logferry stats --panel errors --limit 20
    logferry stats --panel qps | jq .value          piped: one JSON line for each row

    The same panels as on the local page and in Grafana. Exits with 1 when nothing matches.
    """
    from ..core.filter import FilterError
    from ..store import StoreError

    store = open_store(store_path, config_path)
    out = stdout()
    wanted = [name for name in _ORDER if not names or name in names]
    try:
        start, end, step = _range(since, until)
        found = {
            name: store.panel(name, start, end, step=step, limit=limit, filter=_narrowed(name, words))
            for name in wanted
        }
    except (FilterError, ValueError) as error:
        fail(str(error), USAGE)
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    if out.people:
        _draw(out, found, (start, end, step))
        out.line(_completeness(store, config_path, store_path), "bright_black")
    else:
        for name, rows in found.items():
            for row in rows:
                out.json({"panel": name, **_plain(row)})
    if not any(found.values()):
        warn(f"nothing matches since {since}")
        for hint in store.parse(as_filter(words)).hints:
            warn(hint)
        raise SystemExit(PROBLEMS)
    raise SystemExit(OK)


def _narrowed(name: str, given: Sequence[str]) -> str:
    """Return the filter of a panel: which requests failed is said by the error rate, not by their names.

    A request's exception is one event, the access event itself: that is an error like any other.
    """
    words = as_filter(given)
    if name != "errors":
        return words
    told = "(NOT kind=access OR error_type=*)"
    return f"({words}) {told}" if words.strip() else told


def _range(since: str, until: str | None) -> tuple[datetime, datetime, int]:
    """Return begin, end and step; in words relative to now. ValueError when it is none."""
    from ..store.moments import parse_moment
    from ..store.panels import step_for

    now = datetime.now(UTC).astimezone()
    start, end = parse_moment(since, now), parse_moment(until, now) if until else now
    if end <= start:
        raise ValueError("--until is not after --since")
    return start, end, step_for((end - start).total_seconds())


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for JSON: times are UTC and say so."""
    return {
        name: value.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
        if isinstance(value, datetime)
        else value
        for name, value in row.items()
    }


def _draw(
    out: Output, found: Mapping[str, Sequence[Mapping[str, Any]]], within: tuple[datetime, datetime, int]
) -> None:
    from .charts import Range, beside, chart

    over = Range(*within)
    pairs = out.width >= _WIDE
    width = max(_LEAST, (out.width - 2) // 2 if pairs else out.width)
    blocks = [chart(name, rows, over, width, colour=out.colour) for name, rows in found.items()]
    if pairs:
        blocks += [[]] * (len(blocks) % 2)
        blocks = [beside(*two, width) for two in zip(blocks[::2], blocks[1::2], strict=True)]
    for block in blocks:
        for line in block:
            out.line(line)
        out.line()


def _completeness(store: Store, config_path: str | None, store_path: str | None) -> str:
    """Say what the charts stand on: the newest event, and what waits or was dropped where that is known."""
    newest = next(iter(store.query("", limit=1)), None)
    moment = datetime.fromisoformat(str(newest["timestamp"])).astimezone() if newest else None
    told = [f"newest event {moment:%Y-%m-%d %H:%M:%S}" if moment else "the store is empty"]
    if store_path is None:
        from ..config.plan import spool_path
        from ..overview import Watcher
        from .common import load_config

        if (path := spool_path(load_config(config_path))) is not None:
            accounts = [s.account for view in Watcher([path]).look() for s in view.sinks.values()]
            waiting, dropped = (
                sum(a.pending for a in accounts),
                sum(sum(a.dropped.values()) for a in accounts),
            )
            told.append(f"waiting in the spool {waiting:,} · dropped ever {dropped:,}")
    return " · ".join(told)
