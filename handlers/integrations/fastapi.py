"""FastAPI and Starlette: `install(app)` gives each request its trace context and one access event.

    install(app)                          # options: `handlers.request.Policy`

    @app.get("/orders/{order}")
    async def order(order: int, log: BoundLogger):
        log.info("looking")

Rules (those of every framework stand in `handlers/request/__init__.py`, those of ASGI in `asgi.py`)
- The middleware is put around everything, Starlette's own error middleware included: the answer to an
  unhandled exception has its ids, whoever made it, and other middlewares' lines carry them.
- `BoundLogger` is a parameter's type: a logger named after the endpoint's module, whose lines carry what is
  bound to the request. `get_logger` is its dependency, for those who want another one on top of it.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final, Unpack

try:
    from fastapi import Depends
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection
except ImportError as error:
    from ._needs import missing

    raise missing("FastAPI", "fastapi", error) from error

from ..adapter import LoggerAdapter
from ..request.policy import Options
from .asgi import TraceMiddleware

__all__ = ["BoundLogger", "get_logger", "install"]

_INSTALLED: Final = "__logferry_installed__"


def install(app: Starlette, **options: Unpack[Options]) -> None:
    """Give every request of `app` its trace context and its access event. A second time does nothing.

    Options as for `handlers.request.Policy`. Raises RuntimeError when the application is serving already.
    """
    if getattr(app, _INSTALLED, False):
        return
    if app.middleware_stack is not None:
        raise RuntimeError("install() comes too late: the application is serving already")
    build = app.build_middleware_stack

    def build_middleware_stack() -> Any:
        return TraceMiddleware(build(), **options)

    setattr(app, "build_middleware_stack", build_middleware_stack)  # noqa: B010 - mypy: a method
    setattr(app, _INSTALLED, True)


def get_logger(connection: HTTPConnection) -> LoggerAdapter:
    """Return the logger of the endpoint's module."""
    module = getattr(connection.scope.get("endpoint"), "__module__", None)
    return LoggerAdapter(logging.getLogger(module if isinstance(module, str) else None))


BoundLogger = Annotated[LoggerAdapter, Depends(get_logger)]
