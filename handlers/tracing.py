"""Trace ids: made, read from headers, written to headers. Pure: no context, no clock; randomness comes in.

Rules
- A trace id is 32 lower-case hex digits, a span id 16; all zeros is not an id.
- An id that comes in is never replaced when it is well formed. A UUID (or 32 hex digits in any case) becomes
  the trace id without its dashes. Any other id of at most 128 of ``[A-Za-z0-9._:-]`` is kept as
  `correlation_id` and hashed (SHA-256, first 16 bytes), so that every service derives the same trace id.
- What is malformed is ignored, as if the header were absent: a header is input from strangers.
- Precedence (configurable): ``traceparent``, B3, ``X-Trace-ID``, ``X-Request-ID``. OpenTelemetry's active
  span stands above them all; `context.py` sees to that. The first well-formed id of those that lost and
  differs is kept as `correlation_id`.
- A header that occurs twice with different values is malformed: it says two things.
- ``traceparent`` follows W3C Trace Context: version ff is invalid, version 00 has exactly four parts, a
  higher version may have more, digits are lower case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from os import urandom
from typing import Final, NamedTuple

__all__ = [
    "PRECEDENCE",
    "Incoming",
    "TraceId",
    "TraceParent",
    "format_b3",
    "format_traceparent",
    "from_headers",
    "is_span_id",
    "is_trace_id",
    "new_span_id",
    "new_trace_id",
    "normalise",
    "parse_b3",
    "parse_traceparent",
]

PRECEDENCE: Final = ("traceparent", "b3", "x-trace-id", "x-request-id")

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}", re.ASCII)
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}", re.ASCII)
_HEX_ID = re.compile(
    r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    re.ASCII,
)
_FREE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?",
    re.ASCII,
)
_B3 = re.compile(
    r"([0-9a-fA-F]{32}|[0-9a-fA-F]{16})-([0-9a-fA-F]{16})(?:-([01d])(?:-([0-9a-fA-F]{16}))?)?",
    re.ASCII,
)


class TraceId(NamedTuple):
    """An id as events carry it, and the id it was made from (`""` when it is the trace id already)."""

    trace_id: str
    correlation_id: str


class TraceParent(NamedTuple):
    """What a ``traceparent`` or B3 header says. `sampled` is None when the header leaves it open."""

    trace_id: str
    span_id: str
    sampled: bool | None


@dataclass(frozen=True, slots=True)
class Incoming:
    """What a request's headers say of its trace.

    `trace_id` is `""` when no header had a usable one (the caller makes one with `new_trace_id`); `parent_id`
    is the caller's span (`""`: unknown). `request_id` is ``X-Request-ID`` as it came. `forwarded` holds, by
    lower-case header name, the values to send on unchanged with calls to other services.
    """

    trace_id: str = ""
    parent_id: str = ""
    request_id: str = ""
    correlation_id: str = ""
    sampled: bool | None = None
    forwarded: Mapping[str, str] = field(default_factory=dict)


def new_trace_id(random: Callable[[int], bytes] = urandom) -> str:
    """Return a new trace id from 16 bytes of `random`."""
    return _nonzero(random(16))


def new_span_id(random: Callable[[int], bytes] = urandom) -> str:
    """Return a new span id from 8 bytes of `random`."""
    return _nonzero(random(8))


def _nonzero(data: bytes) -> str:
    text = data.hex()
    # All zeros means "no id" to every reader; it may come once in the life of the universe, or from a fake.
    return text if any(data) else text[:-1] + "1"


def is_trace_id(text: str) -> bool:
    """Tell whether `text` is a trace id as events carry it."""
    return _TRACE_ID.fullmatch(text) is not None


def is_span_id(text: str) -> bool:
    """Tell whether `text` is a span id as events carry it."""
    return _SPAN_ID.fullmatch(text) is not None


def normalise(text: str) -> TraceId | None:
    """Turn any well-formed id into a trace id; None when it is malformed (or all zeros)."""
    if _HEX_ID.fullmatch(text):
        plain = text.replace("-", "").lower()
        return TraceId(plain, "") if plain.strip("0") else None
    if _FREE_ID.fullmatch(text):
        return TraceId(sha256(text.encode("ascii")).digest()[:16].hex(), text)
    return None


def parse_traceparent(text: str) -> TraceParent | None:
    """Read a W3C ``traceparent``; None when it is invalid."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return TraceParent(match[2], match[3], bool(int(match[4], 16) & 1))


def format_traceparent(trace_id: str, span_id: str, *, sampled: bool = True) -> str:
    """Write a W3C ``traceparent`` (version 00). Raises ValueError when an id is not well formed."""
    _require(trace_id, span_id)
    return f"00-{trace_id}-{span_id}-{'01' if sampled else '00'}"


def parse_b3(text: str) -> TraceParent | None:
    """Read a single ``b3`` header; None when it is invalid or only a sampling decision.

    A 64-bit trace id is filled with zeros on the left, as B3 prescribes.
    """
    match = _B3.fullmatch(text)
    if match is None:
        return None
    trace_id, span_id = match[1].lower().rjust(32, "0"), match[2].lower()
    if not (is_trace_id(trace_id) and is_span_id(span_id)):
        return None
    return TraceParent(trace_id, span_id, None if match[3] is None else match[3] != "0")


def format_b3(trace_id: str, span_id: str, *, sampled: bool = True, parent_id: str = "") -> str:
    """Write a single ``b3`` header. Raises ValueError when an id is not well formed."""
    _require(trace_id, span_id)
    return f"{trace_id}-{span_id}-{int(sampled)}" + (f"-{parent_id}" if is_span_id(parent_id) else "")


def _require(trace_id: str, span_id: str) -> None:
    if not is_trace_id(trace_id):
        raise ValueError(f"not a trace id (32 lower-case hex digits): {trace_id!r}")
    if not is_span_id(span_id):
        raise ValueError(f"not a span id (16 lower-case hex digits): {span_id!r}")


def from_headers(
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    precedence: Sequence[str] = PRECEDENCE,
) -> Incoming:
    """Read the trace that a request belongs to. Header names in any case; never raises for what they hold.

    `precedence` holds lower-case header names, the strongest first; a header that is not in it is not read,
    except ``x-request-id``, which is always taken as the request's id.
    """
    found = _collect(headers, {*precedence, "x-request-id"})
    # By precedence: the id as it is to be correlated, the trace id, the parent span, the sampling decision.
    candidates: list[tuple[str, str, str, bool | None]] = []
    forwarded: dict[str, str] = {}
    for name in (*precedence, "x-request-id"):
        value = found.get(name)
        if value is None or name in forwarded:
            continue
        if name in {"traceparent", "b3"}:
            parsed = parse_traceparent(value) if name == "traceparent" else parse_b3(value)
            if parsed is not None:
                candidates.append((parsed.trace_id, *parsed))
        else:
            made = normalise(value)
            if made is None:
                continue
            forwarded[name] = value
            if name in precedence:
                candidates.append((made.correlation_id or value, made.trace_id, "", None))
    request_id = forwarded.get("x-request-id", "")
    if not candidates:
        return Incoming(request_id=request_id, forwarded=forwarded)
    own, trace_id, parent_id, sampled = candidates[0]
    if normalise(own) == TraceId(trace_id, ""):
        lost = (text for text, other, _, _ in candidates[1:] if other != trace_id)
        own = next(lost, "")
    return Incoming(trace_id, parent_id, request_id, own, sampled, forwarded)


def _collect(headers: Mapping[str, str] | Iterable[tuple[str, str]], wanted: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    contradicting: set[str] = set()
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        key = name.lower()
        if key in wanted:
            text = value.strip(" \t")
            if found.setdefault(key, text) != text:
                contradicting.add(key)
    return {key: value for key, value in found.items() if key not in contradicting}
