"""An object's events as one Parquet file, by DuckDB, in a scratch directory that is gone afterwards.

Rules

- The columns are the local store's: one for each field of the schema and each declared field, `event_id`
  first, all else as JSON text in `fields`. So both are read alike, and files of one schema together.
- Nothing is left out: what is no event is a row with its text as `message`.
- An event without a readable time has 1970 in the column; what it had stays in `fields`.
- DuckDB is loaded with the first object: half a gigabyte is what it may take at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import orjson

from ...core.identified import identified
from ...model import Batch, event_id
from ...scratch import Scratch
from ...store.parquet import from_rows, session
from ...store.rewrite import Rewriter, columns
from .objects import CHUNK, Piece

__all__ = ["ParquetMaker"]

_NO_TIME: Final = "1970-01-01T00:00:00.000000Z"


class ParquetMaker:
    """Makes files with the columns of a schema. `declared`: the fields that the user has declared."""

    def __init__(self, declared: Mapping[str, str]) -> None:
        self._columns = columns(declared)
        self._rewriter = Rewriter(self._columns)

    def content(self, batch: Batch, piece: Piece, rest: Callable[[], object] = lambda: None) -> bytes:
        """Return the bytes of a file with the events of `piece`; OSError without room for the scratch files.

        `rest` is called between small pieces of work.
        """
        with Scratch("s3") as scratch:
            rows, target = scratch.path / "rows.ndjson", scratch.path / "events.parquet"
            with rows.open("wb") as file:
                for at in range(0, len(piece.indexes), CHUNK):
                    file.writelines(self._row(batch, index) for index in piece.indexes[at : at + CHUNK])
                    rest()
            with session(scratch.path) as connection:
                from_rows(connection, rows, self._columns, target)
            return target.read_bytes()

    def _row(self, batch: Batch, index: int) -> bytes:
        own = event_id(batch.spool, batch.sequences[index])
        line = batch.lines[index]
        made = self._rewriter.row(identified(line, own.encode()), _NO_TIME)
        if made is None:
            bare = {"event_id": own, "message": line.decode("utf-8", "replace")}
            made = self._rewriter.row(orjson.dumps(bare), _NO_TIME)
        assert made is not None, "an object with an id is an event"
        return made[1]
