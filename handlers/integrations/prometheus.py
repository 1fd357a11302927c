"""Metrics of an asyncio program for Prometheus: requests, durations, tasks, and how late the loop is.

    app = MetricsMiddleware(app)                  # counts and times requests by method, endpoint and status
    app.mount("/metrics", metrics_app())          # what Prometheus fetches
    watch_loop()                                  # in the running loop: tasks and lag

    @timeit("mail_send")                          # sync or async: a histogram `mail_send_seconds`
    async def send_mail(): ...

Needs `prometheus-async` (with `prometheus-client`): `pip install "logferry[prometheus]"`.

Rules
- The endpoint is the route's template, or `unknown`: a path would be one of millions.
- Nothing blocks the loop: the loop's lag is measured by a task that sleeps, and metrics are made in memory.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, Final, TypeAlias, TypeVar, cast

from .asyncio import background
from .asyncio_tasks import tasks_snapshot, waiting_counts

try:
    import prometheus_async.aio
    import prometheus_client
except ImportError as missing:
    raise ImportError(
        'metrics need prometheus-async and prometheus-client: pip install "logferry[prometheus]"'
    ) from missing

__all__ = ["MetricsMiddleware", "metrics_app", "timeit", "watch_loop"]

F = TypeVar("F", bound=Callable[..., Any])
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# Seconds, the bounds of `duration_le`.
_BUCKETS: Final = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 50.0),
)


@functools.cache
def _histogram(name: str, text: str, labels: tuple[str, ...] = ()) -> prometheus_client.Histogram:
    return prometheus_client.Histogram(name, text, labels, buckets=_BUCKETS)


@functools.cache
def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> prometheus_client.Gauge:
    return prometheus_client.Gauge(name, text, labels)


@functools.cache
def _requests() -> prometheus_client.Counter:
    return prometheus_client.Counter(
        "http_requests_total", "Requests that were answered.", ("method", "endpoint", "status")
    )


def timeit(name: str, text: str = "") -> Callable[[F], F]:
    """Time each call of a function, sync or async, in the histogram `<name>_seconds`."""
    histogram = _histogram(f"{name}_seconds", text or f"Seconds that {name} takes.")

    def decorate(function: F) -> F:
        if inspect.iscoroutinefunction(function):
            return cast("F", prometheus_async.aio.time(histogram)(function))
        return histogram.time()(function)

    return decorate


class MetricsMiddleware:
    """Counts and times the requests of an ASGI application."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._durations = _histogram(
            "http_request_duration_seconds", "Seconds to the last byte.", ("method", "endpoint")
        )
        self._open = _gauge("http_requests_in_progress", "Requests that are being answered.")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def seen(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        begun = perf_counter()
        self._open.inc()
        try:
            await self._app(scope, receive, seen)
        finally:
            self._open.dec()
            route = scope.get("route")
            endpoint = getattr(route, "path_format", None) or getattr(route, "path", None) or "unknown"
            method = str(scope["method"])
            self._durations.labels(method, endpoint).observe(perf_counter() - begun)
            _requests().labels(method, endpoint, str(status)).inc()


def metrics_app() -> App:
    """Return an ASGI application that answers with all metrics of the process."""
    return cast("App", prometheus_client.make_asgi_app())


def watch_loop(*, interval: float = 1.0) -> asyncio.Task[None]:
    """Measure the running loop from here on, every `interval` seconds; cancel the task to end it.

    `asyncio_loop_lag_seconds`: how late the loop woke a sleeping task. `asyncio_tasks`: tasks by what they
    wait for.
    """
    lag = _gauge("asyncio_loop_lag_seconds", "How late the loop woke a task that slept.")
    tasks = _gauge("asyncio_tasks", "Tasks by what they wait for.", ("waiting",))

    async def watch() -> None:
        seen: set[str] = set()
        while True:
            begun = perf_counter()
            await asyncio.sleep(interval)
            lag.set(max(perf_counter() - begun - interval, 0.0))
            counts = waiting_counts(tasks_snapshot())
            for what in seen - counts.keys():
                tasks.labels(what).set(0)
            for what, number in counts.items():
                tasks.labels(what).set(number)
            seen |= counts.keys()

    return background(watch(), name="logferry loop watch", daemon=True)
