"""What is bound to the running task: fields that every event of it carries, among them the trace.

Rules
- One context variable holds one immutable mapping. Binding makes a new mapping; a reader may keep, compare by
  identity and cache what `current` returned.
- Tasks inherit what was bound when they were made, and what they bind stays theirs. A thread begins empty;
  `wrap` takes the context along into threads and executors.
- `bound` restores only the names it bound, to what they were: fields bound inside by others stay.
- `trace_id`, `span_id`, `parent_id` and `correlation_id` are fields like any other under these names.
- OpenTelemetry, when the application has imported it and a span is active, decides the trace: its ids take
  the place of ours, and our trace id, if it is another one, is kept as `correlation_id`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, ParamSpec, TypeVar, cast

from .tracing import is_span_id, new_span_id, new_trace_id, normalise

if TYPE_CHECKING:
    from types import TracebackType

    from .carry import from_environ, to_environ

__all__ = [
    "OTEL",
    "Fields",
    "TraceContext",
    "bind",
    "bound",
    "clear",
    "current",
    "from_environ",
    "get_trace_context",
    "isolated",
    "opentelemetry_span",
    "prefer_opentelemetry",
    "put_trace",
    "raw",
    "replace",
    "restore",
    "set_trace_context",
    "to_environ",
    "unbind",
    "wrap",
]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


class TraceContext(NamedTuple):
    """The trace in force; each is `""` where there is none."""

    trace_id: str
    span_id: str
    parent_id: str


class Fields(dict[str, object]):
    """A mapping that never changes: a dict, so that copying it into an event is one C call."""

    __slots__ = ()

    def _immutable(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("bound fields are immutable: use bind(), unbind() or bound()")

    # Every way to change is shut.
    __setitem__ = __delitem__ = __ior__ = _immutable
    clear = pop = popitem = setdefault = update = _immutable

    def __reduce__(self) -> tuple[type[Fields], tuple[dict[str, object]]]:
        return Fields, (dict(self),)  # the default way would set item by item


_EMPTY: Final = Fields()
_fields: Final[ContextVar[Fields]] = ContextVar("logferry_fields", default=_EMPTY)
raw: Final[Callable[[], Fields]] = _fields.get
"""Return the fields bound here, without OpenTelemetry's ids."""

OTEL: Final = "opentelemetry.trace"
_modules: Mapping[str, Any] = sys.modules
# The last merge of bound fields with an OpenTelemetry span: (fields, span context, result), by identity.
_merged: Final[ContextVar[tuple[Fields, object, Fields] | None]] = ContextVar("logferry_merged", default=None)


def current() -> Fields:
    """Return the fields bound here, the trace in force among them. The mapping never changes."""
    if OTEL in _modules:
        return _with_span(raw())
    return raw()


def replace(fields: Mapping[str, object]) -> Fields:
    """Bind these fields and no others: where a request or a job begins. `restore` ends it."""
    made = Fields(fields)
    _fields.set(made)
    return made


def restore(former: Fields) -> None:
    """Bind again what `raw` returned before."""
    _fields.set(former)


def bind(**fields: object) -> None:
    """Add fields to every event of this task from here on (a field bound before is replaced)."""
    _fields.set(Fields(raw(), **fields))


def unbind(*names: str) -> None:
    """Remove fields by name; unknown names are ignored."""
    _fields.set(Fields({name: value for name, value in raw().items() if name not in names}))


def clear() -> None:
    """Remove all bound fields and the trace."""
    _fields.set(_EMPTY)


class bound:  # noqa: N801 - reads as a function: `with bound(...)`, `@bound(...)`
    """Bind fields for a block or for a function's calls.

    As a decorator it serves functions, coroutine functions and generators of both kinds; a generator's fields
    are bound only while it runs, never in its caller between two values.
    """

    __slots__ = ("_entered", "_new")

    def __init__(self, /, **fields: object) -> None:
        self._new = fields
        self._entered: list[tuple[Fields, Fields]] = []

    def __enter__(self) -> Fields:
        before = raw()
        fields = Fields(before, **self._new)
        self._entered.append((before, fields))
        _fields.set(fields)
        return fields

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        before, mine = self._entered.pop()
        now, new = raw(), self._new
        if now is mine:  # nothing else was bound meanwhile: the former mapping serves again
            _fields.set(before)
            return
        kept = {name: value for name, value in now.items() if name not in new}
        kept.update((name, before[name]) for name in new if name in before)
        _fields.set(Fields(kept))

    def __call__(self, function: F, /) -> F:
        """Bind the fields for each call of `function`."""
        return cast("F", _decorated(function, self._new))


@contextmanager
def isolated(**fields: object) -> Iterator[Fields]:
    """Bind fields for a block and forget afterwards what else was bound inside it: one request, one job."""
    before = raw()
    inside = Fields(before, **fields)
    _fields.set(inside)
    try:
        yield inside
    finally:
        _fields.set(before)


def _decorated(function: Callable[..., Any], new: dict[str, object]) -> Callable[..., Any]:
    """Make a wrapper of the function's own kind: frameworks ask whether it is a coroutine or a generator."""
    kinds: tuple[tuple[Callable[[Any], bool], Callable[..., Callable[..., Any]]], ...] = (
        (inspect.isasyncgenfunction, _async_generator),
        (inspect.iscoroutinefunction, _coroutine),
        (inspect.isgeneratorfunction, _generator),
    )
    make = next((make for is_kind, make in kinds if is_kind(function)), _plain)
    return functools.wraps(function)(make(function, new))


def _plain(function: Callable[..., Any], new: dict[str, object]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with bound(**new):
            return function(*args, **kwargs)

    return wrapper


def _coroutine(function: Callable[..., Any], new: dict[str, object]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with bound(**new):
            return await function(*args, **kwargs)

    return wrapper


def _generator(function: Callable[..., Any], new: dict[str, object]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        inner = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, inner)
        while True:
            try:
                with bound(**new):
                    value = step()
            except StopIteration as end:
                return end.value
            try:
                step = functools.partial(inner.send, (yield value))
            except GeneratorExit:
                with bound(**new):
                    inner.close()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever was thrown in belongs to the generator
                step = functools.partial(inner.throw, error)

    return wrapper


def _async_generator(function: Callable[..., Any], new: dict[str, object]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = function(*args, **kwargs)
        step: Callable[[], Awaitable[Any]] = functools.partial(anext, inner)
        while True:
            try:
                with bound(**new):
                    value = await step()
            except StopAsyncIteration:
                return
            try:
                step = functools.partial(inner.asend, (yield value))
            except GeneratorExit:
                with bound(**new):
                    await inner.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever was thrown in belongs to the generator
                step = functools.partial(inner.athrow, error)

    return wrapper


def wrap(function: Callable[P, R]) -> Callable[P, R]:
    """Take the context of this moment along to wherever `function` will be called: a thread, an executor.

    All context variables come along, OpenTelemetry's too. Each call runs in its own copy, so that concurrent
    calls neither disturb one another nor the caller.
    """
    captured = copy_context()

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return captured.copy().run(function, *args, **kwargs)

    return wrapper


def get_trace_context() -> TraceContext:
    """Return the trace in force: OpenTelemetry's active span, else what is bound."""
    fields = current()
    return TraceContext(_text(fields, "trace_id"), _text(fields, "span_id"), _text(fields, "parent_id"))


def set_trace_context(
    trace_id: str | None = None,
    span_id: str | None = None,
    parent_id: str | None = None,
) -> TraceContext:
    """Set the trace for this task from here on, and return it.

    None leaves an id as it is, or makes one where there is none (a parent is never made up); `""` removes it.
    Another trace id begins another trace: a span and a parent that aren't given are not taken over from the
    former. A UUID loses its dashes; any other well-formed id is hashed and kept as `correlation_id`; a
    malformed id is replaced by a new one (never an error: ids come from strangers).
    """
    fields = dict(raw())
    before = TraceContext(_text(fields, "trace_id"), _text(fields, "span_id"), _text(fields, "parent_id"))
    if trace_id == "":
        trace, correlation = "", ""
    else:
        made = normalise(trace_id) if trace_id is not None else None
        trace, correlation = made or (before.trace_id if trace_id is None else "", "")
        trace = trace or new_trace_id()
    if trace != before.trace_id:
        before = TraceContext(trace, "", "")
        fields.pop("correlation_id", None)
    if correlation:
        fields["correlation_id"] = correlation
    span = before.span_id if span_id is None else _span(span_id)
    if not span and span_id != "" and trace:
        span = new_span_id()
    ids = TraceContext(trace, span, before.parent_id if parent_id is None else _span(parent_id))
    for name, value in ids._asdict().items():
        if value:
            fields[name] = value
        else:
            fields.pop(name, None)
    _fields.set(Fields(fields))
    return ids


def put_trace(ids: TraceContext) -> None:
    """Bind exactly these ids, which are well formed already; `""` removes one."""
    fields = {**raw(), **ids._asdict()}
    for name, value in ids._asdict().items():
        if not value:
            del fields[name]
    _fields.set(Fields(fields))


def _span(text: str) -> str:
    lowered = text.lower()
    return lowered if is_span_id(lowered) else ""


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name, "")
    return value if isinstance(value, str) else ""


def prefer_opentelemetry(enabled: bool = True) -> None:  # noqa: FBT001, FBT002 - a switch, read as one
    """Say whether OpenTelemetry's active span decides the trace (it does by default), process-wide."""
    global _modules  # noqa: PLW0603 - one process-wide setting; `current` reads it in one global load
    _modules = sys.modules if enabled else {}


def opentelemetry_span() -> Any:
    """Return the context of OpenTelemetry's active span; None where there is none, or it is not asked."""
    if OTEL not in _modules:
        return None
    try:
        found = _modules[OTEL].get_current_span().get_span_context()
        return found if found.is_valid else None
    except Exception:  # noqa: BLE001 - half-imported, or a foreign span
        return None


def __getattr__(name: str) -> Any:
    """Load what carries the context into subprocesses; it stands on this module."""
    if name in {"from_environ", "to_environ"}:
        from . import carry

        return getattr(carry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _with_span(fields: Fields) -> Fields:
    """Put the ids of OpenTelemetry's active span in the place of ours."""
    try:
        span = _modules[OTEL].get_current_span()
        context = span.get_span_context()
        if not context.is_valid:
            return fields
        cached = _merged.get()
        if cached is not None and cached[0] is fields and cached[1] is context:
            return cached[2]
        merged = _merge(fields, f"{context.trace_id:032x}", f"{context.span_id:016x}", span)
        _merged.set((fields, context, merged))
    except Exception:  # noqa: BLE001 - half-imported, or a foreign span: a log call must not fail for it
        return fields
    return merged


def _merge(fields: Fields, trace_id: str, span_id: str, span: Any) -> Fields:
    merged: dict[str, object] = {**fields, "trace_id": trace_id, "span_id": span_id}
    merged.pop("parent_id", None)
    parent = getattr(span, "parent", None)
    if parent is not None:
        merged["parent_id"] = f"{parent.span_id:016x}"
    ours = fields.get("trace_id")
    if ours and ours != trace_id:
        merged.setdefault("correlation_id", ours)
    return Fields(merged)
