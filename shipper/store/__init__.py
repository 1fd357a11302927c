"""The embedded local store: durable NDJSON, compacted into Parquet, read with DuckDB (ours or anybody's).

Importing this does not import DuckDB.
"""

from .layout import StoreError
from .query import Rows, Stats, Store

__all__ = ["Rows", "Stats", "Store", "StoreError"]
