"""Calls that leave the process: each logged before and after at DEBUG, and a span.

    with external("sms.send", to="+49…", text="…"):      # also `async with`, also as a decorator
        provider.send(…)

Rules
- ``logferry.calls`` logs two lines, `kind` ``call``: before with `arguments`, after with `duration_ms`,
  `failed` and what the caller says of the answer (`status_code`, `bytes`). What failed is WARNING in
  neither: whoever handles the exception knows whether it matters.
- Arguments and URLs are redacted and bounded here, whatever formats the record. Bodies are summarised:
  JSON and forms by their fields, anything else by type and size.
- A call within a call of the same kind (requests stands on urllib3) is told and counted once, by the
  outermost.
- What logferry's own workers send (threads under `suppressed`) is neither told nor given ids.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar, Token
from datetime import date, time
from decimal import Decimal
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast
from urllib.parse import parse_qsl
from uuid import UUID

from .context import get_trace_context
from .forward import is_suppressed
from .plain import safe_repr
from .spans import Span, SpanKind, finish_span, start_span

__all__ = ["CALLS", "Call", "calling", "clean_text", "clean_url", "external", "summarise", "summarise_body"]

CALLS: Final = "logferry.calls"
MAX_TEXT: Final = 200
MAX_ITEMS: Final = 20
MAX_DEPTH: Final = 4
MAX_BODY: Final = 16_384  # larger bodies are told by type and size only
MAX_URL: Final = 2_000
MAX_LOOKED_AT: Final = 65_536

F = TypeVar("F", bound=Callable[..., Any])

_log: Final = logging.getLogger(CALLS)
# The span of the call that libraries below are part of.
_calling: Final[ContextVar[Span | None]] = ContextVar("logferry_calling", default=None)


@functools.cache
def _redactor() -> Any:
    from .redaction import Redactor

    return Redactor()


def calling() -> bool:
    """Tell whether calls are not to be told here: inside another one, or in a thread of logferry's own.

    Where another span than the call's is in force, that is not inside: an application that is called in this
    very task has bound its own.
    """
    around = _calling.get()
    inside = around is not None and get_trace_context().span_id == around.span_id
    return inside or is_suppressed()


class Call:
    """One call: `begin` before, `end` after it, in the same task or thread. Never raises."""

    __slots__ = ("_begun", "_ended", "_name", "_span", "_token", "_told")

    def __init__(self, name: str, kind: SpanKind = "client") -> None:
        self._name = name
        self._begun = 0.0
        self._ended = False
        self._token: Token[Span | None] | None = None
        self._told = False
        self._span: Span = start_span(name, kind=kind)

    @classmethod
    def begin(
        cls,
        name: str,
        describe: Callable[[], Mapping[str, object]] | None = None,
        *,
        kind: SpanKind = "client",
        outermost: bool = True,
        peer: str = "",
    ) -> Call:
        """Begin a call, to `peer` where that is known: a host.

        `describe` returns what is logged of it, redacted; it is called only when that is wanted.
        `outermost`: calls inside this one, by libraries that it stands on, are part of it.
        """
        call = cls(name, kind)
        if outermost:
            call._token = _calling.set(call._span)
        if peer:
            call._span.set_tag("server.address", peer)
        call._told = _log.isEnabledFor(logging.DEBUG)
        if describe is not None and (call._told or call._span.sampled):
            fields = _guarded(describe)
            for key, value in fields.items():
                if key != "arguments":
                    call._span.set_tag(key, value)
            if call._told:
                _log.debug("→ %s", name, extra={"kind": "call", **fields})
        elif call._told:
            _log.debug("→ %s", name, extra={"kind": "call"})
        call._begun = perf_counter()
        return call

    def end(self, error: BaseException | str | None = None, **answer: object) -> None:
        """End it; `answer` is what is known of the answer (`status_code`, `bytes`).

        A second time does nothing.
        """
        if self._ended:
            return
        self._ended = True
        duration = (perf_counter() - self._begun) * 1000
        if self._token is not None:
            with suppress(ValueError):  # ended in another task: that one's own variable was never set
                _calling.reset(self._token)
        known = {key: value for key, value in answer.items() if value is not None}
        for key, value in known.items():
            self._span.set_tag(key, value)
        if isinstance(error, BaseException) and not isinstance(error, Exception):
            self._span.set_tag("ended_by", type(error).__name__)
            finish = None
        else:
            finish = error
        if self._told:
            fields: dict[str, object] = {
                **known,
                "duration_ms": round(duration, 3),
                "failed": error is not None,
            }
            words = f" {known['status_code']}" if "status_code" in known else ""
            if error is not None:
                reason = (
                    error if isinstance(error, str) else f"{type(error).__name__}: {safe_repr(error, str)}"
                )
                fields["reason"] = clean_text(reason, MAX_URL)
            _log.debug("← %s%s", self._name, words, extra={"kind": "call", **fields})
        finish_span(self._span, finish)


def _guarded(describe: Callable[[], Mapping[str, object]]) -> Mapping[str, object]:
    try:
        return describe()
    except Exception as error:  # noqa: BLE001 - a foreign object: the call goes on all the same
        return {"undescribed": type(error).__name__}


def clean_url(url: str) -> str:
    """Return the URL without passwords and other secrets, bounded."""
    return clean_text(url, MAX_URL)


def clean_text(text: str, longest: int = MAX_TEXT) -> str:
    """Return the text without secrets, bounded; redacted before it is cut: no half of a secret remains."""
    cleaned: str = _redactor().clean_text(text[:MAX_LOOKED_AT])
    return cleaned if len(text) <= longest else f"{cleaned[:longest]}… ({len(text)})"


def summarise(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return arguments redacted and bounded: what is long is cut and told with its size."""
    short = _short(arguments, 0)
    cleaned: dict[str, object] = _redactor().clean_mapping(short)
    return cleaned


def _short(value: object, depth: int) -> Any:  # noqa: PLR0911 - one for each kind of value
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT else clean_text(value)
    if isinstance(value, Decimal | date | time | UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        items = list(value.items())
        made = {str(key)[:MAX_TEXT]: _short(item, depth + 1) for key, item in items[:MAX_ITEMS]}
        return {**made, "…": f"{len(items) - MAX_ITEMS} more"} if len(items) > MAX_ITEMS else made
    if isinstance(value, list | tuple | set | frozenset) and depth < MAX_DEPTH:
        listed = list(value)
        shown = [_short(item, depth + 1) for item in listed[:MAX_ITEMS]]
        return [*shown, f"… {len(listed) - MAX_ITEMS} more"] if len(listed) > MAX_ITEMS else shown
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return f"<{type(value).__name__} of {len(value)}>"
    return f"<{type(value).__qualname__}>"


def summarise_body(body: object, content_type: str = "") -> dict[str, object]:
    """Return what may be logged of a request's body: the fields of JSON and forms, else type and size."""
    if body is None or body in {b"", ""}:
        return {}
    kind = content_type.partition(";")[0].strip().lower()
    size: int | None = None
    if isinstance(body, bytes | bytearray | str):
        data = body.encode() if isinstance(body, str) else bytes(body)
        size = len(data)
        fields = _fields_of(data, kind) if size <= MAX_BODY else None
        if fields is not None:
            return {"body": summarise(fields), "body_bytes": size}
    told: dict[str, object] = {"body_type": kind or type(body).__name__}
    return told if size is None else {**told, "body_bytes": size}


def _fields_of(data: bytes, kind: str) -> Mapping[str, object] | None:
    try:
        if kind == "application/x-www-form-urlencoded":
            return dict(parse_qsl(data.decode(), keep_blank_values=True, max_num_fields=200))
        if kind == "application/json" or kind.endswith("+json"):
            made = json.loads(data)
            return made if isinstance(made, dict) else {"": made}
    except (ValueError, RecursionError):
        pass
    return None


class external:  # noqa: N801 - reads as a function: `with external(...)`, `@external(...)`
    """A call to somebody else's service through whatever SDK: a payment, an SMS, a mail.

    `arguments` are logged, redacted and bounded. As a decorator (plain or async functions), what the function
    is called with is logged too. Entering returns the object whose `answer(**fields)` adds what is known
    of it.
    """

    __slots__ = ("_answers", "_arguments", "_calls", "_name")

    def __init__(self, name: str, /, **arguments: object) -> None:
        self._name = name
        self._arguments = arguments
        self._calls: list[Call | None] = []
        self._answers: dict[str, object] = {}

    def answer(self, **fields: object) -> None:
        """Say what is known of the answer: `status_code`, `bytes`, an id."""
        self._answers.update(fields)

    def __enter__(self) -> Self:
        arguments = self._arguments
        describe = (lambda: {"arguments": summarise(arguments)}) if arguments else None
        # Calls inside stay calls of their own: an SDK's HTTP requests are what one wants to see here.
        self._calls.append(None if is_suppressed() else Call.begin(self._name, describe, outermost=False))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        call = self._calls.pop()
        if call is not None:
            call.end(error, **summarise(self._answers))
        self._answers = {}

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: F, /) -> F:
        """Make a call of each call of `function`."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__qualname__} is a generator: use external(...) inside it")
        name, given = self._name, self._arguments
        signature = inspect.signature(function)

        def block(args: tuple[Any, ...], kwargs: dict[str, Any]) -> external:
            try:
                found = dict(signature.bind(*args, **kwargs).arguments)
            except TypeError:  # the call itself will say so
                found = {}
            found.pop("self", None)
            made = external(name)
            made._arguments = {**given, **found}  # an argument may be called `name`
            return made

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def wrapper(*args: Any, **kwargs: Any) -> Any:
                with block(args, kwargs):
                    return await function(*args, **kwargs)
        else:

            @functools.wraps(function)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                with block(args, kwargs):
                    return function(*args, **kwargs)

        return cast("F", wrapper)
