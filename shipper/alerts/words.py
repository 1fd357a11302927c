"""Notices as payloads: a webhook's JSON, Slack's, an e-mail. Pure.

- The webhook's JSON has the shape of Alertmanager's (version 4), which everybody's receivers know; beside it
  each alert has its sample lines and its trace.
- What a log line holds is text: Slack's three characters are escaped, e-mail headers have no line breaks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import quote

import orjson

from .conditions import Alert
from .groups import Notice
from .rules import AlertPlan, Receiver

__all__ = ["email", "slack", "subject", "webhook"]

_NEVER: Final = "0001-01-01T00:00:00Z"
_MOST: Final = 50  # alerts in one message; what is more is counted


def subject(notice: Notice) -> str:
    """Return one line that says it all: how many fire, what has recovered, which group."""
    state = f"FIRING {len(notice.firing)}" if notice.firing else f"RECOVERED {len(notice.recovered)}"
    return _line(f"[{state}] {_group(notice)}")[:200]


def _group(notice: Notice) -> str:
    labels = dict(notice.labels)
    return ": ".join(filter(None, (labels.pop("alert", ""), " ".join(labels.values())))) or "logferry"


def webhook(notice: Notice, receiver: Receiver, plan: AlertPlan, now: float) -> bytes:
    """Return the body for a webhook."""
    told = [(one, "firing") for one in notice.firing] + [(one, "resolved") for one in notice.recovered]
    alerts = [_alert(one, status, plan, now) for one, status in told[:_MOST]]
    body: dict[str, Any] = {
        "version": "4",
        "status": "firing" if notice.firing else "resolved",
        "receiver": receiver.name,
        "groupKey": notice.key,
        "groupLabels": _labels(notice.labels),
        "commonLabels": _labels(notice.labels),
        "commonAnnotations": {},
        "externalURL": plan.link.partition("?")[0],
        "truncatedAlerts": max(0, len(told) - _MOST),
        "title": subject(notice),
        "alerts": alerts,
    }
    return orjson.dumps(body)


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {"alertname" if name == "alert" else name: value for name, value in labels.items()}


def _alert(alert: Alert, status: str, plan: AlertPlan, now: float) -> dict[str, Any]:
    annotations = {"summary": alert.summary, "samples": "\n".join(alert.samples), "trace_id": alert.trace_id}
    return {
        "status": status,
        "labels": _labels(alert.labels),
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": _iso(alert.since),
        "endsAt": _NEVER if status == "firing" else _iso(now),
        "generatorURL": _link(alert, plan),
        "fingerprint": alert.id,
        "value": alert.value,
    }


def slack(notice: Notice, plan: AlertPlan, now: float) -> bytes:
    """Return the body for Slack's incoming webhooks, which Mattermost and Rocket.Chat take as well."""
    parts = [
        {"color": "#2eb67d" if done else "#e01e5a", "text": _escaped(_text(alert, plan, now, done=done))}
        for alert, done in _told(notice)[:_MOST]
    ]
    return orjson.dumps({"text": f"*{_escaped(subject(notice))}*", "attachments": parts})


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def email(notice: Notice, receiver: Receiver, plan: AlertPlan, now: float) -> EmailMessage:
    """Return the mail. Those of one group are one conversation."""
    mail = EmailMessage()
    mail["Subject"] = subject(notice)
    mail["From"] = receiver.sender
    mail["To"] = ", ".join(receiver.recipients)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    domain = receiver.sender.rpartition("@")[2].strip("> ") or "localhost"
    thread = hashlib.sha256(notice.key.encode("utf-8", "replace")).hexdigest()[:24]
    mail["Message-ID"] = f"<{thread}.{int(now * 1000)}@{domain}>"
    mail["References"] = f"<{thread}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    told = _told(notice)
    text = "\n\n".join(_text(alert, plan, now, done=done) for alert, done in told[:_MOST])
    more = f"\n\n… and {len(told) - _MOST} more" if len(told) > _MOST else ""
    mail.set_content(text + more + "\n")
    return mail


def _told(notice: Notice) -> list[tuple[Alert, bool]]:
    return [(one, False) for one in notice.firing] + [(one, True) for one in notice.recovered]


def _text(alert: Alert, plan: AlertPlan, now: float, *, done: bool) -> str:
    head = f"Recovered after {(now - alert.since) / 60:.0f} min. It was: " if done else ""
    lines = [head + alert.summary]
    if not done:
        lines += [f"  {_line(sample)}" for sample in alert.samples]
        lines += [f"  logferry trace {alert.trace_id}"] if alert.trace_id else []
    lines += [f"  {link}"] if (link := _link(alert, plan)) else []
    return "\n".join(lines)


def _link(alert: Alert, plan: AlertPlan) -> str:
    url = plan.link
    for name in ("service", "endpoint", "sink"):
        url = url.replace(f"{{{name}}}", quote(alert.labels.get(name, ""), safe=""))
    return url.replace("{trace_id}", alert.trace_id)


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
