"""An event that somebody has edited: held to the schema and cleaned of secrets before it is sent again.

Rules

- What a record must have, an edited event must have: timestamp, level, service and message; ids that were
  taken out come back empty.
- A value that does not fit its field's type is an error to whoever edits, not something to put aside: it is
  cast where that loses nothing ("42" → 42), else said.
- Secrets are redacted as in any record, and it is said that they were.
- `duration_le` follows `duration_ms`; `event_id` is the sinks' to put in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ..handlers.encoding import MAX_EVENT, encode, normalise_marked
from ..handlers.schema import FIELDS, MISFIT, cast

if TYPE_CHECKING:
    from ..handlers.record import EventBuilder
    from ..handlers.schema import Schema

__all__ = ["MendError", "mend", "parse_event", "pretty", "with_value"]

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_IDS: Final = {"trace_id": re.compile(r"([0-9a-f]{32})?"), "span_id": re.compile(r"([0-9a-f]{16})?")}
_LAST: Final = ("extra", "truncated")
_BUILT_IN: Final = tuple(field.name for field in FIELDS)


class MendError(ValueError):
    """An edited event cannot be sent; `problems` are sentences."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def pretty(event: bytes) -> str:
    """Return an event for an editor; bytes that are no JSON as a string."""
    try:
        found = json.loads(event)
    except ValueError:
        found = event.decode("utf-8", "backslashreplace")
    return json.dumps(found, indent=2, ensure_ascii=False)


def parse_event(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object that somebody wrote. Raises MendError."""

    def no_number(name: str) -> NoReturn:
        raise MendError([f"{name} is no JSON number"])

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise MendError([f"{twice} stands there twice"])
        return found

    try:
        event = json.loads(text, parse_constant=no_number, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise MendError([f"line {error.lineno}, column {error.colno}: {error.msg}"]) from None
    except (RecursionError, UnicodeDecodeError) as error:
        raise MendError([str(error)]) from None
    if not isinstance(event, dict):
        raise MendError(["an event is a JSON object: { … }"])
    return event


def with_value(schema: Schema, event: dict[str, Any], name: str, text: str) -> dict[str, Any]:
    """Return the event with a field set to what `text` means for the field's type; JSON where it has none.

    A dotted name means inside an object (`error.message`), unless a field has that very name.
    """
    head, _, rest = name.partition(".")
    inner = event.get(head)
    if rest and name not in event and schema.field(name) is None and isinstance(inner, dict):
        return {**event, head: with_value(schema, inner, rest, text)}
    field = schema.field(name)
    value: Any = text
    if field is None or field.type == "object":
        try:
            value = json.loads(text)
        except ValueError:
            value = text
    return {**event, name: value}


def mend(event: Mapping[str, Any], builder: EventBuilder) -> tuple[bytes, list[str]]:
    """Return the event's line, and what was changed on the way, in words. Raises MendError."""
    problems: list[str] = []
    held = {"trace_id": "", "span_id": "", **event}
    for field in builder.schema.fields:
        if field.required and held.get(field.name) is None:
            problems.append(f"{field.name} is missing: every event has it")
        elif field.name in held:
            value = cast(held[field.name], field.type)
            if value is MISFIT:
                shown = json.dumps(held[field.name], ensure_ascii=False)[:60]
                problems.append(f"{field.name}: {shown} is no {field.type}")
            else:
                held[field.name] = value
    problems += _wrong_words(held)
    if problems:
        raise MendError(problems)
    duration = held.get("duration_ms")
    if duration is not None and "duration_le" in held:
        held["duration_le"] = builder.schema.duration_bucket(duration)
    ordered = {name: held[name] for name in _BUILT_IN if name in held and name not in _LAST}
    ordered |= {name: value for name, value in held.items() if name not in ordered and name not in _LAST}
    ordered |= {name: held[name] for name in _LAST if name in held}
    return _cleaned(ordered, builder)


def _wrong_words(held: Mapping[str, Any]) -> list[str]:
    problems = []
    if isinstance(held.get("level"), str) and held["level"] not in _LEVELS:
        problems.append(f"level: {held['level']!r} is none of {', '.join(_LEVELS)}")
    for name, form in _IDS.items():
        if isinstance(held.get(name), str) and not form.fullmatch(held[name]):
            digits = 32 if name == "trace_id" else 16
            problems.append(f"{name}: {digits} lower-case hex digits, or nothing")
    if "event_id" in held:
        problems.append("event_id is put in by the sinks: take it out")
    return problems


def _cleaned(event: dict[str, Any], builder: EventBuilder) -> tuple[bytes, list[str]]:
    extras = tuple(name for name in event if name not in _BUILT_IN)
    clean = builder.redactor.clean if builder.redactor is not None else lambda same, _extras: same
    plain, cut = normalise_marked(event)  # what our JSON has no word for, or too much of
    if cut:
        plain["truncated"] = True
    result = clean(dict(plain), extras)
    line = encode(result, MAX_EVENT * 64)
    if len(line) > MAX_EVENT:
        raise MendError([f"{len(line):,} bytes: an event has at most {MAX_EVENT:,}"])
    changed = [name for name in plain if result.get(name) != plain[name]]
    notes = [f"redacted: {', '.join(changed)}"] if changed else []
    return line, [*notes, "cut: it holds too much"] if cut else notes
