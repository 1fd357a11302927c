"""Reading a store: `Store(path).query("level=ERROR", since="15m")`, by any number of processes at once.

Rules:

- Every call looks at a snapshot of files (`source.py`) while holding the readers' lock, and is repeated when
  a file of it vanished all the same before the first row was handed out.
- DuckDB runs in memory, may open nothing but the store's own files and what was made of them (`pieces.py`),
  and cannot be told otherwise; `sql` takes SELECT statements only. What a user filters for is bound, never
  written into SQL.
- Times are given as aware datetimes (naive: UTC) or in words (`15m`, `today`); `since` is within the
  range, `until` is not.
- One `Store` may be used from several threads.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar

import orjson

from ..core.filter import Filter, parse
from ..core.filter_nodes import All, Node, Test, Value
from ..scratch import Scratch
from . import topology
from .layout import Layout, StoreError, locked
from .moments import as_event_time, parse_moment
from .panels import PANELS, PanelQuery, step_for
from .parquet import duckdb, literal
from .pieces import Pieces
from .rewrite import DERIVED, columns
from .source import Snapshot, events_sql, lines_sql, take_snapshot
from .sql import compile_filter
from .tail import follow

__all__ = ["Moment", "Order", "Rows", "Stats", "Store"]

Moment: TypeAlias = datetime | str | None
Order: TypeAlias = Literal["asc", "desc"]

T = TypeVar("T")

_IDS: Final = {"event_id", "trace_id", "span_id", "request_id", "correlation_id"}
_FETCH: Final = 2_000
_TRIES: Final = 50  # a try fails in milliseconds: at its worst, this looks again for some seconds


@dataclass(frozen=True, slots=True)
class Rows:
    """The answer to `sql`: names of the columns, and the rows as tuples."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Stats:
    """What a store holds. Sizes in bytes; times as in events, empty when there are none.

    `compacted`: events in Parquet files; `oldest` and `newest` are theirs. `damaged`: lines that were no
    events; `expired`: events that retention removed. `compaction`: the outcome of the last one, if any.
    """

    compacted: int
    parquet_files: int
    parquet_bytes: int
    fresh_files: int
    fresh_bytes: int
    oldest: str
    newest: str
    damaged: int
    expired: int
    compaction: Mapping[str, Any] | None


class Store:
    """A local store, to read. Raises `StoreError` when there is none at `path`, or DuckDB is missing."""

    def __init__(
        self,
        path: Path | str,
        *,
        memory: str = "1GB",
        threads: int | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone(),
    ) -> None:
        self._layout = Layout(path)
        if not self._layout.fresh.is_dir():
            raise StoreError(f"{self._layout.path}: there is no local store (nothing was ever written to it)")
        self._memory, self._threads, self._now = memory, threads, now
        self._connected: tuple[Any, Pieces] | None = None
        self._connecting = threading.Lock()
        self._running: set[Any] = set()
        self._scratch: Scratch | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def interrupt(self) -> None:
        """Let whatever is being asked by other threads fail at once, with `StoreError`."""
        for cursor in tuple(self._running):
            with contextlib.suppress(duckdb().Error):
                cursor.interrupt()

    def close(self) -> None:
        """Let go of DuckDB; its temporary directory is removed."""
        if self._connected is not None:
            self._connected[0].close()
            self._connected = None
        if self._scratch is not None:
            self._scratch.close()

    def parse(self, text: str) -> Filter:
        """Understand a filter with this store's declared fields. Raises `FilterError`."""
        return parse(text, self._layout.read_declared())

    def query(
        self,
        filter: Filter | str = "",  # noqa: A002 - the word that users know
        since: Moment = None,
        until: Moment = None,
        limit: int | None = 1_000,
        order: Order = "desc",
    ) -> Iterator[dict[str, Any]]:
        """Yield matching events, by time. Mistakes (`FilterError`, ValueError) are raised at once.

        Each is the event as it was logged, with its `event_id`; fields that were null are left out.
        """
        wanted = self._filter(filter)
        return self._query(wanted, self._range(since, until), limit, "asc" if order == "asc" else "desc")

    def get(self, event_id: str) -> dict[str, Any] | None:
        """Return one event by its id; None when it is not here (yet, or any more).

        What came out of another pipeline, or was a dead letter, is found by the id that it came with.
        """
        for name in ("event_id", "origin_id"):
            wanted = Filter(event_id, Test(name, "=", (Value(event_id),), "string"))
            if (found := next(self._query(wanted, ("", ""), 1, "asc"), None)) is not None:
                return found
        return None

    def trace(self, trace_id: str, limit: int | None = 10_000) -> list[dict[str, Any]]:
        """Return the events of a trace in order of time. Dashes and capitals in the id do not matter."""
        plain = trace_id.replace("-", "").lower()
        wanted = Filter(trace_id, Test("trace_id", "=", (Value(plain),), "string"))
        return list(self._query(wanted, ("", ""), limit, "asc"))

    def panel(
        self,
        name: str,
        since: Moment = None,
        until: Moment = None,
        *,
        step: int | None = None,
        limit: int = 5,
        filter: Filter | str = "",  # noqa: A002 - the word that users know
    ) -> list[dict[str, Any]]:
        """Return the rows of a panel (see `panels.py`). `step`: seconds; `limit`: rows of ranked panels."""
        make = PANELS.get(name)
        if make is None:
            raise ValueError(f"there is no panel {name!r}; one of {', '.join(PANELS)}")
        start, end = self._range(since, until)
        return self.answer(make(step or self._step(start, end), limit), start, end, filter)

    def answer(
        self,
        question: PanelQuery,
        since: Moment = None,
        until: Moment = None,
        filter: Filter | str = "",  # noqa: A002 - the word that users know
    ) -> list[dict[str, Any]]:
        """Return the rows of a question of our own, over the events of a range that match."""
        wanted, (start, end) = self._filter(filter), self._range(since, until)
        known = self._known()
        condition = compile_filter(wanted.node, known)
        where, values = _within(start, end)
        text = (
            f"SELECT {question.select} FROM events"  # noqa: S608 - texts of ours; values are bound
            f" WHERE {question.where} AND {where} AND ({condition.sql}) {question.rest}"
        )

        def run(cursor: Any) -> list[dict[str, Any]]:
            return _rows(cursor.execute(text, [*values, *condition.values]))

        return self._with(run, known, question.columns | condition.columns, start, end)

    def span(self, since: Moment = None, until: Moment = None) -> tuple[datetime, datetime]:
        """Return the moments that a range means now; an open one begins with the oldest event."""
        start, end = self._range(since, until)
        if start and end and end < start:
            raise ValueError(f"the time ends before it begins: {start} to {end}")
        last = datetime.fromisoformat(end) if end else self._now()
        if not start:
            start = self.stats().oldest
        if not start:
            oldest = PanelQuery("min(timestamp) AS first", "TRUE", "", frozenset({"timestamp"}))
            found = self.answer(oldest)[0]["first"]
            start = as_event_time(found) if found else ""
        first = datetime.fromisoformat(start) if start else last - timedelta(hours=1)
        return first.astimezone(UTC), max(last, first).astimezone(UTC)

    @property
    def path(self) -> Path:
        """The store's directory."""
        return self._layout.path

    def declared(self) -> Mapping[str, str]:
        """Return the fields that the schema of the store's events declares, name → type."""
        return self._layout.read_declared()

    def values(
        self, field: str, since: Moment = None, until: Moment = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """Return the most frequent values of a column with their `count`. ValueError for no column."""
        known = self._known()
        if field not in known and field not in DERIVED:
            raise ValueError(f"there is no column {field!r}")
        start, end = self._range(since, until)
        where, values = _within(start, end)
        text = (
            f'SELECT "{field}" AS value, count(*) AS count FROM events'  # noqa: S608 - a column of ours
            f' WHERE {where} AND "{field}" IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {int(limit)}'
        )

        def run(cursor: Any) -> list[dict[str, Any]]:
            return _rows(cursor.execute(text, values))

        return self._with(run, known, frozenset({field, "timestamp"}), start, end)

    def topology(self, since: Moment = None, until: Moment = None) -> dict[str, list[dict[str, Any]]]:
        """Return which service calls which (see `topology.py`): `services` and `edges`, as rows.

        Rates are shares that failed; `p50` and `p95` milliseconds.
        """
        start, end = self._range(since, until)
        where, values = _within(start, end)

        def run(cursor: Any) -> dict[str, list[dict[str, Any]]]:
            return {
                "services": _rows(cursor.execute(topology.SERVICES.format(within=where), values)),
                "edges": _rows(cursor.execute(topology.EDGES.format(within=where), values)),
            }

        return self._with(run, self._known(), topology.COLUMNS, start, end)

    def sql(self, text: str, values: Sequence[Any] = ()) -> Rows:
        """Run one SELECT over the view `events`. Raises `StoreError` for anything else, and for mistakes."""
        module = duckdb()
        try:
            statements = module.extract_statements(text)
        except module.Error as error:
            raise StoreError(f"SQL: {error}") from None
        if len(statements) != 1 or statements[0].type != module.StatementType.SELECT:
            raise StoreError("SQL: one SELECT statement, nothing else; the view is called events")

        def run(cursor: Any) -> Rows:
            result = cursor.execute(text, list(values))
            return Rows(tuple(column[0] for column in result.description), result.fetchall())

        return self._with(run, self._known(), None, "", "")

    def tail(
        self,
        filter: Filter | str = "",  # noqa: A002 - the word that users know
        stop: Callable[[], bool] = lambda: False,
        idle: Callable[[], None] = lambda: None,
    ) -> Iterator[dict[str, Any]]:
        """Yield matching events that are written from now on, until `stop()`; needs no DuckDB.

        `idle()` is called whenever all that is there was told.
        """

        def wait(seconds: float) -> None:
            idle()
            time.sleep(seconds)

        return follow(self._layout, self._filter(filter), stop, wait=wait)

    def stats(self) -> Stats:
        """Return what the store holds, from names and the manifest."""
        snapshot = take_snapshot(self._layout)
        manifest = self._layout.read_manifest()
        size = 0
        for path in snapshot.fresh:
            with contextlib.suppress(FileNotFoundError):
                size += path.stat().st_size
        outcome = None
        with contextlib.suppress(OSError, orjson.JSONDecodeError):
            outcome = orjson.loads((self._layout.path / "compaction.json").read_bytes())
        return Stats(
            compacted=sum(file.rows for file in manifest.files),
            parquet_files=len(manifest.files),
            parquet_bytes=sum(file.bytes for file in manifest.files),
            fresh_files=len(snapshot.fresh),
            fresh_bytes=size,
            oldest=min((file.oldest for file in manifest.files), default=""),
            newest=max((file.newest for file in manifest.files), default=""),
            damaged=manifest.damaged,
            expired=manifest.expired,
            compaction=outcome,
        )

    def _filter(self, given: Filter | str) -> Filter:
        return given if isinstance(given, Filter) else self.parse(given)

    def _known(self) -> dict[str, str]:
        return columns(self._layout.read_declared())

    def _range(self, since: Moment, until: Moment) -> tuple[str, str]:
        now = self._now()
        bounds = (parse_moment(m, now) if isinstance(m, str) and m else m for m in (since, until))
        start, end = (as_event_time(m) if isinstance(m, datetime) else "" for m in bounds)
        return start, end

    def _step(self, start: str, end: str) -> int:
        """Return the step that suits the range; an open one begins with the oldest compacted event."""
        first = start or self.stats().oldest
        last = datetime.fromisoformat(end) if end else self._now()
        return step_for((last - datetime.fromisoformat(first)).total_seconds() if first else 3600.0)

    def _query(
        self, wanted: Filter, within: tuple[str, str], limit: int | None, order: Order
    ) -> Iterator[dict[str, Any]]:
        known = self._known()
        condition = compile_filter(wanted.node, known)
        for attempt in range(_TRIES):
            started = False
            try:
                with self._events(known, condition.columns | {"timestamp"}, *within) as (cursor, snapshot):
                    where, values = _within(*within)
                    where, values = f"{where} AND ({condition.sql})", [*values, *condition.values]
                    inside = within
                    if limit is not None and not _is_for_few(wanted.node):
                        bound = _time_bound(cursor, snapshot, (where, values), limit, order)
                        if bound is None:
                            return
                        where += f" AND timestamp {'<=' if order == 'asc' else '>='} ?"
                        values.append(bound)
                        edge = as_event_time(bound)
                        inside = (within[0], edge) if order == "asc" else (edge, within[1])
                    # What is handed out is read in full width, but of few.
                    self._show(cursor, events_sql(self._layout, snapshot, known, None, inside))
                    last = f" LIMIT {int(limit)}" if limit is not None else ""
                    order_by = f"ORDER BY timestamp {order}, event_id {order}"
                    text = f"SELECT * FROM events WHERE {where} {order_by}{last}"  # noqa: S608 - texts of ours
                    result = cursor.execute(text, values)
                    names = [column[0] for column in result.description]
                    while rows := result.fetchmany(_FETCH):
                        started = True
                        for row in rows:
                            yield _event(names, row, known)
                    return
            except (duckdb().IOException, FileNotFoundError) as error:
                if started or attempt == _TRIES - 1:
                    raise StoreError(f"{self._layout.path}: changed while it was read; ask again") from error
            except duckdb().Error as error:
                raise StoreError(f"{self._layout.path}: {error}") from error

    def _with(
        self,
        run: Callable[[Any], T],
        known: Mapping[str, str],
        wanted: frozenset[str] | None,
        start: str,
        end: str,
    ) -> T:
        """Return `run(cursor)` with the view in place; once more when a file vanished under it."""
        module = duckdb()
        for attempt in range(_TRIES):
            try:
                with self._events(known, wanted, start, end) as (cursor, _):
                    return run(cursor)
            except (module.IOException, FileNotFoundError) as error:
                if attempt == _TRIES - 1:
                    raise StoreError(f"{self._layout.path}: {error}") from error
            except module.Error as error:
                raise StoreError(f"SQL: {error}") from None
        raise AssertionError("the last attempt returned or raised")

    @contextlib.contextmanager
    def _events(
        self, known: Mapping[str, str], wanted: frozenset[str] | None, start: str, end: str
    ) -> Iterator[tuple[Any, Snapshot]]:
        """Hold the readers' lock, and a cursor in which the view `events` shows one snapshot."""
        with locked(self._layout.readers, shared=True, wait=True):
            snapshot = take_snapshot(self._layout, start, end)
            connection, made = self._connect()
            cursor = connection.cursor()
            self._running.add(cursor)

            def write(lines: Path, target: Path) -> None:
                rows = lines_sql([lines], known)
                cursor.execute(f"COPY ({rows}) TO {literal(target)} (FORMAT parquet)")

            try:
                with made.look(snapshot.fresh, known, write) as (pieces, lines):
                    snapshot = replace(snapshot, fresh=lines, pieces=pieces)
                    self._show(cursor, events_sql(self._layout, snapshot, known, wanted, (start, end)))
                    yield cursor, snapshot
            finally:
                self._running.discard(cursor)
                cursor.close()

    @staticmethod
    def _show(cursor: Any, select: str) -> None:
        cursor.execute(f"CREATE OR REPLACE TEMP VIEW events AS {select}")

    def _connect(self) -> tuple[Any, Pieces]:
        with self._connecting:
            if self._connected is None:
                self._scratch = Scratch("query")
                scratch = self._scratch.path
                (scratch / "pieces").mkdir()
                self._connected = self._opened(scratch), Pieces(scratch / "pieces", (duckdb().Error,))
            return self._connected

    def _opened(self, scratch: Path) -> Any:
        connection = duckdb().connect()
        own = (self._layout.fresh, self._layout.events, scratch / "pieces")
        settings = [
            f"memory_limit={literal(self._memory)}",
            f"temp_directory={literal(scratch)}",
            "autoinstall_known_extensions=false",
            "autoload_known_extensions=false",
            "parquet_metadata_cache=true",
            f"allowed_directories=[{', '.join(map(literal, own))}]",
            "enable_external_access=false",
        ]
        if self._threads is not None:
            settings.append(f"threads={int(self._threads)}")
        for setting in (*settings, "lock_configuration=true"):
            connection.execute(f"SET {setting}")
        return connection


def _rows(result: Any) -> list[dict[str, Any]]:
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _within(start: str, end: str) -> tuple[str, list[Any]]:
    parts = ["TRUE"]
    parts += ["timestamp >= CAST(? AS TIMESTAMP)"] * bool(start)
    parts += ["timestamp < CAST(? AS TIMESTAMP)"] * bool(end)
    return " AND ".join(parts), [bound for bound in (start, end) if bound]


def _is_for_few(node: Node) -> bool:
    """Tell whether a filter asks for an id, which few events have: they are read at once."""
    if isinstance(node, All):
        return any(map(_is_for_few, node.nodes))
    return isinstance(node, Test) and node.operator == "=" and node.field in _IDS


def _time_bound(
    cursor: Any, snapshot: Snapshot, condition: tuple[str, list[Any]], limit: int, order: Order
) -> datetime | None:
    """Return the time of the last event that `limit` lets through, so few rows are read in full width.

    Looks through 1, 2, 4 ... files' worth of time from the end that is asked for, until it has enough.
    """
    where, values = condition
    outer, here, before = ("max", "<=", ">") if order == "asc" else ("min", ">=", "<")
    found: datetime | None = None
    behind: str | None = None
    for edge in (*_edges(snapshot, order), None):
        within = f" AND timestamp {before} CAST(? AS TIMESTAMP)" * (behind is not None)
        within += f" AND timestamp {here} CAST(? AS TIMESTAMP)" * (edge is not None)
        text = (
            f"SELECT count(*), {outer}(timestamp) FROM (SELECT timestamp FROM events"  # noqa: S608 - texts of ours
            f" WHERE {where}{within} ORDER BY timestamp {order} LIMIT {int(limit)})"
        )
        bounds = [bound for bound in (behind, edge) if bound is not None]
        count, last = cursor.execute(text, [*values, *bounds]).fetchone()
        found = last or found
        limit -= count
        if limit <= 0:
            break
        behind = edge
    return found


def _edges(snapshot: Snapshot, order: Order) -> list[str]:
    """Return the times up to which to look: the far ends of the 1st, 3rd, 7th ... file."""
    ends = sorted({file.newest if order == "asc" else file.oldest for file in snapshot.parquet})
    ends = ends if order == "asc" else ends[::-1]
    return [ends[2**n - 2] for n in range(1, len(ends).bit_length()) if 2**n - 2 < len(ends) - 1]


def _event(names: Sequence[str], row: Sequence[Any], known: Mapping[str, str]) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for name, value in zip(names, row, strict=True):
        if value is None or name in DERIVED or name == "date":
            continue
        kind = known.get(name)
        if kind == "timestamp":
            event[name] = as_event_time(value)
        elif kind == "object":
            event[name] = orjson.loads(value)
        elif name == "fields":
            rest = orjson.loads(value)
            event |= {key: item for key, item in rest.items() if item is not None}
        else:
            event[name] = value
    return event
