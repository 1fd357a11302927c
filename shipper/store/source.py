"""What a reader sees: a consistent set of files, and the view `events` over them.

The columns of the view are the schema's (see `rewrite.columns`), `fields` (JSON text: what has no column),
`error_type`, `error_message`, `date`. Times are UTC, as TIMESTAMP.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from .layout import Layout, ParquetFile
from .parquet import literal
from .rewrite import DERIVED, SQL_TYPES

__all__ = ["Snapshot", "events_sql", "lines_sql", "take_snapshot"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files that together hold every event once. `pieces`: fresh lines made Parquet by the reader."""

    parquet: tuple[ParquetFile, ...]
    fresh: tuple[Path, ...]
    pieces: tuple[Path, ...] = ()


def take_snapshot(layout: Layout, since: str = "", until: str = "") -> Snapshot:
    """Return the files that may hold events from `since` to before `until` (times as in events; empty: open).

    The manifest is read after the listing: see rule 4 of `layout.py`.
    """
    listed = layout.list_fresh()
    manifest = layout.read_manifest()
    files = (
        file
        for file in manifest.files
        if (not since or file.newest >= since) and (not until or file.oldest < until)
    )
    fresh = (file.path for file in listed if not manifest.consumed(file))
    return Snapshot(tuple(sorted(files, key=lambda file: file.oldest)), tuple(fresh))


def events_sql(
    layout: Layout,
    snapshot: Snapshot,
    known: Mapping[str, str],
    wanted: Collection[str] | None = None,
    within: tuple[str, str] = ("", ""),
) -> str:
    """Return the SELECT over all events of a snapshot; with `wanted`, at least these columns.

    Events out of `within` (times as in events; the end is within, too) may be left out: fresh lines are
    looked at for their time before they are taken apart, which costs ten times as much.
    """
    types = {name: SQL_TYPES[kind] for name, kind in known.items()}
    types |= {"fields": "VARCHAR", **dict.fromkeys(DERIVED, "VARCHAR"), "date": "DATE"}
    # An empty first part gives the columns their types and order, whatever the files have.
    empty = ", ".join(f'CAST(NULL AS {sql_type}) AS "{name}"' for name, sql_type in types.items())
    parts = [f"SELECT {empty} WHERE FALSE"]
    if snapshot.parquet:
        names = ", ".join(literal(layout.events / file.path) for file in snapshot.parquet)
        parts.append(f"SELECT * FROM read_parquet([{names}], union_by_name=true, hive_partitioning=true)")  # noqa: S608 - names of ours
    if snapshot.pieces:
        names = ", ".join(map(literal, snapshot.pieces))
        parts.append(f"SELECT * FROM read_parquet([{names}], hive_partitioning=false)")  # noqa: S608 - names of ours
    if snapshot.fresh:
        parts.append(lines_sql(snapshot.fresh, known, wanted, within))
    return " UNION ALL BY NAME ".join(parts)


def lines_sql(
    files: Sequence[Path],
    known: Mapping[str, str],
    wanted: Collection[str] | None = None,
    within: tuple[str, str] = ("", ""),
) -> str:
    """Return the SELECT over fresh lines; what is no event (a line being written just now) is passed over."""
    names = "[" + ", ".join(map(literal, files)) + "]"
    options = "ignore_errors=true, maximum_object_size=67108864"
    read = {name: "JSON" if kind == "object" else SQL_TYPES[kind] for name, kind in known.items()}
    read |= {name: "VARCHAR" for name, kind in known.items() if kind == "timestamp"}
    rest = wanted is None or "fields" in wanted
    if wanted is not None:
        basis = {"event_id", "timestamp", *wanted} | ({"error"} if {*wanted} & {*DERIVED} else set())
        read = {name: sql_type for name, sql_type in read.items() if name in basis}
    picked = [_cast(name, known[name]) for name in read]
    picked += [f"{how} AS {name}" for name, how in DERIVED.items() if wanted is None or name in wanted]
    if wanted is None or "date" in wanted:
        picked.append("CAST(TRY_CAST(timestamp AS TIMESTAMP) AS DATE) AS date")
    if not rest:
        columns = ", ".join(f"{literal(name)}: {literal(sql_type)}" for name, sql_type in read.items())
        source = f"read_json({names}, format='newline_delimited', columns={{{columns}}}, {options})"
    else:
        shape = literal(orjson.dumps(read).decode())
        without = literal(orjson.dumps(dict.fromkeys(known)).decode())
        picked.append("nullif(fields, '{}') AS fields")
        source = (
            f"(SELECT unnest(json_transform(json, {shape})),"  # noqa: S608 - names of ours
            f" CAST(json_merge_patch(json, {without}) AS VARCHAR) AS fields"
            f" FROM read_ndjson_objects({names}, {options}){_inside(*within)})"
        )
    return f"SELECT {', '.join(picked)} FROM {source} WHERE event_id IS NOT NULL"  # noqa: S608 - names of ours


def _inside(since: str, until: str) -> str:
    at = "TRY_CAST(json ->> '$.timestamp' AS TIMESTAMP)"
    parts = [f"{at} >= TIMESTAMP {literal(since)}"] * bool(since)
    parts += [f"{at} <= TIMESTAMP {literal(until)}"] * bool(until)
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def _cast(name: str, kind: str) -> str:
    if kind == "timestamp":
        return f'TRY_CAST("{name}" AS TIMESTAMP) AS "{name}"'
    return f'CAST("{name}" AS VARCHAR) AS "{name}"' if kind == "object" else f'"{name}"'
