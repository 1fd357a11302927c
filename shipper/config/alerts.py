"""The section `alerts:`: what is watched, and who is told."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal

from ..alerts.rules import smtp_address
from .fields import Duration, Secret, setting
from .http import wrong_headers, wrong_url

__all__ = ["AlertReceiver", "AlertRule", "Alerts"]

_ADDRESS: Final = re.compile(r"[^\s<>@,]+@[^\s<>@,]+|[^\r\n<>@,]*<[^\s<>@,]+@[^\s<>@,]+>")
_LABELS: Final = frozenset({"alert", "service", "endpoint", "sink", "reason"})
_LIMITS: Final = {"error_rate": 0.05, "p95": 1000.0, "silence": 0.0, "lag": 60.0, "dropped": 0.0}
_WINDOWS: Final = {"error_rate": 300.0, "p95": 300.0, "silence": 600.0, "lag": 0.0, "dropped": 600.0}


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One condition."""

    what: Literal["error_rate", "p95", "silence", "lag", "dropped"] = setting(
        help="error_rate and p95 of each endpoint, silence of a service, lag and dropped records of a sink"
    )
    above: float | None = setting(
        None,
        help="the limit: a share (error_rate, usually 0.05), milliseconds (p95, 1000), seconds (lag, 60),"
        " records (dropped, 0)",
        minimum=0.0,
    )
    window: Duration | None = setting(
        None,
        help="how far back it looks; for silence, how long a service may be quiet; empty: 5m, and 10m for"
        " silence and dropped",
        minimum=10.0,
        maximum=6 * 3600.0,
    )
    hold: Duration = setting(
        Duration(0.0), key="for", help="it fires when it has been so for so long", maximum=86_400.0
    )
    at_least: int = setting(20, help="with fewer requests within the window nothing is said", minimum=1)
    match: str | None = setting(
        None,
        help="only events that this filter finds (the language of `query`)",
        example="'service=checkout'",
    )
    services: tuple[str, ...] = setting(
        (), help="only these; with silence they are expected, even if never heard of"
    )
    to: tuple[str, ...] = setting((), help="receivers by name; empty: all of them")

    def __post_init__(self) -> None:
        if self.match is not None and self.what not in {"error_rate", "p95"}:
            raise ValueError(f"match narrows error_rate and p95; {self.what} does not look at single events")
        if self.what == "error_rate" and self.above is not None and self.above >= 1:
            raise ValueError("above is a share: write 0.05 for five per cent")

    @property
    def limit(self) -> float:
        """The limit, also where none is written."""
        return _LIMITS[self.what] if self.above is None else self.above

    @property
    def span(self) -> float:
        """The window, also where none is written."""
        return _WINDOWS[self.what] if self.window is None else self.window


@dataclass(frozen=True, slots=True)
class AlertReceiver:
    """Somebody who is told."""

    type: Literal["webhook", "slack", "email"] = setting(
        help="webhook posts JSON as Alertmanager does, slack what Slack, Mattermost and Rocket.Chat take"
    )
    url: Secret | None = setting(None, help="webhook, slack: the address", example="${SLACK_WEBHOOK}")
    headers: Mapping[str, Secret] = setting(
        factory=dict, help="webhook: further headers", example="{Authorization: 'Bearer ${TOKEN}'}"
    )
    server: str | None = setting(None, help="email: the mail server", example="mail.example.com:587")
    security: Literal["starttls", "tls", "off"] = setting("starttls", help="email: how it is encrypted")
    sender: str | None = setting(None, key="from", help="email: the sender", example="logs@example.com")
    recipients: tuple[str, ...] = setting((), key="to", help="email: who gets it")
    username: str | None = setting(None, help="email: the account, where the server wants one")
    password: Secret | None = setting(None, help="email: its password")
    timeout: Duration = setting(Duration(10.0), help="for one message", minimum=0.1, maximum=120.0)

    def __post_init__(self) -> None:
        wrong = self._wrong_mail() if self.type == "email" else self._wrong_post()
        if wrong:
            raise ValueError(wrong)

    def _wrong_post(self) -> str:
        if self.server or self.sender or self.recipients or self.username or self.password:
            return f"server, from, to, username and password belong to type email, not {self.type}"
        if self.url is None:
            return f"type {self.type} needs a url"
        if find_spec("urllib3") is None:
            return f'type {self.type} needs urllib3: pip install "logferry[http]"'
        wrong = wrong_url(self.url.reveal(), "https://hooks.example.com/path", query=True)
        return wrong or wrong_headers({}, self.headers, frozenset({"authorization"}))

    def _wrong_mail(self) -> str:
        if self.url is not None or self.headers:
            return "url and headers belong to type webhook, not email"
        if not self.server or not self.sender or not self.recipients:
            return "type email needs server, from and to"
        for address in (self.sender, *self.recipients):
            if not _ADDRESS.fullmatch(address):
                return f"{address!r} is no e-mail address"
        try:
            smtp_address(self.server)
        except ValueError as error:
            return f"server: {error}"
        return self._wrong_account()

    def _wrong_account(self) -> str:
        if (self.username is None) != (self.password is None):
            return "username and password belong together"
        if self.username is not None and self.security == "off":
            return "security: off would send the password in clear text"
        return ""


def _wrong_label(labels: tuple[str, ...]) -> str:
    wrong = [name for name in labels if name not in _LABELS]
    return f"alerts have no {wrong[0]}; one of {', '.join(sorted(_LABELS))}" if wrong else ""


@dataclass(frozen=True, slots=True)
class Alerts:
    """Conditions that the agent watches, and who is told."""

    receivers: Mapping[str, AlertReceiver] = setting(help="who is told, by names of your choice", key="to")
    rules: Mapping[str, AlertRule] = setting(
        factory=dict, help="what is watched, by names of your choice; empty: one of each, as in Grafana"
    )
    every: Duration = setting(Duration(15.0), help="how often it is looked at", minimum=0.1, maximum=3600.0)
    group_by: tuple[str, ...] = setting(
        ("alert", "service"), help="alerts that agree in these are one message", check=_wrong_label
    )
    group_wait: Duration = setting(Duration(10.0), help="how long the first message waits for others")
    group_interval: Duration = setting(Duration(300.0), help="the least time between two messages of a group")
    repeat: Duration = setting(Duration(4 * 3600.0), help="how often it is said again while nothing changes")
    link: str = setting(
        "", help="a link for each message; {service}, {endpoint}, {sink} and {trace_id} are filled in"
    )

    def __post_init__(self) -> None:
        if not self.receivers:
            raise ValueError("nobody is told: name at least one receiver under to")
