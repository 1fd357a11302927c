"""What a pipeline is to be made of, as checked values: the seam between `config` and `pipeline`.

`config` turns a file, a mapping or nothing into a `Plan`; `lifecycle` and the command line turn a plan into
running parts. Nothing here does I/O, and a plan can be made by hand in a test.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .core.sift import Routes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..handlers.record import EventBuilder
    from ..handlers.schema import Schema
    from .alerts import AlertPlan
    from .core.span_target import SpanTarget
    from .ports import SinkKind, SourceKind
    from .spool import SpoolSettings

__all__ = ["DEAD_LETTER_BYTES", "LevelPlan", "Plan", "SinkSpec", "SourceSpec", "SpanPlan"]

DEAD_LETTER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """One sink: `name` is the key under `sinks:`, `options` an instance of `kind.config`.

    `routes` say which events it takes.
    """

    name: str
    kind: SinkKind[Any]
    options: object
    routes: Routes = field(default_factory=Routes)


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source: `name` is the key under `sources:`, `builder` makes its events."""

    name: str
    kind: SourceKind[Any]
    options: object
    builder: EventBuilder


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """The levels that `configure` sets, as names (`INFO`).

    `level` None: by `environment` (dev DEBUG, test INFO, prod WARNING). `access` is the level of access, job
    and span events. `loggers` overrides single loggers by their names. `flight_recorder`: what is below the
    level, from this one on, is held and shipped only for requests that fail.
    """

    level: str | None = None
    access: str | None = None
    loggers: Mapping[str, str] = field(default_factory=dict)
    environment: str = "dev"
    flight_recorder: str | None = None


@dataclass(frozen=True, slots=True)
class SpanPlan:
    """Which spans are kept, whether their beginnings are told, and where they go (None: the spool)."""

    sample: float = 1.0
    announce: bool = True
    to: SpanTarget = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a process needs to know to ship its records. Times are seconds, sizes bytes."""

    schema: Schema
    builder: EventBuilder
    spool: SpoolSettings
    sinks: Sequence[SinkSpec]
    sources: Sequence[SourceSpec] = ()
    levels: LevelPlan = field(default_factory=LevelPlan)
    spans: SpanPlan = field(default_factory=SpanPlan)
    console: Literal["pretty", "json", "off"] = "pretty"
    shutdown_timeout: float = 5.0
    dead_letters_max_bytes: int = DEAD_LETTER_BYTES
    metrics_listen: tuple[str, int] | None = None
    diagnostics_level: str = "WARNING"
    alerts: AlertPlan | None = None
