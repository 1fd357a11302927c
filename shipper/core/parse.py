"""What a line of somebody else's log says: JSON is taken over field by field, text becomes the message.

Rules:
- Nothing is lost: what is not understood (a time that is none, an id that is malformed) stays a field under
  its own name, and the event's builder decides.
- A time without a zone is local time, as `logging` writes it: `local` makes seconds since the epoch of it.
- Text: a time and a level at the beginning of the line are read, and the whole line stays the message.
- A traceback at the end of a joined record becomes the error's stack, and the lines before it the message.
- A message that is itself a JSON object is taken apart like a line, and so is an object behind a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, Final, Literal, TypeAlias

import orjson

from .dialects import DIALECTS, usual_words
from .ids import add_ids, span_of, trace_of
from .journal import STAMP, complete, text_of
from .lines import CutLine
from .parse_error import take_error
from .stacks import TRACEBACK, split_stack

__all__ = [
    "HEAD_BYTES",
    "ISO",
    "LEVEL_NAMES",
    "MILLISECONDS",
    "PREFIXED",
    "ROLES",
    "TRACEBACK",
    "WORD",
    "Parsed",
    "Parser",
    "is_node",
    "level_of",
    "moment_of",
    "parse",
    "parse_json",
    "parse_object",
    "parse_prefixed",
    "parse_text",
    "second_of",
    "service_of",
    "span_of",
    "trace_of",
]

Parser: TypeAlias = Literal["auto", "json", "text"]
Local: TypeAlias = Callable[[datetime], float]

ROLES: Final[Mapping[str, tuple[str, ...]]] = {
    "timestamp": ("timestamp", "@timestamp", "time", "ts", "asctime"),
    "level": ("level", "levelname", "severity", "log.level", "lvl"),
    "service": ("service", "service.name", "service_name"),
    "trace_id": ("trace_id", "traceId", "trace.id", "otelTraceID"),
    "span_id": ("span_id", "spanId", "span.id", "otelSpanID"),
    "message": ("message", "msg", "event", "log"),
    "logger": ("logger", "logger_name", "name", "log.logger", "loggerName"),
}
"""The names under which JSON lines hold what an event always has; the first that is understood counts."""

_SERVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
LEVEL_NAMES: Final = {
    "TRACE": "DEBUG",
    "SILLY": "DEBUG",
    "VERBOSE": "DEBUG",
    "DEBUG": "DEBUG",
    "HTTP": "INFO",  # winston's, between info and verbose
    "INFO": "INFO",
    "INFORMATION": "INFO",
    "NOTICE": "INFO",
    "WARN": "WARNING",
    "WARNING": "WARNING",
    "ERR": "ERROR",
    "ERROR": "ERROR",
    "CRIT": "CRITICAL",
    "CRITICAL": "CRITICAL",
    "ALERT": "CRITICAL",
    "EMERG": "CRITICAL",
    "FATAL": "CRITICAL",
    "PANIC": "CRITICAL",
    # Levels between levels, as Go's slog writes them.
    **{f"DEBUG{offset:+}": "DEBUG" for offset in range(-8, 4) if offset},
    **{f"INFO+{offset}": "INFO" for offset in range(1, 4)},
    **{f"WARN+{offset}": "WARNING" for offset in range(1, 4)},
    **{f"ERROR+{offset}": "ERROR" if offset < 4 else "CRITICAL" for offset in range(1, 13)},
}
ISO: Final = re.compile(
    r"\[?(\d{4}[-/]\d\d[-/]\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
# Each alternative begins with a letter, and looks behind it: so a search leaps from such letter to letter.
WORD: Final = re.compile(
    "(?:"
    + "|".join(
        rf"{word[0]}(?<!\w{word[0]}){word[1:]}"
        for word in ("DEBUG", "INFO", "NOTICE", "WARN(?:ING)?", "ERR(?:OR)?", "CRIT(?:ICAL)?", "FATAL")
    )
    + r")\b"
)
NESTED_END: Final = re.compile(r"\}\s{0,8}\Z")
PREFIXED: Final = b' {"'
_MICROSECONDS: Final = 17  # digits of no time
_FAR: Final = 512  # bytes of text before a JSON object
HEAD_BYTES: Final = 120  # a level further behind is part of the message
_SCALE: Final[tuple[float, ...]] = tuple(10**digits for digits in range(7))
MILLISECONDS: Final = 10**11
"""From here on a number that is a time counts milliseconds, not seconds."""
_YEARS: Final = (datetime(1971, 1, 1, tzinfo=UTC).timestamp(), datetime(2200, 1, 1, tzinfo=UTC).timestamp())


@dataclass(slots=True)
class Parsed:
    """A line as understood. `timestamp` is seconds since the epoch; None and `""`: the line does not say.

    `error` holds parts of an event's `error`: type, message, stack, code, causes.
    """

    message: str
    level: str = "INFO"
    timestamp: float | None = None
    logger: str = ""
    service: str = ""
    trace_id: str = ""
    span_id: str = ""
    error: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


def parse(line: bytes, parser: Parser = "auto", local: Local = datetime.timestamp) -> Parsed | None:
    """Return what `line` says; None for a blank one. `local` reads times without a zone."""
    body = line.rstrip(b"\r\n \t")
    if not body:
        return None
    parsed = None
    if parser != "text" and body.lstrip()[:1] == b"{":
        parsed = parse_json(body, local)
    elif parser != "text" and PREFIXED in body:
        parsed = parse_prefixed(body, local)
    if parsed is None:
        parsed = parse_text(body, local)
        if parser == "json":
            parsed.fields["parse_error"] = "not a JSON object"
    if isinstance(line, CutLine):
        parsed.fields["line_cut_bytes"] = line.lost
    return parsed


def parse_json(body: bytes, local: Local = datetime.timestamp) -> Parsed | None:
    """Return what a JSON object says; None when `body` is none."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:  # a byte that is no UTF-8 costs the byte, not the line's fields
            content = orjson.loads(body.decode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            return None
    return parse_object(content, local) if isinstance(content, dict) else None


def parse_object(content: dict[str, Any], local: Local = datetime.timestamp) -> Parsed:
    """Return what a JSON object says, decoded; `content` is taken apart."""
    if STAMP in content and "MESSAGE" in content:
        moment = text_of(content[STAMP])
        if moment.isascii() and moment.isdecimal() and len(moment) < _MICROSECONDS:
            return _entry(content, int(moment), local)
    content = _unwrapped(content)
    if not DIALECTS.isdisjoint(content):
        usual_words(content)
    parsed = Parsed(_take(content, ROLES["message"], _text) or "")
    parsed.error = take_error(content)
    parsed.level = _take(content, ROLES["level"], level_of, is_node(content)) or "INFO"
    parsed.timestamp = _take(content, ROLES["timestamp"], moment_of, local)
    parsed.logger = _take(content, ROLES["logger"], _text) or ""
    parsed.service = _take(content, ROLES["service"], service_of) or ""
    parsed.trace_id = _take(content, ROLES["trace_id"], trace_of) or ""
    parsed.span_id = _take(content, ROLES["span_id"], span_of) or ""
    for name in ("trace_id", "span_id"):
        if content.get(name) == "":
            del content[name]
    parsed.fields = content
    return parsed


def _entry(content: Mapping[str, Any], moment: int, local: Local) -> Parsed:
    """Return what an entry of systemd's journal says; its message is a line."""
    parsed = parse(text_of(content["MESSAGE"]).encode("utf-8", "replace"), "auto", local) or Parsed("")
    complete(parsed, content, moment)
    return parsed


def _unwrapped(content: dict[str, Any]) -> dict[str, Any]:
    """Return a line with what its message says, if that is a JSON object, in place of the message."""
    for name in ROLES["message"]:
        text = content.get(name)
        if isinstance(text, str) and text[:1] == "{" and NESTED_END.search(text):
            try:
                inner = orjson.loads(text)
            except orjson.JSONDecodeError:
                return content
            if isinstance(inner, dict):
                rest = {key: value for key, value in content.items() if key != name}
                return inner | {
                    (key if key not in inner else f"outer_{key}"): value for key, value in rest.items()
                }
        if isinstance(text, str):
            return content
    return content


def parse_prefixed(body: bytes, local: Local = datetime.timestamp) -> Parsed | None:
    """Return what a JSON object behind a text says, with what the text says; None: there is none."""
    at = body.find(PREFIXED)
    if at <= 0 or at > _FAR or not body.endswith(b"}") or b"\n" in body:
        return None
    parsed = parse_json(body[at:], local)
    if parsed is None:
        return None
    before = parse_text(body[:at].rstrip(), local)
    if parsed.timestamp is None:
        parsed.timestamp = before.timestamp
    if parsed.level == "INFO":
        parsed.level = before.level
    parsed.trace_id = parsed.trace_id or before.trace_id
    parsed.span_id = parsed.span_id or before.span_id
    if not parsed.message:
        parsed.message = before.message
    else:
        parsed.fields.setdefault("prefix", before.message)
    return parsed


def parse_text(body: bytes, local: Local = datetime.timestamp) -> Parsed:
    """Return what a text line, or a joined record, says."""
    text = body.decode("utf-8", "replace")
    first, _, _ = text.partition("\n")
    parsed = Parsed(message=text)
    head = first[:HEAD_BYTES]
    match = ISO.match(head)
    if match:
        parsed.timestamp = _from_parts(match, local)
    word = WORD.search(head)
    if word:
        parsed.level = LEVEL_NAMES[word[0]]
    if "\n" in text or text.startswith(TRACEBACK):
        parsed.message, parsed.error = split_stack(text)
        if parsed.error and word is None:
            parsed.level = "ERROR"
    found: dict[str, Any] = {}
    add_ids(found, text)
    parsed.trace_id, parsed.span_id = found.pop("trace_id", ""), found.pop("span_id", "")
    parsed.fields |= found
    return parsed


def _take(content: dict[str, Any], names: tuple[str, ...], read: Any, *more: Any) -> Any:
    """Remove and return the first of `names` whose value `read` understands; the others stay."""
    for name in names:
        if name in content:
            understood = read(content[name], *more)
            if understood is not None:
                del content[name]
                return understood
        elif "." in name:
            outer, _, inner = name.partition(".")
            held = content.get(outer)
            if isinstance(held, dict) and inner in held:
                understood = read(held[inner], *more)
                if understood is not None:
                    rest = {key: value for key, value in held.items() if key != inner}
                    content[outer] = rest
                    if not rest:
                        del content[outer]
                    return understood
    return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def service_of(value: object) -> str | None:
    """Return a service's name as it may stand in an event; None: it is none."""
    return value if isinstance(value, str) and _SERVICE.match(value) else None


def is_node(content: Mapping[str, Any]) -> bool:
    """Whether a level by number is one of pino's or bunyan's, where 30 is INFO; else it is Python's."""
    time = content.get("time")
    return ("pid" in content and "hostname" in content) or (
        isinstance(time, int | float) and time >= MILLISECONDS
    )


def level_of(value: object, node: bool = False) -> str | None:  # noqa: FBT001, FBT002 - called for many values
    """Return one of the five levels; None: it says none. `node`: numbers are Node's."""
    if isinstance(value, str):
        return LEVEL_NAMES.get(value) or LEVEL_NAMES.get(value.strip().upper())
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        return None
    if node:
        value = max(value - 10, 1)
    return ("DEBUG", "DEBUG", "INFO", "WARNING", "ERROR")[int(value // 10)] if value < 50 else "CRITICAL"


def moment_of(value: object, local: Local) -> float | None:
    """Return seconds since the epoch; None: it is no time."""
    if isinstance(value, str):
        match = ISO.match(value)
        return _from_parts(match, local) if match and match.end() == len(value) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    for unit in (1, 1_000, 1_000_000, 1_000_000_000):  # seconds, milli-, micro-, nanoseconds
        if _YEARS[0] <= value / unit < _YEARS[1]:
            return value / unit
    return None


def _from_parts(match: re.Match[str], local: Local) -> float | None:
    day, clock, fraction, zone = match.groups()
    second: float | None = second_of(day, clock, zone, local)
    if second is None or fraction is None:
        return second
    scaled: float = int(fraction[:6]) / _SCALE[min(len(fraction), 6)]
    return second + scaled


@lru_cache(maxsize=256)  # the lines of a file share their seconds
def second_of(day: str, clock: str, zone: str | None, local: Local) -> float | None:
    """Return the second of a day, in seconds since the epoch; None: there is none such."""
    try:
        moment = datetime.fromisoformat(f"{day.replace('/', '-')}T{clock}{zone or ''}")
        stamp: float = local(moment) if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return stamp if _YEARS[0] <= stamp < _YEARS[1] else None
