"""What a user may write under `sinks: {…: {type: otlp, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ...config.fields import Duration, Secret, Size, setting
from ...config.http import wrong_credentials, wrong_headers, wrong_url
from ...config.tls import TlsConfig

__all__ = ["LOGS_PATH", "OtlpConfig"]

LOGS_PATH: Final = "/v1/logs"


@dataclass(frozen=True, slots=True)
class OtlpConfig:
    """Where the receiver is, and what it is told of each event."""

    url: str = setting(
        help="the receiver's address, with or without /v1/logs", example="http://localhost:4318"
    )
    body: Literal["message", "line"] = setting(
        "message", help="message: the text, with the other fields as attributes; line: the event as it is"
    )
    resource_attributes: Mapping[str, str] = setting(
        factory=dict, help="attributes that every resource has", example="{k8s.namespace.name: shop}"
    )
    on_partial: Literal["dead_letter", "isolate"] = setting(
        "dead_letter",
        help="what becomes of a request of which the receiver refused a part without saying which",
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
    max_batch_events: int = setting(2_000, help="records of one request", minimum=1, maximum=50_000)
    # The collector takes 20 MiB, gateways often 4.
    max_batch_bytes: Size = setting(
        Size(1 << 20),
        help="bytes of one request's events, before compression",
        minimum=1024,
        maximum=16 << 20,
    )

    def __post_init__(self) -> None:
        for problem in (
            wrong_url(self.url, "http://localhost:4318"),
            wrong_credentials(self.username, self.password, self.bearer_token),
            wrong_headers(self.headers, self.secret_headers),
        ):
            if problem:
                raise ValueError(problem)

    @property
    def base(self) -> str:
        """The address without /v1/logs and without a final slash."""
        return self.url.rstrip("/").removesuffix(LOGS_PATH)
