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
- A header that occurs twice with different values is malformed: it says two things. Servers that join headers
  of the same name with a comma are read as those that don't.
- ``traceparent`` follows W3C Trace Context: version ff is invalid, version 00 has exactly four parts, a
  higher version may have more, digits are lower case. Of its flags two are known, sampled and random; all
  others are forgotten, as the standard asks. ``tracestate`` (`tracestate.py`) counts only together with a
  ``traceparent`` that decides the trace.
- The span in ``traceparent`` and B3 is the caller's, so it is our parent. ``X-Span-ID`` and ``X-Parent-ID``
  are taken for what they say: the caller has made the id of this request's span, and told who is its parent.
  They count where neither ``traceparent`` nor B3 decides.
- B3 comes as one header or as several (``X-B3-TraceId`` and so on); the one header is the stronger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from os import urandom
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from .tracestate import read_tracestate

__all__ = [
    "HEADERS",
    "PRECEDENCE",
    "Incoming",
    "TraceId",
    "TraceParent",
    "format_b3",
    "format_traceparent",
    "from_headers",
    "is_forwardable",
    "is_span_id",
    "is_trace_id",
    "new_span_id",
    "new_trace_id",
    "normalise",
    "parse_b3",
    "parse_traceparent",
]

PRECEDENCE: Final = ("traceparent", "b3", "x-trace-id", "x-request-id")

_B3_PARTS: Final = ("x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags")
# Every header that may be read, by lower-case name.
HEADERS: Final = frozenset({*PRECEDENCE, *_B3_PARTS, "tracestate", "x-span-id", "x-parent-id"})

# A UUID4 says what it is: version 4 in its 13th digit, the variant in its 17th.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_NO_SPAN: Final = "0" * 16

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}", re.ASCII)
_SPAN_ID = re.compile(r"(?!0{16})[0-9a-f]{16}", re.ASCII)
_HEX_ID = re.compile(
    r"[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
    re.ASCII,
)
_FREE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(-[!-+\--~]*)?",
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


class Incoming(NamedTuple):
    """What a request's headers say of its trace.

    `trace_id` is `""` when no header had a usable one (the caller makes one with `new_trace_id`); `parent_id`
    is the caller's span (`""`: unknown). `request_id` is ``X-Request-ID`` as it came. `forwarded` holds, by
    lower-case header name, the values to send on unchanged with calls to other services. `span_id` is the
    span that the caller has made for this request (``X-Span-ID``; `""`: make one). `random`: the trace id is
    known to be random (a flag of ``traceparent``). `tracestate` is what goes on with ``traceparent``.
    """

    trace_id: str = ""
    parent_id: str = ""
    request_id: str = ""
    correlation_id: str = ""
    sampled: bool | None = None
    forwarded: Mapping[str, str] = MappingProxyType({})
    span_id: str = ""
    random: bool = False
    tracestate: str = ""


def new_trace_id(random: Callable[[int], bytes] = urandom) -> str:
    """Return a new trace id from 16 bytes of `random`: the digits of a UUID4."""
    text = random(16).hex()
    return f"{text[:12]}4{text[13:16]}{_VARIANT[text[16]]}{text[17:]}"


def new_span_id(random: Callable[[int], bytes] = urandom) -> str:
    """Return a new span id from 8 bytes of `random`."""
    text = random(8).hex()
    # All zeros means "no id" to every reader; it may come once in the life of the universe, or from a fake.
    return text if text != _NO_SPAN else text[:-1] + "1"


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


def is_forwardable(text: str) -> bool:
    """Tell whether an id may be sent in a header: well formed, no line break among others."""
    return _FREE_ID.fullmatch(text) is not None


def parse_traceparent(text: str) -> TraceParent | None:
    """Read a W3C ``traceparent``; None when it is invalid."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None or (match[1] == "00" and match[5] is not None):
        return None
    return TraceParent(match[2], match[3], bool(int(match[4], 16) & 1))


def format_traceparent(trace_id: str, span_id: str, *, sampled: bool = True, random: bool = False) -> str:
    """Write a W3C ``traceparent`` (version 00). Raises ValueError when an id is not well formed."""
    _require(trace_id, span_id)
    return f"00-{trace_id}-{span_id}-0{sampled + 2 * random}"


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
    wanted = HEADERS if precedence is PRECEDENCE else HEADERS.union(precedence)
    found, states = _collect(headers, wanted)
    if not found:
        return _NOTHING
    if precedence is PRECEDENCE and not states:
        usual = _usual(found)
        if usual is not None:
            return usual
    candidates, forwarded = _candidates(found, precedence)
    request_id = forwarded.get("x-request-id", "")
    winner, own, trace_id, parent_id, sampled = candidates[0] if candidates else _NOBODY
    if winner and (own == trace_id or normalise(own) == TraceId(trace_id, "")):
        own = next((text for _, text, other, _, _ in candidates[1:] if other != trace_id), "")
    if winner == "traceparent":
        random = _FLAGS[found["traceparent"][54]][1]
        state = read_tracestate(states) if states else ""
        return Incoming(trace_id, parent_id, request_id, own, sampled, forwarded, "", random, state)
    if winner == "b3":
        return Incoming(trace_id, parent_id, request_id, own, sampled, forwarded)
    span_id, parent_id = (_span(found.get(name, "")) for name in ("x-span-id", "x-parent-id"))
    return Incoming(trace_id, parent_id, request_id, own, sampled, forwarded, span_id)


def _usual(found: Mapping[str, str]) -> Incoming | None:
    """Read a valid ``traceparent``, alone or with ``X-Request-ID``: what most calls between services bring.

    None: something else came, which goes the general way. The same result, for half of the time.
    """
    match = _TRACEPARENT.fullmatch(found.get("traceparent", ""))
    if match is None or match[1] != "00" or match[5] is not None:
        return None
    _, trace_id, span_id, flags, _ = match.groups()
    sampled, random = _FLAGS[flags[1]]
    if len(found) == 1:
        return Incoming(trace_id, span_id, "", "", sampled, random=random)
    request_id = found.get("x-request-id")
    if request_id is None or len(found) > 2:
        return None
    made = normalise(request_id)
    if made is None:
        return Incoming(trace_id, span_id, "", "", sampled, random=random)
    lost = "" if made[0] == trace_id else request_id
    return Incoming(trace_id, span_id, request_id, lost, sampled, {"x-request-id": request_id}, "", random)


# The last digit of ``traceparent``'s flags: sampled, random.
_FLAGS: Final = {f"{digit:x}": (bool(digit & 1), bool(digit & 2)) for digit in range(16)}

# The header, the id as it is to be correlated, the trace id, the parent span, the sampling decision.
_Candidate: TypeAlias = tuple[str, str, str, str, bool | None]
_NOBODY: Final[_Candidate] = ("", "", "", "", None)


def _candidates(
    found: Mapping[str, str], precedence: Sequence[str]
) -> tuple[list[_Candidate], dict[str, str]]:
    """Return what each header says of the trace, the strongest first, and the ids that are sent on."""
    candidates: list[_Candidate] = []
    forwarded: dict[str, str] = {}
    for name in precedence if "x-request-id" in precedence else (*precedence, "x-request-id"):
        value = found.get(name, "")
        if name == "b3" or name == "traceparent":  # noqa: PLR1714 - in the fast way of every request
            parsed = _parse_any_b3(found) if name == "b3" else parse_traceparent(value)
            if parsed is not None:
                candidates.append((name, parsed.trace_id, *parsed))
        elif made := normalise(value):
            forwarded[name] = value
            if name in precedence:
                candidates.append((name, made.correlation_id or value, made.trace_id, "", None))
    return candidates, forwarded


_NOTHING: Final = Incoming()


def _span(text: str) -> str:
    lowered = text.lower()
    return lowered if is_span_id(lowered) else ""


def _parse_any_b3(found: Mapping[str, str]) -> TraceParent | None:
    if "b3" in found:
        parsed = parse_b3(found["b3"])
        if parsed is not None:
            return parsed
    if "x-b3-traceid" not in found or "x-b3-spanid" not in found:
        return None
    parsed = parse_b3(f"{found['x-b3-traceid']}-{found['x-b3-spanid']}")
    if parsed is None:
        return None
    sampled = _B3_SAMPLED.get(found.get("x-b3-sampled", "").lower())
    if found.get("x-b3-flags") == "1":  # debug: whatever was decided, this one is kept
        sampled = True
    return parsed._replace(sampled=sampled)


_B3_SAMPLED: Final = {"1": True, "true": True, "d": True, "0": False, "false": False}


def _collect(
    headers: Mapping[str, str] | Iterable[tuple[str, str]], wanted: frozenset[str]
) -> tuple[dict[str, str], list[str]]:
    """Return what is to be read, by lower-case name, and every ``tracestate`` in order."""
    found: dict[str, str] = {}
    states: list[str] = []
    contradicting: set[str] = set()
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        key = name.lower()
        if key not in wanted:
            continue
        if key == "tracestate":
            states.append(value)
            continue
        text = value.strip(" \t")
        if "," in text:  # several of one name, joined by a server
            parts = {part.strip(" \t") for part in text.split(",")}
            if len(parts) > 1:
                contradicting.add(key)
            text = parts.pop()
        if found.setdefault(key, text) != text:
            contradicting.add(key)
    if contradicting:
        found = {key: value for key, value in found.items() if key not in contradicting}
    return found, states
