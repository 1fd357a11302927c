"""What a user may write under `sinks: {…: {type: http, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ...config.fields import Duration, Secret, Size, setting
from ...config.http import wrong_credentials, wrong_headers, wrong_url
from ...config.tls import TlsConfig
from .request import wrong_template

__all__ = ["HttpConfig"]

_STATUS: Final = re.compile(r"[1-5](?:\d\d|xx)")


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """Which URL gets the events, in which form, and what its answers mean."""

    url: str = setting(help="where to send, with its path", example="https://logs.example.com/ingest")
    method: Literal["POST", "PUT", "PATCH"] = setting("POST", help="the request's method")
    body: Literal["ndjson", "array"] = setting("ndjson", help="one event a line, or one JSON array")
    content_type: str | None = setting(
        None, help="empty: application/x-ndjson or application/json, as the body is"
    )
    event_id: bool = setting(
        True, help="put `event_id` in front of each event, so that a receiver can tell what it has already"
    )
    headers: Mapping[str, str] = setting(
        factory=dict, help="further headers; templates in braces", example="{Idempotency-Key: '{batch_id}'}"
    )
    secret_headers: Mapping[str, Secret] = setting(
        factory=dict, help="headers whose values are secret", example="{X-Api-Key: file:/run/secrets/key}"
    )
    username: str | None = setting(None, help="for basic authentication")
    password: Secret | None = setting(None, help="for basic authentication")
    bearer_token: Secret | None = setting(None, help="sent as Authorization: Bearer")
    compression: Literal["none", "gzip"] = setting("none", help="of the body")
    success: tuple[str, ...] = setting(
        ("2xx",), help="statuses that mean: all of it is stored", example="[200, 202]"
    )
    reject: tuple[str, ...] = setting(
        ("400", "422"), help="statuses that mean: never send these events again; dead letters"
    )
    check_method: Literal["OPTIONS", "HEAD", "GET"] = setting(
        "OPTIONS", help="what `logferry check --connect` asks with"
    )
    tls: TlsConfig = setting(factory=TlsConfig, help="certificates")
    timeout: Duration = setting(
        Duration(10.0), help="for one request, from connecting to the last byte", minimum=0.05, maximum=300
    )
    max_batch_events: int = setting(1_000, help="events of one request", minimum=1, maximum=50_000)
    max_batch_bytes: Size = setting(
        Size(1 << 20), help="bytes of one request, before compression", minimum=1024, maximum=64 << 20
    )

    def __post_init__(self) -> None:
        for problem in (
            wrong_url(self.url, "https://logs.example.com/ingest", query=True),
            wrong_credentials(self.username, self.password, self.bearer_token),
            wrong_headers(self.headers, self.secret_headers),
            self._wrong_content_type(),
            *(wrong_template(name, value) for name, value in self.headers.items()),
            *(self._wrong_statuses(key) for key in ("success", "reject")),
        ):
            if problem:
                raise ValueError(problem)
        if not self.success:
            raise ValueError("success: without any status nothing would ever be delivered; write [2xx]")
        if set(self.success) & set(self.reject):
            raise ValueError("success, reject: the same status in both")

    def _wrong_content_type(self) -> str:
        text = self.content_type or ""
        return "" if text.isascii() and (text.isprintable()) else "content_type: not printable ASCII"

    def _wrong_statuses(self, key: str) -> str:
        wrong = [text for text in getattr(self, key) if not _STATUS.fullmatch(text)]
        return f"{key}: {wrong[0]!r} is no status such as 200 or 2xx" if wrong else ""
