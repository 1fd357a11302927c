"""What a user may write under `sinks: {…: {type: cloudwatch, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ...config.aws import AwsConfig
from ...config.fields import Duration, Size, setting
from ...core.template import Template

__all__ = ["CloudWatchConfig"]

RETENTION: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
"""The days that CloudWatch Logs takes as a retention."""

_GROUP: Final = re.compile(r"[\w./#-]{1,512}", re.ASCII)
_NAMESPACE: Final = re.compile(r"(?!AWS/)[\w./#:-]{1,255}", re.ASCII)
_TAG: Final = re.compile(r"(?!aws:)[\w \t.:/=+@-]{1,128}")
_TOO_MANY: Final = {
    *("timestamp", "trace_id", "span_id", "parent_id", "request_id", "correlation_id", "event_id"),
    *("message", "duration_ms"),
}
"""Fields that would make a stream of each event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudWatchConfig(AwsConfig):
    """Which log group and streams, what is made where it is missing, and how much goes into one call."""

    log_group: str = setting(help="the log group", example="/checkout/prod")
    stream: str = setting(
        "{service}/{host}/{process}", help="the log stream's name, made of the event's fields"
    )
    create: bool = setting(True, help="make the group and the streams where they are missing")
    retention_days: int | None = setting(
        None,
        help="the group's retention, when it is made and by `logferry setup`; empty: kept for ever",
        example="30",
    )
    tags: Mapping[str, str] = setting(factory=dict, help="the group's tags", example="{team: shop}")
    oversize: Literal["cut", "dead_letter"] = setting(
        "cut", help="what becomes of an event above max_event_bytes"
    )
    max_event_bytes: Size = setting(
        Size(1_000_000),
        help="the largest event; 256KiB for servers of before April 2025",
        minimum=8192,
        maximum=1_000_000,
    )
    max_batch_events: int = setting(10_000, help="events of one call", minimum=1, maximum=10_000)
    max_batch_bytes: Size = setting(
        Size(1 << 20), help="bytes of one call, as CloudWatch counts", minimum=300_000, maximum=1 << 20
    )
    max_batch_age: Duration = setting(
        Duration(1.0), help="how long an event may wait for company", minimum=0.05, maximum=3600
    )
    metrics_namespace: str | None = setting(
        None,
        help="where `logferry setup` makes metrics of requests, durations and errors; empty: none",
        example="checkout",
    )
    saved_queries: bool = setting(True, help="`logferry setup` saves queries for Logs Insights")

    def __post_init__(self) -> None:
        for problem in (*self.aws_problems(), *self._problems()):
            if problem:
                raise ValueError(problem)

    def _problems(self) -> Iterator[str]:
        if not _GROUP.fullmatch(self.log_group):
            yield "log_group: 1 to 512 letters, digits and . _ / # - without spaces"
        yield from self._stream_problems()
        if self.retention_days is not None and self.retention_days not in RETENTION:
            yield f"retention_days: one of {', '.join(map(str, RETENTION))}"
        if self.metrics_namespace is not None and not _NAMESPACE.fullmatch(self.metrics_namespace):
            yield "metrics_namespace: 1 to 255 letters, digits and . _ / # : -, not beginning with AWS/"
        if len(self.tags) > 50:
            yield "tags: at most 50"
        for name, value in self.tags.items():
            if not _TAG.fullmatch(name) or len(value) > 256:
                yield f"tags.{name}: a name of 1 to 128 characters (not aws:…), a value of at most 256"

    def _stream_problems(self) -> Iterator[str]:
        try:
            template = Template.parse(self.stream)
        except ValueError as error:
            yield f"stream: {error}"
        else:
            if re.search(r"[:*\x00-\x1f]", template.literal):
                yield "stream: no colon, asterisk or control character"
            if not self.stream or len(template.literal) > 256:
                yield "stream: 1 to 256 characters beside the fields"
            for name in template.fields:
                if name in _TOO_MANY:
                    yield f"stream: {{{name}}} would make a stream of each event"
