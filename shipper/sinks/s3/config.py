"""What a user may write under `sinks: {…: {type: s3, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal

from ...config.aws import AwsConfig
from ...config.fields import Duration, Size, setting
from ...core.template import Template

__all__ = ["S3Config"]

ID: Final = "first_event_id"
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY: Final = re.compile(r"[A-Za-z0-9!_.*'()/=-]*")
_TOO_MANY: Final = {
    *("timestamp", "trace_id", "span_id", "parent_id", "request_id", "correlation_id", "event_id"),
    *("message", "duration_ms", "user_id"),
}
"""Fields that would make an object of each event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Config(AwsConfig):
    """Which bucket, under which keys, in which form, and how large."""

    bucket: str = setting(help="the bucket", example="acme-logs")
    key: str = setting(
        "{service}/{date}/{hour}/{host}-{first_event_id}",
        help="the objects' keys, made of the event's fields and of date and hour (of the event, UTC); "
        "{first_event_id} must be in it, the ending is added",
    )
    format: Literal["ndjson", "parquet"] = setting(
        "ndjson", help="what an object is: lines of JSON, or a Parquet file (made with DuckDB)"
    )
    compression: Literal["gzip", "zstd", "none"] = setting(
        "gzip", help="how NDJSON objects are compressed; Parquet's columns always are, with zstd"
    )
    max_batch_events: int = setting(100_000, help="events of one batch", minimum=1, maximum=1_000_000)
    max_batch_bytes: Size = setting(
        Size(8 << 20),
        help="bytes of one batch, before compression; a batch is held in memory",
        minimum=300_000,
        maximum=128 << 20,
    )
    max_batch_age: Duration = setting(
        Duration(300.0), help="how long an event may wait for company", minimum=0.05, maximum=86400
    )
    storage_class: str | None = setting(None, help="the objects' storage class", example="STANDARD_IA")
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = setting(
        None, help="how the server encrypts; empty: as the bucket says"
    )
    kms_key_id: str | None = setting(None, help="the key for aws:kms; empty: the account's own")
    path_style: bool = setting(False, help="the bucket in the path, as MinIO and others want it")

    def __post_init__(self) -> None:
        for problem in (*self.aws_problems(), *self._problems()):
            if problem:
                raise ValueError(problem)

    def _problems(self) -> Iterator[str]:
        if not _BUCKET.fullmatch(self.bucket) or ".." in self.bucket:
            yield "bucket: 3 to 63 lower-case letters, digits, dots and dashes"
        try:
            template = Template.parse(self.key)
        except ValueError as error:
            yield f"key: {error}"
        else:
            if ID not in template.fields:
                yield f"key: {{{ID}}} must be in it: it keeps objects apart, and makes a repetition overwrite"
            if (
                not _KEY.fullmatch(template.literal)
                or self.key.startswith("/")
                or len(template.literal) > 256
            ):
                yield "key: letters, digits and ! _ . * ' ( ) / = - beside the fields, not beginning with /"
            for name in template.fields:
                if name in _TOO_MANY:
                    yield f"key: {{{name}}} would make an object of each event"
        if self.kms_key_id is not None and not (self.server_side_encryption or "").startswith("aws:kms"):
            yield "kms_key_id belongs to server_side_encryption: aws:kms"
        yield self._missing()

    def _missing(self) -> str:
        """Return which library the form of the objects needs and has not."""
        if self.format == "parquet":
            missing = find_spec("duckdb") is None
            return 'format: parquet needs DuckDB: pip install "logferry[local]"' if missing else ""
        missing = self.compression == "zstd" and find_spec("cramjam") is None
        return 'compression: zstd needs a library: pip install "logferry[zstd]"' if missing else ""
