"""Writes Parquet with DuckDB: rows of one date sorted by time, within bounded memory, on one thread."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .layout import StoreError
from .rewrite import DERIVED, SQL_TYPES

__all__ = ["Written", "duckdb", "from_rows", "literal", "merged", "session"]

_MEMORY = "512MB"
_OBJECT_SIZE = "maximum_object_size=67108864"
# Row groups of 122,880 rows: an id that repeats within one (a trace) is dictionary-encoded, and so gets a
# Bloom filter with which looking for one trace skips nearly everything.
_FORMAT = "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880, DICTIONARY_SIZE_LIMIT 122880)"


def duckdb() -> Any:
    """Return the DuckDB module. Raises `StoreError` that names the extra."""
    try:
        import duckdb as module
    except ImportError:
        raise StoreError('the local store is read with DuckDB: pip install "logferry[local]"') from None
    return module


def literal(text: str | Path) -> str:
    """Return a path of ours as an SQL string."""
    return "'" + str(text).replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class Written:
    """What a new Parquet file holds; times as in events."""

    rows: int
    bytes: int
    oldest: str
    newest: str


@contextlib.contextmanager
def session(scratch: Path) -> Iterator[Any]:
    """Open DuckDB for writing; what does not fit into memory goes to `scratch`."""
    connection = duckdb().connect()
    try:
        connection.execute(f"SET memory_limit='{_MEMORY}'")
        connection.execute("SET threads=1")
        connection.execute("SET preserve_insertion_order=false")
        connection.execute("SET autoinstall_known_extensions=false")
        connection.execute(f"SET temp_directory={literal(scratch / 'spill')}")
        yield connection
    finally:
        connection.close()


def from_rows(connection: Any, rows: Path, known: Mapping[str, str], target: Path) -> Written:
    """Write the rows of `rewrite.row` as one Parquet file, durably."""
    read = ", ".join(f'"{name}": {literal(_json_type(kind))}' for name, kind in known.items())
    read += ", \"fields\": 'JSON'"
    picked = ", ".join(
        [*(_column(name, kind) for name, kind in known.items()), "CAST(fields AS VARCHAR) AS fields"]
    )
    derived = ", ".join(f"{how} AS {name}" for name, how in DERIVED.items())
    source = f"read_json({literal(rows)}, format='newline_delimited', columns={{{read}}}, {_OBJECT_SIZE})"
    return _write(connection, f"{picked}, {derived}", source, target)


def merged(connection: Any, files: Sequence[Path], target: Path) -> Written:
    """Write the rows of several Parquet files into one, durably."""
    names = ", ".join(map(literal, files))
    source = f"read_parquet([{names}], union_by_name=true, hive_partitioning=false)"
    return _write(connection, "*", source, target)


def _json_type(kind: str) -> str:
    return {"object": "JSON", "timestamp": "VARCHAR"}.get(kind, SQL_TYPES[kind])


def _column(name: str, kind: str) -> str:
    if kind in {"object", "timestamp"}:
        return f'CAST("{name}" AS {SQL_TYPES[kind]}) AS "{name}"'
    return f'"{name}"'


def _write(connection: Any, picked: str, source: str, target: Path) -> Written:
    rows = f"SELECT {picked} FROM {source} ORDER BY timestamp, event_id"  # noqa: S608 - names and paths of ours
    connection.execute(f"COPY ({rows}) TO {literal(target)} {_FORMAT}")
    target.chmod(0o600)
    fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    shape = "%Y-%m-%dT%H:%M:%S.%fZ"
    count, oldest, newest = connection.execute(
        f"SELECT count(*), strftime(min(timestamp), '{shape}'), strftime(max(timestamp), '{shape}')"  # noqa: S608 - a path of ours
        f" FROM read_parquet({literal(target)}, hive_partitioning=false)"
    ).fetchone()
    return Written(count, target.stat().st_size, oldest, newest)
