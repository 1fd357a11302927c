"""The embedded local store: durable NDJSON, compacted into Parquet, read with DuckDB (ours or anybody's)."""

__all__: list[str] = []
