"""A checked configuration → the parts that run, as values: what `configure` and the commands start from.

Nothing is opened here: sinks and sources are made by the pipeline from their kinds and options.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...handlers.record import EventBuilder
from ...handlers.redaction import RedactionError, Redactor
from ...handlers.schema import Schema
from ..alerts.rules import DEFAULTS, AlertPlan, Receiver, Rule
from ..builder import SourceBuilder
from ..core.filter import parse
from ..core.sift import Routes
from ..core.span_target import span_target
from ..plan import LevelPlan, Plan, SinkSpec, SourceSpec, SpanPlan
from ..spool.settings import SpoolSettings
from .defaults import state_dir
from .problems import ConfigError, Problem
from .sections import Spool, listen_address
from .transforms import transforms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .sections import Config, Redact, SinkConfig, SinkSection

__all__ = ["alert_plan", "plan", "redactor", "spool_path"]


def plan(config: Config) -> Plan:
    """Return what is to run; raises `ConfigError` for what only shows when the parts are put together."""
    schema = _schema(config, config.service)
    cleaner = redactor(config.redact, schema) if config.redact else None
    sources = []
    for name, source in config.sources.items():
        own = _schema(config, source.common.service) if source.common.service else schema
        builder = SourceBuilder(own, cleaner, transforms=transforms(config, name))
        sources.append(SourceSpec(name, source.kind, source.options, builder))
    sinks = [
        SinkSpec(name, sink.kind, sink.options, _routes(sink.common, _usual(sink), config))
        for name, sink in config.sinks.items()
    ]
    return Plan(
        schema=schema,
        builder=EventBuilder(schema, cleaner),
        spool=_spool(config),
        sinks=sinks,
        sources=sources,
        levels=LevelPlan(
            config.logging.level,
            config.logging.access,
            config.logging.loggers,
            config.environment,
            config.logging.flight_recorder,
        ),
        spans=SpanPlan(config.spans.sample, config.spans.announce, span_target(config.spans.to)),
        console=config.logging.console,
        shutdown_timeout=config.shutdown_timeout,
        dead_letters_max_bytes=config.dead_letters.max_bytes,
        metrics_listen=listen_address(config.metrics.listen) if config.metrics else None,
        diagnostics_level=config.logging.diagnostics,
        alerts=alert_plan(config),
    )


def alert_plan(config: Config) -> AlertPlan | None:
    """Return what is watched and who is told; None: nothing."""
    section = config.alerts
    if section is None:
        return None
    receivers = tuple(
        Receiver(
            name,
            one.type,
            url=one.url.reveal() if one.url else "",
            headers={header: value.reveal() for header, value in one.headers.items()},
            server=one.server or "",
            security=one.security,
            sender=one.sender or "",
            recipients=one.recipients,
            username=one.username or "",
            password=one.password.reveal() if one.password else "",
            timeout=one.timeout,
        )
        for name, one in section.receivers.items()
    )
    rules = tuple(
        Rule(
            name,
            one.what,
            above=one.limit,
            window=one.span,
            hold=one.hold,
            at_least=one.at_least,
            match=parse(one.match, config.schema.fields).matches if one.match else None,
            services=one.services,
            to=one.to,
        )
        for name, one in section.rules.items()
    )
    return AlertPlan(
        receivers,
        rules or DEFAULTS,
        every=section.every,
        group_by=section.group_by,
        group_wait=section.group_wait,
        group_interval=section.group_interval,
        repeat=section.repeat,
        link=section.link,
    )


def redactor(settings: Redact, schema: Schema | None = None) -> Redactor:
    """Return the redactor that the section asks for; `ConfigError` when it cannot work."""
    try:
        return Redactor(
            settings.keys,
            settings.patterns,
            settings.mode,
            hash_key=settings.hash_key.reveal().encode() if settings.hash_key else None,
            emails=settings.emails,
            allow_backtracking=settings.allow_backtracking,
            schema=schema,
        )
    except RedactionError as error:
        raise ConfigError([Problem("", 0, 0, "redact", str(error))]) from None


def spool_path(config: Config) -> Path | None:
    """Return the spool's directory; None: in memory."""
    if not isinstance(config.spool, Spool):
        return None
    return config.spool.path or state_dir(os.environ)


def _spool(config: Config) -> SpoolSettings:
    settings = config.spool
    if not isinstance(settings, Spool):
        return SpoolSettings(None, config.service)
    return SpoolSettings(
        spool_path(config),
        config.service,
        max_bytes=settings.max_bytes,
        max_age=settings.max_age,
        when_full=settings.when_full,
        block_timeout=settings.block_timeout,
        sync=settings.sync,
        group=settings.group,
        memory_bytes=settings.memory_bytes,
        delivery=config.delivery,
    )


def _usual(sink: SinkConfig) -> str:
    """Return the route that a sink has unless its section says another."""
    match = sink.kind.match
    return match if isinstance(match, str) else match(sink.options)


def _routes(common: SinkSection, usual: str, config: Config) -> Routes:
    match = common.match or usual
    return Routes(
        min_level=common.min_level,
        max_age=common.max_age,
        match=parse(match, config.schema.fields).matches if match else None,
        sample=common.sample,
        rate_limit=common.rate_limit,
        collapse=common.collapse,
    )


def _schema(config: Config, service: str) -> Schema:
    declared: Mapping[str, Any] = config.schema.fields
    return Schema(
        service,
        config.environment,
        version=config.version,
        fields=declared,
        on_violation=config.schema.on_violation,
    )
