"""What is watched and who is told, as values; and the rules for whoever writes none. Times are seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

__all__ = ["DEFAULTS", "NAME", "AlertPlan", "Kind", "Receiver", "Rule", "smtp_address"]

NAME: Final = "alerts"
"""Of the sink that counts: in the books, on the disk and in `logferry top`."""

Kind: TypeAlias = Literal["error_rate", "p95", "silence", "lag", "dropped"]


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition. It fires when it has held for `hold` seconds.

    `error_rate`: more than the share `above` of at least `at_least` requests of an endpoint failed within
    `window`. `p95`: its 95th percentile is over `above` milliseconds. `silence`: a service has logged nothing
    for `window`. `lag`: a sink is more than `above` seconds behind. `dropped`: more than `above` records were
    dropped within `window`. `match` narrows the events; `to` names receivers (none: all of them).
    """

    name: str
    what: Kind
    above: float = 0.0
    window: float = 300.0
    hold: float = 0.0
    at_least: int = 1
    match: Callable[[Mapping[str, Any]], bool] | None = None
    services: tuple[str, ...] = ()
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Receiver:
    """One address. `type` decides which of the rest it needs."""

    name: str
    type: Literal["webhook", "slack", "email"]
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    server: str = ""
    security: Literal["starttls", "tls", "off"] = "starttls"
    sender: str = ""
    recipients: tuple[str, ...] = ()
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 10.0


# The same as in `shipper/panels/grafana/alerts.py`: who is told first should not decide what is an alert.
DEFAULTS: Final = (
    Rule("error rate", "error_rate", above=0.05, window=300, hold=300, at_least=20),
    Rule("p95", "p95", above=1000, window=300, hold=300, at_least=20),
    Rule("no logs", "silence", window=600, hold=300),
    Rule("lag", "lag", above=60, hold=300),
    Rule("dropped", "dropped", above=0, window=600),
)


@dataclass(frozen=True, slots=True)
class AlertPlan:
    """All of it. `group_by` are labels; `link` is a URL with `{service}`, `{endpoint}`, `{trace_id}` in."""

    receivers: tuple[Receiver, ...]
    rules: tuple[Rule, ...] = DEFAULTS
    every: float = 15.0
    group_by: tuple[str, ...] = ("alert", "service")
    group_wait: float = 10.0
    group_interval: float = 300.0
    repeat: float = 4 * 3600.0
    link: str = ""


def smtp_address(server: str) -> tuple[str, int]:
    """Return host and port of `mail.example.com` or `mail.example.com:587`; ValueError otherwise."""
    parts = urlsplit(f"//{server}")
    if not parts.hostname or parts.path or parts.username:
        raise ValueError("expected host or host:port such as mail.example.com:587")
    return parts.hostname, parts.port or 0
