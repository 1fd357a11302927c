"""What a user may write under `sinks: {…: {type: loki, …}}`, and what of it cannot work.

Everything that Loki would refuse for every event is refused here: it would otherwise look like an outage.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from ....handlers.schema import FIELDS
from ...config.fields import Duration, Secret, Size, setting
from ...config.tls import TlsConfig
from .labels import KIND, WRITER
from .metadata import wire_name

__all__ = ["LokiConfig"]

PUSH_PATH: Final = "/loki/api/v1/push"
_LABELS: Final = 15
_METADATA: Final = 100
_OWN_LABELS: Final = (WRITER, "backfill")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS: Final = {
    "authorization",
    "content-type",
    "content-encoding",
    "content-length",
    "host",
    "x-scope-orgid",
}
_DEFAULT_METADATA: Final = tuple(field.name for field in FIELDS if field.metadata)


@dataclass(frozen=True, slots=True)
class LokiConfig:
    """Where Loki is, what it is told of each event, and how much of it at once."""

    url: str = setting(
        help="Loki's address, with or without /loki/api/v1/push", example="http://localhost:3100"
    )
    labels: tuple[str, ...] = setting(
        ("service", "level", "environment"), help="fields that name a stream; few, with few values"
    )
    static_labels: Mapping[str, str] = setting(
        factory=dict, help="labels that every stream has", example="{cluster: eu-1}"
    )
    structured_metadata: tuple[str, ...] = setting(
        _DEFAULT_METADATA, help="fields to filter by without parsing the line; event_id always is"
    )
    writer_label: bool = setting(
        True, help="streams of its own for each process that writes: what Loki needs to lose none at a crash"
    )
    label_budget: int = setting(
        100, help="distinct values after which a label becomes structured metadata", minimum=1, maximum=10_000
    )
    tenant: str | None = setting(None, help="sent as X-Scope-OrgID")
    username: str | None = setting(None, help="for basic authentication")
    password: Secret | None = setting(None, help="for basic authentication")
    bearer_token: Secret | None = setting(None, help="sent as Authorization: Bearer")
    headers: Mapping[str, str] = setting(factory=dict, help="further headers of each request")
    tls: TlsConfig = setting(factory=TlsConfig, help="certificates")
    timeout: Duration = setting(
        Duration(10.0), help="for one request, from connecting to the last byte", minimum=0.05, maximum=300
    )
    encoding: Literal["protobuf", "json"] = setting(
        "protobuf", help="protobuf with snappy, or JSON with gzip"
    )
    old_events: Literal["restamp", "dead_letter"] = setting(
        "restamp", help="what becomes of an event that Loki would refuse for its time"
    )
    max_event_age: Duration = setting(
        Duration(7 * 86400.0 - 300), help="Loki's reject_old_samples_max_age, a little less", minimum=60
    )
    max_batch_events: int = setting(5_000, help="events of one batch", minimum=1, maximum=50_000)
    # Loki hands a push on by gRPC, at most 4 MiB; and a tenant's burst is 6 MB.
    max_batch_bytes: Size = setting(
        Size(2 << 20), help="bytes of one batch, before compression", minimum=300_000, maximum=3 << 20
    )

    def __post_init__(self) -> None:
        for problem in (
            _url(self.url),
            self._credentials(),
            self._headers(),
            *self._labels(),
            *self._metadata(),
        ):
            if problem:
                raise ValueError(problem)

    @property
    def base(self) -> str:
        """The address without the push path and without a final slash."""
        return self.url.rstrip("/").removesuffix(PUSH_PATH)

    def _credentials(self) -> str:
        if (self.username is None) != (self.password is None):
            return "username and password belong together"
        if self.bearer_token is not None and self.username is not None:
            return "bearer_token and username exclude one another"
        if self.username is not None and ":" in self.username:
            return "username: holds a colon, which basic authentication cannot carry"
        secrets = [secret.reveal() for secret in (self.password, self.bearer_token) if secret is not None]
        if any(_CONTROL.search(text) for text in (self.username or "", self.tenant or "", *secrets)):
            return (
                "username, password, bearer_token, tenant: a control character or line break in one of them"
            )
        if self.bearer_token is not None and not self.bearer_token.reveal().isascii():
            return "bearer_token: not ASCII"
        return "" if (self.tenant or "").isascii() else "tenant: not ASCII"

    def _headers(self) -> str:
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name):
                return f"headers.{name}: not a header's name"
            if name.lower() in _OWN_HEADERS:
                return f"headers.{name}: set by the sink itself"
            if _CONTROL.search(value) or not value.isascii():
                return f"headers.{name}: a control character or a letter beyond ASCII"
        return ""

    def _labels(self) -> Iterator[str]:
        names = [wire_name(name) for name in (*self.labels, *self.static_labels)]
        for own in _OWN_LABELS:
            if own in names:
                yield f"labels: {own} is the sink's own"
        for name in names:
            if not name.strip("_") or name.startswith("__"):
                yield f"labels: Loki takes no label {name!r}"
        if len({wire_name(name) for name in self.labels}) != len(self.labels):
            yield "labels: two of them have the same name for Loki"
        if len({*names, KIND, *_OWN_LABELS}) > _LABELS:
            yield f"labels: Loki takes {_LABELS} with kind, writer and backfill, which are the sink's own"
        for name, value in self.static_labels.items():
            if not value or len(value.encode()) > 2048:
                yield f"static_labels.{name}: must have 1 to 2048 bytes"

    def _metadata(self) -> Iterator[str]:
        metadata = [wire_name(name) for name in self.structured_metadata]
        if len(set(metadata)) != len(metadata):
            yield "structured_metadata: two of them have the same name for Loki"
        if any(not name.strip("_") for name in metadata):
            yield "structured_metadata: a name without a letter or digit"
        if len(metadata) > _METADATA:
            yield f"structured_metadata: at most {_METADATA}"


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        return "url: not an address such as http://localhost:3100"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "url: write it with its scheme, such as http://localhost:3100"
    if parts.username is not None or parts.password is not None:
        return "url: credentials go into username and password"
    return "url: without query and fragment" if parts.query or parts.fragment else ""
