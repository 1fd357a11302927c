"""What a user may write under `sinks: {…: {type: otlp, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from ...config.fields import Duration, Size, setting
from ...config.http_options import HttpOptions

__all__ = ["LOGS_PATH", "TRACES_PATH", "OtlpConfig"]

LOGS_PATH: Final = "/v1/logs"
TRACES_PATH: Final = "/v1/traces"


@dataclass(frozen=True, slots=True)
class OtlpConfig(HttpOptions):
    """Where the receiver is, and what it is told of each event."""

    example: ClassVar[str] = "http://localhost:4318"
    own_path: ClassVar[str] = LOGS_PATH

    url: str = setting(
        help="the receiver's address, with or without /v1/logs", example="http://localhost:4318"
    )
    signals: Literal["both", "logs", "traces"] = setting(
        "both", help="spans go to /v1/traces and all else to /v1/logs; logs: spans too; traces: spans alone"
    )
    unfinished_after: Duration = setting(
        Duration(900.0),
        help="a span whose end has not come after this time is closed as unfinished",
        minimum=1,
        maximum=86_400,
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
    max_batch_events: int = setting(2_000, help="records of one request", minimum=1, maximum=50_000)
    # The collector takes 20 MiB, gateways often 4.
    max_batch_bytes: Size = setting(
        Size(1 << 20),
        help="bytes of one request's events, before compression",
        minimum=1024,
        maximum=16 << 20,
    )
