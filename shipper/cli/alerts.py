"""`logferry alerts`: what fires; what would have fired (`--rehearse`); a trial for receivers (`--test`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from .codes import OK, PROBLEMS, UNAVAILABLE, USAGE
from .common import config_option, fail, load_config, open_store, spool_root, store_option
from .output import stdout, warn

if TYPE_CHECKING:
    from ..alerts import AlertPlan
    from ..alerts.conditions import Alert
    from ..store import Store

__all__ = ["alerts"]


@click.command(short_help="Show which alerts fire; try the receivers.")
@config_option
@click.option(
    "--test", "trial", is_flag=True, help="Tell every receiver that this is a trial, and say who got it."
)
@click.option(
    "--rehearse", is_flag=True, help="Show what the rules would have said over the local store; tell nobody."
)
@click.option("--since", default="24h", show_default=True, help="With --rehearse: from this time on.")
@store_option
def alerts(
    config_path: str | None,
    trial: bool,  # noqa: FBT001 - click's signature
    rehearse: bool,  # noqa: FBT001 - click's signature
    since: str,
    store_path: str | None,
) -> None:
    """Show the alerts that the agent of this configuration knows: those that fire, and what is pending.

    It reads the agent's file; the agent need not run. --rehearse goes through the events of the local store
    instead, as if the rules had been there: limits can be tried before anybody is woken. Lag and dropped
    records are no events, and not rehearsed.

    Exits with 1 when one fires (or would have), or with --test when a receiver was not told.
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
    if rehearse:
        raise SystemExit(_rehearse(plan, open_store(store_path, config_path), since))
    now = time.time()
    found = read_firing(spool_root(config) / file_name(config.service))
    out = stdout()
    rows = [_row(alert, now, firing=firing) for alert, firing in found]
    out.rows(sorted(rows, key=lambda row: (row["state"], row["alert"])))
    if not rows and out.people:
        names = ", ".join(rule.name for rule in plan.rules)
        warn(f"nothing fires; watched: {names}")
    raise SystemExit(PROBLEMS if any(firing for _, firing in found) else OK)


def _rehearse(plan: AlertPlan, store: Store, since: str) -> int:
    from datetime import UTC, datetime

    import orjson

    from ..alerts.rehearsal import rehearse
    from ..store import StoreError
    from ..store.moments import parse_moment

    until = datetime.now(UTC).astimezone()
    try:
        begin = parse_moment(since, until)
    except ValueError as error:
        fail(f"--since: {error}", USAGE)
    try:
        events = (
            (datetime.fromisoformat(event["timestamp"]).timestamp(), orjson.dumps(event))
            for event in store.query("", begin, until, limit=None, order="asc")
        )
        rows = [
            {
                "fired": f"{datetime.fromtimestamp(one.fired, UTC):%Y-%m-%dT%H:%M:%SZ}",
                "seconds": round((one.ended or until.timestamp()) - one.fired),
                "state": "firing" if one.ended is None else "recovered",
                "alert": one.alert.labels.get("alert", ""),
                "summary": one.alert.summary,
                "trace_id": one.alert.trace_id,
            }
            for one in rehearse(plan, events, begin.timestamp(), until.timestamp())
        ]
    except StoreError as error:
        fail(str(error), UNAVAILABLE)
    out = stdout()
    out.rows(
        sorted(rows, key=lambda row: str(row["fired"])), ("fired", "seconds", "state", "alert", "summary")
    )
    if out.people:
        warn(f"{len(rows) or 'nothing'} would have fired since {since}")
    return PROBLEMS if rows else OK


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
