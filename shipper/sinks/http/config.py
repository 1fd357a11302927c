"""What a user may write under `sinks: {…: {type: http, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from ...config.fields import Secret, Size, setting
from ...config.http_options import HttpOptions
from .request import wrong_template

__all__ = ["HttpConfig"]

_STATUS: Final = re.compile(r"[1-5](?:\d\d|xx)")


@dataclass(frozen=True, slots=True)
class HttpConfig(HttpOptions):
    """Which URL gets the events, in which form, and what its answers mean."""

    example: ClassVar[str] = "https://logs.example.com/ingest"
    query: ClassVar[bool] = True

    url: str = setting(help="where to send, with its path", example="https://logs.example.com/ingest")
    headers: Mapping[str, str] = setting(
        factory=dict, help="further headers; templates in braces", example="{Idempotency-Key: '{batch_id}'}"
    )
    secret_headers: Mapping[str, Secret] = setting(
        factory=dict, help="headers whose values are secret", example="{X-Api-Key: file:/run/secrets/key}"
    )
    compression: Literal["none", "gzip"] = setting("none", help="of the body")
    method: Literal["POST", "PUT", "PATCH"] = setting("POST", help="the request's method")
    body: Literal["ndjson", "array"] = setting("ndjson", help="one event a line, or one JSON array")
    content_type: str | None = setting(
        None, help="empty: application/x-ndjson or application/json, as the body is"
    )
    event_id: bool = setting(
        True, help="put `event_id` in front of each event, so that a receiver can tell what it has already"
    )
    success: tuple[str, ...] = setting(
        ("2xx",), help="statuses that mean: all of it is stored", example="[200, 202]"
    )
    reject: tuple[str, ...] = setting(
        ("400", "422"), help="statuses that mean: never send these events again; dead letters"
    )
    check_method: Literal["OPTIONS", "HEAD", "GET"] = setting(
        "OPTIONS", help="what `logferry check --connect` asks with"
    )
    max_batch_events: int = setting(1_000, help="events of one request", minimum=1, maximum=50_000)
    max_batch_bytes: Size = setting(
        Size(1 << 20), help="bytes of one request, before compression", minimum=1024, maximum=64 << 20
    )

    def problems(self) -> Iterator[str]:
        """Yield what cannot work."""
        yield from HttpOptions.problems(self)
        yield self._wrong_content_type()
        yield from (wrong_template(name, value) for name, value in self.headers.items())
        yield from (self._wrong_statuses(key) for key in ("success", "reject"))
        if not self.success:
            yield "success: without any status nothing would ever be delivered; write [2xx]"
        if set(self.success) & set(self.reject):
            yield "success, reject: the same status in both"

    def _wrong_content_type(self) -> str:
        text = self.content_type or ""
        return "" if text.isascii() and (text.isprintable()) else "content_type: not printable ASCII"

    def _wrong_statuses(self, key: str) -> str:
        wrong = [text for text in getattr(self, key) if not _STATUS.fullmatch(text)]
        return f"{key}: {wrong[0]!r} is no status such as 200 or 2xx" if wrong else ""
