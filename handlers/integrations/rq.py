"""RQ: the trace from whoever enqueues a job to the worker that performs it.

    from logferry.handlers.integrations import rq as traced
    traced.install()                                  # where jobs are enqueued, and in the worker

or, without patching anything, the same job class on both sides: ``Queue(..., job_class=TraceJob)`` and
``rq worker --job-class logferry.handlers.integrations.rq.TraceJob``. The trace is in the job's `meta`, so
that retries and scheduled jobs keep it.
"""

from __future__ import annotations

from typing import Any, Final

from .. import carry
from ._needs import missing
from ._patch import Patches

try:
    import rq
    import rq.job
except ImportError as error:
    raise missing("rq", "rq", error) from error

__all__ = ["TraceJob", "install", "uninstall"]

_META: Final = "logferry"
_patches = Patches()


def _perform(job: Any, original: Any) -> Any:
    headers = job.meta.get(_META) if isinstance(job.meta, dict) else None
    name = str(job.func_name)
    carrier = headers if isinstance(headers, dict) else None
    with carry.received(carrier, f"rq {name}", task_name=name, task_id=str(job.id)):
        return original(job)


class TraceJob(rq.job.Job):  # type: ignore[misc,unused-ignore] # the library has no types
    """A job that carries the trace in force where it is made, and is performed in it."""

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a job."""
        job = super().create(*args, **kwargs)
        job.meta = {_META: carry.sent(), **(job.meta or {})}
        return job

    def perform(self) -> Any:
        """Run it, in its own context."""
        return _perform(self, rq.job.Job.perform)


def install() -> None:
    """Do the same for every job of the process."""
    uninstall()

    def made(original: Any) -> Any:
        def create_job(queue: Any, *args: Any, **kwargs: Any) -> Any:
            job = original(queue, *args, **kwargs)
            job.meta = {_META: carry.sent(), **(job.meta or {})}
            return job

        return create_job

    def performed(original: Any) -> Any:
        def perform(job: Any) -> Any:
            return original(job) if isinstance(job, TraceJob) else _perform(job, original)

        return perform

    _patches.replace(rq.Queue, "create_job", made)
    _patches.replace(rq.job.Job, "perform", performed)


def uninstall() -> None:
    """Undo `install`."""
    _patches.undo()
