"""Delivery out of the process (`delivery: process | agent`): the application only appends.

    application  ─▶ mailbox    spool, upkeep, the books of others
                    keeper     sees that a delivery process is there: starts it, starts it again, replaces it
                    launch     how it is started
    the process  ─▶ __main__   reads its job from a pipe, claims the service, leaves its parent
                    process    a pipeline with one `spool` source, until `stay` says that it is over
    between them    board      who delivers with which configuration, and how its sinks are

Rules
- One delivery process for a service and a path: who holds `delivery.lock` (`spool/claim.py`). Losers of a
  race end at once.
- It is started by the first record of any process of the service, by the upkeep thread, never in a log call;
  when it dies, the upkeep of whoever lives starts it again, ever more slowly.
- It has no terminal, no parent, no descriptor of the application's, a session of its own, `/` as its
  directory. Configuration and environment come through a pipe: nothing secret is in its command line or in
  the environment that the system shows. What it has to say is in `<service>/delivery.log`, bounded.
- It ends when for `LINGER` seconds no owner of a spool lives and nothing is pending, or when nothing of what
  is pending could be delivered for `PATIENCE` seconds after the last owner has gone: the next start delivers.
- The configuration that was loaded last wins: its process asks the one at work to leave, which finishes the
  batches in its hands.
- SIGTERM: it delivers what comes until the owners have gone, for `shutdown_timeout` at most.
"""

from __future__ import annotations

__all__: list[str] = []
