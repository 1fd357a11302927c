"""Tasks that return the trace they run in: a Celery application."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any

from celery import Celery, signals

from logferry.handlers import context
from logferry.handlers.integrations import celery as traced

REDIS = os.environ.get("TRACE_REDIS", "redis://127.0.0.1:1/0")

app = Celery("shop", broker=REDIS, backend=REDIS)
app.conf.update(
    task_ignore_result=False,
    broker_connection_retry_on_startup=True,
    worker_send_task_events=False,
    result_chord_retry_interval=0.1,
)
traced.install()


@signals.setup_logging.connect
def log_to_a_file(**_: Any) -> None:
    """Write the lines of the worker's main process, and of its children, where TRACE_LINES says."""
    from logferry.handlers.stream import JsonHandler

    root = logging.getLogger()
    root.addHandler(JsonHandler(filename=os.environ["TRACE_LINES"], service="worker"))
    root.setLevel(logging.INFO)


def told() -> dict[str, str]:
    """What is bound here, as text."""
    return {name: str(value) for name, value in context.current().items()}


@app.task
def tell(*before: Any) -> list[Any]:
    """Return what is bound, after what the tasks before have returned; leave something behind."""
    now = told()
    context.bind(left="behind", user_id="7")
    return [*(one for part in before for one in (part if isinstance(part, list) else [part])), now]


@app.task(bind=True, max_retries=2)
def stubborn(self: Any, seen: list[Any]) -> list[Any]:
    """Succeed at the third attempt."""
    seen = [*seen, told()]
    if len(seen) < 3:
        raise self.retry(args=(seen,), countdown=0.1)
    return seen


@app.task
def parent() -> Any:
    """Call another task, and say its id: waiting inside a task is forbidden."""
    return [told(), tell.delay().id]


@app.task
def failing() -> None:
    """Fail."""
    raise ZeroDivisionError("in the task")


@app.task
def killed() -> None:
    """Be killed, as for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(time_limit=1)
def slow() -> None:
    """Take longer than allowed."""
    time.sleep(60)
