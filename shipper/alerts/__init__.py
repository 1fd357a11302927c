"""Local alerts: conditions over what passes through the agent, told by webhook, Slack and e-mail.

    events ─▶ spool ─▶ Counting (a sink that only counts, with a cursor of its own)
                             │
                             ▼ every `every`
    accounts, states ─▶ readings ─▶ Conditions (pending → firing → recovered) ─▶ Groups ─▶ one thread
                                                                        a receiver each     a receiver each

Rules

- Events are counted as they pass, not asked of a store: it costs about a microsecond an event, needs neither
  DuckDB nor a local sink, and sees what sinks filter. As a cursor of its own in the one log, it has the
  spool's crash safety and account, and shows as the sink `alerts` in the books.
- Nothing here can hold up a delivery: counting always answers `Delivered`, evaluation and each receiver have
  threads of their own, and what they raise is said on stderr and tried again.
- Windows are of the events' own time: a backlog after an outage is no wave of errors now.
- What fires, and who was told, is kept in the service's directory: after a restart nothing is told twice, and
  a recovery is told all the same.
- A receiver is told of groups, not of alerts: one message says all that fires for one service and rule.

`rules` what is watched · `counting` the numbers · `readings` numbers → sentences · `conditions` the state of
each alert · `groups` when whom to tell · `words` payloads · `receivers` the wire · `watch` the threads
"""

from __future__ import annotations

from .rules import NAME, AlertPlan, Receiver, Rule

__all__ = ["NAME", "AlertPlan", "Receiver", "Rule"]
