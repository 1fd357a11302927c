"""`logferry alerts`: what the agent watches and what fires now; `--test` tells every receiver a trial."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from .codes import OK, PROBLEMS, UNAVAILABLE
from .common import config_option, fail, load_config, spool_root
from .output import stdout, warn

if TYPE_CHECKING:
    from ..alerts import AlertPlan
    from ..alerts.conditions import Alert

__all__ = ["alerts"]


@click.command(short_help="Show which alerts fire; try the receivers.")
@config_option
@click.option(
    "--test", "trial", is_flag=True, help="Tell every receiver that this is a trial, and say who got it."
)
def alerts(config_path: str | None, trial: bool) -> None:  # noqa: FBT001 - click's signature
    """Show the alerts that the agent of this configuration knows: those that fire, and what is pending.

    It reads the agent's file; the agent need not run. Exits with 1 when one fires, or with --test when a
    receiver was not told.
    """
    from ..alerts.watch import read_firing
    from ..config.plan import alert_plan
    from ..spool.directory import file_name

    config = load_config(config_path)
    plan = alert_plan(config)
    if plan is None:
        fail("the configuration has no alerts: section", UNAVAILABLE)
    if trial:
        raise SystemExit(_try(plan))
    now = time.time()
    found = read_firing(spool_root(config) / file_name(config.service))
    out = stdout()
    rows = [_row(alert, now, firing=firing) for alert, firing in found]
    out.rows(sorted(rows, key=lambda row: (row["state"], row["alert"])))
    if not rows and out.people:
        names = ", ".join(rule.name for rule in plan.rules)
        warn(f"nothing fires; watched: {names}")
    raise SystemExit(PROBLEMS if any(firing for _, firing in found) else OK)


def _row(alert: Alert, now: float, *, firing: bool) -> dict[str, Any]:
    return {
        "state": "firing" if firing else "pending",
        "alert": alert.labels.get("alert", ""),
        "seconds": round(max(0.0, now - alert.since)),
        "summary": alert.summary,
        "trace_id": alert.trace_id,
    }


def _try(plan: AlertPlan) -> int:
    from ..alerts.conditions import Alert
    from ..alerts.groups import Notice
    from ..alerts.receivers import send

    labels = {"alert": "trial", "service": "logferry"}
    words = "This is a trial of logferry alerts --test; nothing is wrong."
    notice = Notice("trial", labels, (Alert("trial", labels, time.time(), 0.0, words),), ())
    rows = []
    for receiver in plan.receivers:
        wrong = send(notice, receiver, plan)
        rows.append({"receiver": receiver.name, "type": receiver.type, "told": not wrong, "problem": wrong})
    stdout().rows(rows)
    return OK if all(row["told"] for row in rows) else PROBLEMS
