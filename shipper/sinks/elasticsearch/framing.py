"""Event lines as the body of a bulk request.

Each event is two lines: `{"create":{"_id":"<event id>"}}` and the event as it was logged with `@timestamp`
and `event_id` put in front. Rules:

- A line is never parsed for this where it begins as the event builder writes it, and never re-encoded.
- `_id` is the event's id: what is delivered twice is refused by the server as there already. A line that
  carries its id with it (it came out of Kafka) keeps that.
- `contained` is the form for an event that the server's mapping refuses (a field that is an alias there, a
  name that it cannot have, another type): the schema's own fields, and the whole line as text in one field
  that nothing reads. It is made of refused events only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson

from ....handlers.schema import MISFIT, FieldType, cast
from ...core.columns import useful
from ...core.ended import ended
from ...model import Batch, Beside, Rejected, carried_id, uncarried
from .columned import HEADS, MANY, OPENING, by_columns, by_decoding

__all__ = ["OVERHEAD", "UNMAPPED", "bulk", "contained_bulk"]

CHUNK: Final = 500
"""Events framed without a rest."""

OVERHEAD: Final = 190
"""Bytes that framing adds to a line, about."""

UNMAPPED: Final = "unmapped"
_OWN: Final = b'{"create":{"_id":"%b"}}\n{"@timestamp":"%b",%b\n'
_ERROR: Final = ("type", "message", "stack", "code")
_KEYWORD: Final = 1_024


def bulk(
    batch: Batch, rest: Callable[[], None], refused: dict[int, Rejected]
) -> tuple[Sequence[bytes], Sequence[int]]:
    """Return pieces of the body for `batch`, and its events' indexes; note in `refused` what is no event."""
    frame, spool = _frame(batch.spool), batch.spool.encode()
    sequences, lines, size = batch.sequences, batch.lines, len(batch)
    bodies: list[bytes] = []
    at = 0
    while at < size:
        rest()
        one = useful(batch.beside, sequences[at])
        body, stop = _at_once(batch, one, at, spool)
        if body is not None:
            bodies.append(body)  # they are megabytes together, and compressed as they are
            at = stop
            continue
        stop = min(size, at + CHUNK)
        pieces = [
            # The usual beginning: a time stamp of 27 characters, then the rest of the line as it is.
            frame % (sequence, line[14:41], sequence, line[1:])
            if line[:14] == OPENING and line[40:42] == b'Z"'
            else _odd(frame, line, sequence)
            for sequence, line in zip(sequences[at:stop], lines[at:stop], strict=True)
        ]
        if b"" in pieces:
            empty = (index for index, piece in enumerate(pieces, at) if not piece)
            refused.update((index, Rejected("not a JSON object")) for index in empty)
        bodies.append(b"".join(pieces))
        at = stop
    indexes = [index for index in range(size) if index not in refused] if refused else range(size)
    return bodies, indexes


def contained_bulk(
    batch: Batch, indexes: Sequence[int], types: Mapping[str, FieldType]
) -> tuple[bytes, Sequence[int]]:
    """Return the body for those of `indexes` that have a contained form, and their indexes."""
    pieces, found = [], []
    for index in indexes:
        try:
            event = orjson.dumps(_contained(batch, index, types))
        except (ValueError, TypeError, RecursionError):  # no object, or text that is no Unicode
            continue
        pieces.append(orjson.dumps({"create": {"_id": batch.event_id(index)}}) + b"\n" + event + b"\n")
        found.append(index)
    return b"".join(pieces), found


def _at_once(batch: Batch, one: Beside | None, at: int, spool: bytes) -> tuple[bytes | None, int]:
    """Return the bulk lines of many events from the index `at` on, if that can be, and the index behind."""
    first, lines = batch.sequences[at], batch.lines
    longer = 10 ** len(str(first))  # the first sequence with more digits
    if one is not None:
        stop = min(len(lines), at + MANY, at + min(one.first + one.size, longer) - first)
        return by_columns(one, first, ended(lines, at, stop), spool), stop
    stop = min(len(lines), at + CHUNK, at + longer - first)
    if not isinstance(batch.sequences, range) or lines[at].startswith(OPENING):
        return None, stop
    return by_decoding(first, ended(lines, at, stop), spool), stop


def _frame(spool: str) -> bytes:
    name = spool.encode()
    action = b'{"create":{"_id":"' + name + b'-%d"}}\n'
    return action + b'{"@timestamp":"%b","event_id":"' + name + b'-%d",%b\n'


def _carried(own: str, line: bytes) -> bytes:
    """Return the frame of a line that carries its own id, which is its `_id` then; it may be any text."""
    rest = uncarried(line, own)
    if rest[:14] == OPENING and rest[40:42] == b'Z"':
        return _OWN % (own.encode(), rest[14:41], line[1:])
    made = _sound(line)
    return b"" if made is None else _OWN % (own.encode(), made[0], made[1][1:])


def _odd(frame: bytes, line: bytes, sequence: int) -> bytes:
    """Return the frame of a line that begins in another way; `b""`: it is no JSON object."""
    if own := carried_id(line):
        return _carried(own, line)
    made = _sound(line)
    return b"" if made is None else frame % (sequence, made[0], sequence, made[1][1:])


def _sound(line: bytes) -> tuple[bytes, bytes] | None:
    """Return the time stamp's text and the line as a bulk body may hold it; None: it is no JSON object."""
    try:
        stamp = HEADS.decode(line).timestamp
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if b"\n" in line or line[:1] != b"{":
        line = orjson.dumps(msgspec.json.decode(line))  # allowed in JSON, not in a bulk body
    # Without a usable time the server says what is wrong with it, in its own words.
    return orjson.dumps(stamp if isinstance(stamp, str) else "")[1:-1], line


def _contained(batch: Batch, index: int, types: Mapping[str, FieldType]) -> dict[str, Any]:
    line = batch.lines[index]
    found = msgspec.json.decode(line, type=dict[str, Any])  # of two equal names the last one counts
    event = {"@timestamp": found.get("timestamp"), "event_id": batch.event_id(index)}
    for name, kind in types.items():
        value = found.get(name)
        if value is None or name in event or kind == "object" or not _fits(value, kind):
            continue
        if isinstance(value, str) and name != "message" and len(value) > _KEYWORD:
            continue
        event[name] = value
    error = found.get("error")
    if isinstance(error, dict):
        event["error"] = {name: error[name] for name in _ERROR if isinstance(error.get(name), str)}
    return {**event, UNMAPPED: line.decode("utf-8", "replace")}


def _fits(value: Any, kind: FieldType) -> bool:
    made = cast(value, kind)
    return made is not MISFIT and (type(made) is type(value) or (kind == "number" and type(value) is int))
