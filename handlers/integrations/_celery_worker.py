"""What a Celery worker's main process says of a task, in the task's trace.

The task itself runs in another process; here it is received, rejected for having expired or been revoked, and
missed when it ran out of time or its process was killed. Its trace is bound for these moments only. Loaded by
workers, when they first look at a task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker.request import Request
from celery.worker.strategy import default

from .. import carry

__all__ = ["TraceRequest", "strategy"]


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Return Celery's way to receive a task's messages, each in its trace."""
    handle = default(task, app, consumer, **options)

    def task_message_handler(message: Any, *args: Any, **more: Any) -> Any:
        headers = message.headers or {}
        with carry.about(headers, task_name=task.name, task_id=headers.get("id", "")):
            return handle(message, *args, **more)

    return task_message_handler


class TraceRequest(Request):  # type: ignore[misc,unused-ignore] # the library has no types
    """A task as its worker's main process knows it."""

    def on_timeout(self, *args: Any, **options: Any) -> Any:
        """Tell of a time limit in the task's trace."""
        with self._in_trace():
            return super().on_timeout(*args, **options)

    def on_failure(self, *args: Any, **options: Any) -> Any:
        """Tell of a failure, a lost process among them, in the task's trace."""
        with self._in_trace():
            return super().on_failure(*args, **options)

    def revoked(self, *args: Any, **options: Any) -> Any:
        """Tell that it was revoked in the task's trace."""
        with self._in_trace():
            return super().revoked(*args, **options)

    def _in_trace(self) -> Any:
        return carry.about(self.request_dict, task_name=self.name, task_id=self.id)
