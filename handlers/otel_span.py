"""A span of OpenTelemetry's that goes along with one of ours, where its SDK runs in the process.

Whatever goes wrong in it is no reason for ours to fail: then there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from . import context
from .plain import safe_repr

__all__ = ["OtelSpan"]

_OTEL: Final = "opentelemetry.trace"


class OtelSpan:
    """One of OpenTelemetry's spans that goes along with ours."""

    __slots__ = ("_span", "_token", "ids")

    def __init__(self, otel: Any, token: Any, ids: context.TraceContext) -> None:
        self._span = otel
        self._token = token
        self.ids = ids

    @classmethod
    def start(cls, name: str, kind: str, tags: Mapping[str, object]) -> OtelSpan | None:
        """Begin one and make it active; None without an SDK, and for whatever goes wrong."""
        module = sys.modules.get(_OTEL)
        if module is None:
            return None
        try:
            parent, around = module.get_current_span().get_span_context(), None
            ours = context.get_trace_context()
            if not parent.is_valid and ours.trace_id and ours.span_id:
                # A job's trace, or one that a request brought: OpenTelemetry knows nothing of it.
                flags = module.TraceFlags(module.TraceFlags.SAMPLED)
                ids = int(ours.trace_id, 16), int(ours.span_id, 16)
                parent = module.SpanContext(*ids, is_remote=True, trace_flags=flags)
                around = module.set_span_in_context(module.NonRecordingSpan(parent))
            kinds = module.SpanKind
            made = module.get_tracer("logferry").start_span(name, around, kind=kinds[kind.upper()])
            own = made.get_span_context()
            if not own.is_valid or own.span_id == parent.span_id:  # the interface alone, without an SDK
                return None
            for tag, value in tags.items():
                made.set_attribute(tag, _attribute(value))
            from opentelemetry import context as otel_context

            token = otel_context.attach(module.set_span_in_context(made))
            above = f"{parent.span_id:016x}" if parent.is_valid and parent.trace_id == own.trace_id else ""
            made_ids = context.TraceContext(f"{own.trace_id:032x}", f"{own.span_id:016x}", above)
        except Exception:  # noqa: BLE001 - another library's defect is no reason to fail
            return None
        return cls(made, token, made_ids)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make it the active one for a block, wherever that runs."""
        token = None
        with suppress(Exception):
            from opentelemetry import context as otel_context

            token = otel_context.attach(sys.modules[_OTEL].set_span_in_context(self._span))
        try:
            yield
        finally:
            if token is not None:
                with suppress(Exception):
                    otel_context.detach(token)

    def end(self, tags: Mapping[str, object], error: str | None, end_ns: int, *, here: bool) -> None:
        """End it with what became of ours; `here`: in the context in which it began."""
        try:
            from opentelemetry import context as otel_context
            from opentelemetry.trace import Status, StatusCode

            for tag, value in tags.items():
                self._span.set_attribute(tag, _attribute(value))
            if error is not None:
                self._span.set_status(Status(StatusCode.ERROR, error))
            self._span.end(end_ns)
            if here:  # elsewhere the token is not valid
                otel_context.detach(self._token)
        except Exception:  # noqa: BLE001, S110 - another library's defect is no reason to fail
            pass


def _attribute(value: object) -> str | bool | int | float:
    return value if isinstance(value, str | bool | int | float) else safe_repr(value, str)
