"""Another configuration for a running `logferry run`: one pipeline ends where the next one begins.

Rules

- Checked before anything is touched. A new one that cannot work leaves the old one as it is.
- The sources stop first and have room made for them; what they had in hand is in the old spool, with the
  positions behind it, or goes into the new one. Then each worker finishes the batch in its hands, the old
  spool is closed, and the new pipeline adopts it: nothing is lost, and nothing is read twice.
- A worker that hangs in a dead sink's time-out is left behind: it commits nothing any more, and what it holds
  is adopted when it ends. So a server may get a batch again, under the ids that it had.
- Service and spool stay: positions and records are there. With others, or with a spool in memory, it says so
  and the old configuration goes on; that takes a restart.
- A new pipeline that does not start (its metrics port is taken) makes way for the old configuration again.
"""

from __future__ import annotations

from typing import Final

from .diagnostics import set_level
from .pipeline import Pipeline
from .plan import Plan

__all__ = ["Handover", "HandoverError"]

_SOURCES: Final = 5.0  # seconds for the sources to end
_WORKERS: Final = 2.0  # and for the batches in the workers' hands


class HandoverError(RuntimeError):
    """The new configuration cannot take over; the old one goes on."""


class Handover:
    """The pipeline that runs, and its plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.pipeline = Pipeline.from_plan(plan)
        set_level(plan.diagnostics_level)

    def to(self, plan: Plan) -> None:
        """Run `plan` from now on. Raises HandoverError, and then runs what ran before."""
        self._fits(plan)
        before = self.plan
        try:
            self._replace(plan)
        except Exception as error:  # noqa: BLE001 - a source or a port of the new one: the old one must run
            self.pipeline.leave(_WORKERS)
            self._replace(before)
            raise HandoverError(f"cannot start: {error}") from None
        set_level(plan.diagnostics_level)

    def _replace(self, plan: Plan) -> None:
        old, new = self.pipeline, Pipeline.from_plan(plan)
        new.succeed(old)
        old.leave(_WORKERS, sources=_SOURCES)
        self.pipeline, self.plan = new, plan
        new.start()

    def _fits(self, plan: Plan) -> None:
        old, new = self.plan.spool, plan.spool
        if old.path is None or new.path is None:
            raise HandoverError("a spool in memory cannot be handed over; restart logferry instead")
        for name, was, now in (("spool.path", old.path, new.path), ("service", old.service, new.service)):
            if was != now:
                text = f"{name} cannot change from {was} to {now} while logferry runs; restart it instead"
                raise HandoverError(text)
