"""WSGI: each request in its own trace context, and one access event at its end.

    app = TraceMiddleware(app)            # options: `handlers.request.Policy`

Rules (those of every framework stand in `handlers/request/__init__.py`)
- What is bound is bound while the application is called, for each step of its answer, so that a streaming
  generator's lines carry the ids, and while the answer is closed. In between the thread is the server's:
  nothing is left in it by an answer that nobody closes, and the steps may be taken in another thread.
- The event is logged when the iterator is exhausted, or closed before. Of a file that the server sends by
  itself (`wsgi.file_wrapper`) when it is closed; its size is what ``Content-Length`` says.
- An unhandled exception is answered with a plain 500 that has the request's id, and goes no further; once the
  answer has begun it goes on to the server, which breaks the connection.
- There are no templates of routes in WSGI: `endpoint` is there when the application binds it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Final, TypeAlias, Unpack

from ..request.environ import EXCHANGE, Tee, made, path_of
from ..request.exchange import Exchange
from ..request.inside import Inside
from ..request.policy import Options, Policy
from ..request.told import tell_once

__all__ = ["TraceMiddleware"]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
App: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

_SERVERS: Final = ("gunicorn.error", "waitress", "werkzeug", "wsgi")
_ANSWER: Final = frozenset({"x-request-id", "traceparent"})


class TraceMiddleware:
    """Wraps a WSGI application; options as for `handlers.request.Policy`."""

    _answers = True  # whether an exception is answered here, and goes no further
    _asks = True  # whether the user's hook gets the environ

    def __init__(self, app: App, **options: Unpack[Options]) -> None:
        self._app = app
        self._policy = Policy(**options)
        tell_once(*_SERVERS)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if EXCHANGE in environ:  # within another one: one request, one event
            return self._app(environ, start_response)
        exchange = made(self._policy, environ, path_of(environ), environ if self._asks else None)
        environ[EXCHANGE] = exchange
        exchange.enter()
        if exchange.expects_body() and exchange.body is not None and "wsgi.input" in environ:
            environ["wsgi.input"] = Tee(environ["wsgi.input"], exchange.body)
        answer = _Answer(exchange, start_response)
        try:
            found = self._app(environ, answer.start)
        except BaseException as error:
            exchange.fail(error)
            if not (self._answers and isinstance(error, Exception) and not answer.started):
                exchange.report()
                raise
            found = answer.apologise()
        finally:
            answer.inside = Inside()
            exchange.leave()
        wrapper = environ.get("wsgi.file_wrapper")
        if isinstance(wrapper, type) and isinstance(found, wrapper) and answer.watch(found):
            return found
        answer.content = found
        return answer


class _Answer:
    """The answer on its way to the server."""

    def __init__(self, exchange: Exchange, start_response: StartResponse) -> None:
        self.started = False
        self.content: Iterable[bytes] = ()
        self._exchange = exchange
        self._start_response = start_response
        self._steps: Iterator[bytes] | None = None
        self.inside = Inside()
        self._closed = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Any:
        """Note the status, add our headers and pass it on."""
        exchange = self._exchange
        exchange.status = int(status[:3]) if status[:3].isdecimal() else 500
        request_id, parent = exchange.answer_headers()
        mine = [pair for pair in headers if pair[0].lower() not in _ANSWER]
        mine += [("X-Request-ID", request_id), ("traceparent", parent)]
        if exchange.error is None:
            self.started = True
        write = (
            self._start_response(status, mine, exc_info) if exc_info else self._start_response(status, mine)
        )

        def counted(data: bytes) -> Any:
            exchange.bytes += len(data)
            return write(data)

        return counted

    def apologise(self) -> list[bytes]:
        """Begin a plain 500 with the request's id."""
        body = f"Internal Server Error (request {self._exchange.answer_headers()[0]})\n".encode("latin-1")
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        self.start("500 Internal Server Error", headers, sys.exc_info())
        return [body]

    def watch(self, found: Any) -> bool:
        """Be told when the server closes a file that it sends by itself; False when that cannot be."""
        close = getattr(found, "close", None)

        def closed() -> None:
            try:
                if close is not None:
                    close()
            finally:
                self._exchange.report()

        try:
            found.close = closed
        except AttributeError:
            return False
        return True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __len__(self) -> int:  # what the application's own answer says: servers take it for Content-Length
        return len(self.content)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return True

    def __next__(self) -> bytes:
        exchange = self._exchange
        with self.inside:
            try:
                if self._steps is None:
                    self._steps = iter(self.content)
                data = next(self._steps)
                exchange.bytes += len(data)
                return data
            except StopIteration:
                exchange.end()
                exchange.report()
                raise
            except BaseException as error:
                exchange.fail(error)
                raise

    def close(self) -> None:
        """End the request: the server has sent everything, or given up."""
        if self._closed:
            return
        self._closed = True
        close = getattr(self.content, "close", None)
        with self.inside:
            try:
                if close is not None:
                    close()
            except Exception as error:
                self._exchange.fail(error)
                raise
            finally:
                self._exchange.report()
