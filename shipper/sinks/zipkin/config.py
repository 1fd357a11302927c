"""What a user may write under `sinks: {…: {type: zipkin, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from ...config.fields import Duration, Size, setting
from ...config.http_options import HttpOptions

__all__ = ["SPANS_PATH", "ZipkinConfig"]

SPANS_PATH: Final = "/api/v2/spans"


@dataclass(frozen=True, slots=True)
class ZipkinConfig(HttpOptions):
    """Where Zipkin (or what speaks its format) is, and when a span counts as unfinished."""

    example: ClassVar[str] = "http://localhost:9411"
    own_path: ClassVar[str] = SPANS_PATH

    url: str = setting(
        help="the server's address, with or without /api/v2/spans", example="http://localhost:9411"
    )
    unfinished_after: Duration = setting(
        Duration(900.0),
        help="a span whose end has not come after this time is closed as unfinished",
        minimum=1,
        maximum=86_400,
    )
    max_batch_events: int = setting(2_000, help="spans of one request", minimum=1, maximum=50_000)
    # Zipkin takes 10 MiB after decompression; a span is up to three times its event.
    max_batch_bytes: Size = setting(
        Size(1 << 20),
        help="bytes of one request's events, before compression",
        minimum=1024,
        maximum=3 << 20,
    )
