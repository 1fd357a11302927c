"""What a user may write under `sinks: {…: {type: zipkin, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ...config.fields import Duration, Secret, Size, setting
from ...config.http import wrong_credentials, wrong_headers, wrong_url
from ...config.tls import TlsConfig

__all__ = ["SPANS_PATH", "ZipkinConfig"]

SPANS_PATH: Final = "/api/v2/spans"


@dataclass(frozen=True, slots=True)
class ZipkinConfig:
    """Where Zipkin (or what speaks its format) is, and when a span counts as unfinished."""

    url: str = setting(
        help="the server's address, with or without /api/v2/spans", example="http://localhost:9411"
    )
    unfinished_after: Duration = setting(
        Duration(900.0),
        help="a span whose end has not come after this time is closed as unfinished",
        minimum=1,
        maximum=86_400,
    )
    headers: Mapping[str, str] = setting(factory=dict, help="further headers of each request")
    secret_headers: Mapping[str, Secret] = setting(
        factory=dict, help="headers whose values are secret", example="{api-key: file:/run/secrets/key}"
    )
    username: str | None = setting(None, help="for basic authentication")
    password: Secret | None = setting(None, help="for basic authentication")
    bearer_token: Secret | None = setting(None, help="sent as Authorization: Bearer")
    compression: Literal["none", "gzip"] = setting("gzip", help="of the request")
    tls: TlsConfig = setting(factory=TlsConfig, help="certificates")
    timeout: Duration = setting(
        Duration(10.0), help="for one request, from connecting to the last byte", minimum=0.05, maximum=300
    )
    max_batch_events: int = setting(2_000, help="spans of one request", minimum=1, maximum=50_000)
    # Zipkin takes 10 MiB after decompression; a span is up to three times its event.
    max_batch_bytes: Size = setting(
        Size(1 << 20),
        help="bytes of one request's events, before compression",
        minimum=1024,
        maximum=3 << 20,
    )

    def __post_init__(self) -> None:
        for problem in (
            wrong_url(self.url, "http://localhost:9411"),
            wrong_credentials(self.username, self.password, self.bearer_token),
            wrong_headers(self.headers, self.secret_headers),
        ):
            if problem:
                raise ValueError(problem)

    @property
    def base(self) -> str:
        """The address without /api/v2/spans and without a final slash."""
        return self.url.rstrip("/").removesuffix(SPANS_PATH)
