"""The sections of a configuration: their keys, types, defaults, bounds and help, and nothing else.

The binder, the JSON Schema and the reference in docs/configuration.md all read these classes.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from ..core.span_target import SPOOL, wrong_target
from .alerts import Alerts
from .fields import Duration, Secret, Size, setting
from .transforms import Case, Transform

__all__ = [
    "Config",
    "DeadLetters",
    "EventSchema",
    "Level",
    "Logging",
    "Metrics",
    "Redact",
    "SinkConfig",
    "SinkSection",
    "SourceConfig",
    "SourceSection",
    "Spans",
    "Spool",
    "listen_address",
    "wrong_name",
]

Level: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
FieldKind: TypeAlias = Literal["string", "integer", "number", "boolean", "object", "timestamp"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def wrong_name(name: str) -> str:
    """Return what is wrong with a name that becomes a directory, a file or a label; `""`: nothing."""
    if _NAME.match(name):
        return ""
    return (
        "a name has 1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit"
    )


def listen_address(text: str) -> tuple[str, int]:
    """Return host and port of `127.0.0.1:9108`, `[::1]:9108` or `9108` (loopback); `ValueError` otherwise."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isascii() or not port.isdecimal() or len(port) > 5 or not 0 <= int(port) <= 65535:
        raise ValueError("expected host:port such as 127.0.0.1:9108")
    return host, int(port)


def _wrong_listen(text: str) -> str:
    try:
        listen_address(text)
    except ValueError as error:
        return str(error)
    return ""


def _wrong_field(name: str, kind: FieldKind) -> str:
    from ...handlers.schema import Schema

    try:
        Schema("-", host="-", fields={name: kind})
    except ValueError as error:  # a name that is built in, or that none can have
        return str(error).removeprefix(f"schema.fields.{name}: ")
    return ""


def _wrong_pattern(name: str, pattern: str) -> str:
    from ...handlers.redaction import RedactionError, Redactor

    try:
        Redactor(
            patterns={name: pattern}, allow_backtracking=True
        )  # whether RE2 is there is asked once, below
    except RedactionError as error:
        return str(error).removeprefix(f"redact.patterns.{name}: ")
    return ""


@dataclass(frozen=True, slots=True)
class Logging:
    """Which records become events, and what the terminal shows."""

    level: Level | None = setting(None, help="the root level; empty: dev DEBUG, test INFO, prod WARNING")
    access: Level | None = setting(None, help="the level of access, job and span events; empty: INFO")
    loggers: Mapping[str, Level] = setting(
        factory=dict, help="levels of single loggers, by name", example="{sqlalchemy.engine: WARNING}"
    )
    flight_recorder: Level | None = setting(
        None,
        help="hold a request's lines from this level on and ship them only if it fails; empty: off",
        example="DEBUG",
    )
    console: Literal["pretty", "json", "off"] = setting("pretty", help="what is written to stderr as well")
    diagnostics: Level = setting("WARNING", help="the least level of logferry's own lines on stderr")


@dataclass(frozen=True, slots=True)
class Spans:
    """Which spans are kept, whether their beginnings are told, and which way they go."""

    sample: float = setting(
        1.0, help="the share of traces whose spans are kept, each trace whole", minimum=0.0, maximum=1.0
    )
    announce: bool = setting(
        True, help="log a span's beginning as well, so that a killed process leaves no hole in the tree"
    )
    to: str = setting(
        SPOOL,
        help="spool: the way of all events; or a port or a file beside it, for a shipper elsewhere",
        check=wrong_target,
        example="udp://127.0.0.1:9411",
    )


@dataclass(frozen=True, slots=True)
class EventSchema:
    """Fields of your own, and what becomes of values that do not fit them."""

    fields: Mapping[str, FieldKind] = setting(
        factory=dict,
        help="declared fields, by name, and their types",
        example="{order_id: integer}",
        each=_wrong_field,
    )
    on_violation: Literal["repair", "dead_letter"] = setting(
        "repair", help="repair casts what loses nothing and keeps the rest under `extra`"
    )


@dataclass(frozen=True, slots=True)
class Redact:
    """What is removed before a record is kept anywhere, beside what is built in."""

    keys: tuple[str, ...] = setting((), help="keys whose values are secret, added to the built-in ones")
    patterns: Mapping[str, str] = setting(
        factory=dict,
        help="regular expressions (RE2's syntax) of secrets in any text, by name",
        example="{employee_id: 'E-\\d{6}'}",
        each=_wrong_pattern,
    )
    mode: Literal["mask", "hash", "drop"] = setting(
        "mask", help="mask writes ***, hash a keyed HMAC (equal values still correlate), drop removes"
    )
    hash_key: Secret | None = setting(None, help="the key for `mode: hash`", example="file:/run/secrets/hash")
    emails: bool = setting(False, help="whether e-mail addresses are secret")
    allow_backtracking: bool = setting(
        False, help="run your patterns on Python's `re` where RE2 is not installed: some texts take very long"
    )

    def __post_init__(self) -> None:
        if self.mode == "hash" and not self.hash_key:
            raise ValueError("mode: hash needs a hash_key; write hash_key: ${LOGFERRY_HASH_KEY}")
        if self.patterns:
            from ...handlers.redaction import RedactionError, Redactor

            try:
                Redactor(patterns=self.patterns, allow_backtracking=self.allow_backtracking)
            except RedactionError as error:
                raise ValueError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Spool:
    """Where records wait, crash-safe, until every sink has them."""

    path: Path | None = setting(
        None, help="the directory; empty: logferry in the user's state directory", example="/var/lib/logferry"
    )
    max_bytes: Size = setting(
        Size(1 << 30), help="bound on disk for the path, all processes together", minimum=1 << 20
    )
    max_age: Duration | None = setting(None, help="older records are dropped and counted; empty: never")
    when_full: Literal["drop_oldest", "drop_newest", "block"] = setting(
        "drop_oldest", help="what a full spool does; block waits, bounded"
    )
    block_timeout: Duration = setting(
        Duration(1.0), help="how long `when_full: block` may hold up a log call", maximum=60
    )
    sync: Literal["always", "never"] | Duration = setting(
        Duration(1.0), help="how much a power cut may take: an interval, always or never"
    )
    group: str | None = setting(None, help="a group that may read the spool (for an agent of its own user)")
    memory_bytes: Size = setting(
        Size(16 << 20), help="what is held in memory while the disk cannot be written", minimum=1 << 16
    )


@dataclass(frozen=True, slots=True)
class SinkSection:
    """What every sink has, beside the keys of its type."""

    type: str = setting(help="which sink", example="loki")
    min_level: Level | None = setting(None, help="records below are counted as filtered and not sent")
    max_age: Duration | None = setting(None, help="what is older when it is read is dropped and counted")
    match: str | None = setting(
        None, help="send only what this filter finds (the language of `query`)", example="'kind=access'"
    )
    sample: float | None = setting(
        None,
        help="send this share of the traces, each whole, and every error",
        minimum=0.0,
        maximum=1.0,
        example="0.1",
    )
    rate_limit: int | None = setting(
        None, help="send at most so many events for each second of their own time", minimum=1
    )
    collapse: bool = setting(False, help="send repeats within a batch once, with their number in `repeated`")


@dataclass(frozen=True, slots=True)
class SourceSection:
    """What every source has, beside the keys of its type."""

    type: str = setting(help="which source", example="file")
    service: str | None = setting(
        None, help="the service that the events carry; empty: the one above", check=wrong_name
    )
    transforms: tuple[Transform, ...] = setting(
        (), help="what becomes of its events, in order, before those of all sources: see `transforms` above"
    )


@dataclass(frozen=True, slots=True)
class SinkConfig:
    """A sink as configured: what is common, and the options of its kind (an instance of `kind.config`)."""

    common: SinkSection
    kind: Any
    options: Any


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """A source as configured: what is common, and the options of its kind (an instance of `kind.config`)."""

    common: SourceSection
    kind: Any
    options: Any


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """What a sink refused for good, kept with the reason."""

    max_bytes: Size = setting(Size(64 << 20), help="bound on disk for each sink", minimum=1 << 16)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Prometheus metrics, /healthz and /readyz."""

    listen: str = setting(
        help="host:port; a port alone means loopback", check=_wrong_listen, example="127.0.0.1:9108"
    )


@dataclass(frozen=True, slots=True)
class Config:
    """A whole configuration. `sinks` and `sources` are bound by their types after the rest."""

    service: str = setting(help="the name that your events carry", check=wrong_name, example="checkout")
    environment: str = setting("dev", help="dev, test, prod or your own word; decides the default level")
    version: str | None = setting(None, help="the service's version, in every event when given")
    logging: Logging = setting(factory=Logging, help="levels and the terminal")
    spans: Spans = setting(factory=Spans, help="named stretches of time within a trace")
    schema: EventSchema = setting(factory=EventSchema, help="fields of your own")
    redact: Redact | Literal[False] = setting(
        factory=Redact, help="secrets to remove; false switches redaction off"
    )
    spool: Spool | Literal["memory"] = setting(
        factory=Spool, help="where records wait; memory keeps nothing on disk"
    )
    delivery: Literal["thread", "process", "agent"] = setting(
        "thread",
        help="who sends: threads of this process, a process that all workers of the service share, or "
        " the machine's agent (`logferry run` with a `spool` source)",
    )
    shutdown_timeout: Duration = setting(
        Duration(5.0), help="how long the end of a process waits for the sinks; the rest goes out next time"
    )
    dead_letters: DeadLetters = setting(factory=DeadLetters, help="what sinks refused for good")
    metrics: Metrics | None = setting(None, help="own health over HTTP; empty: off")
    alerts: Alerts | None = setting(None, help="what the agent watches, and who is told; empty: off")
    sinks: Mapping[str, SinkConfig] = setting(factory=dict, help="where records go, by names of your choice")
    transforms: tuple[Transform, ...] = setting(
        (), help="what becomes of the events of all sources, in order; not of the application's own records"
    )
    sources: Mapping[str, SourceConfig] = setting(
        factory=dict, help="what is read beside the application's own log"
    )
    tests: tuple[Case, ...] = setting((), help="examples of lines and their events, for `logferry check`")
