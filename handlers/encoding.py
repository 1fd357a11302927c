r"""Anything an application may log → plain JSON types → one line of bytes. Nothing here can fail.

What JSON has no word for becomes visible text:

| value | becomes |
|---|---|
| NaN, infinities | "NaN", "Infinity", "-Infinity" |
| integers beyond 64 bits | decimal string (hexadecimal where Python refuses so many digits) |
| bytes | their text when it is printable UTF-8, else "base64:..." |
| lone surrogates | escaped: `\udc80` |
| sets | list, sorted |
| a container inside itself | "<cycle>" |
| dates, Decimal, UUID, paths | ISO 8601, digits, text |
| Enum, numpy scalars | their value |
| dataclasses, attrs, pydantic, msgspec | object of their fields |
| generators and other iterators | "<generator name>": never consumed |
| anything else | its repr; "<unprintable T>" when that raises |

Bounds, applied before encoding (a JSON encoder must never meet unbounded depth): `MAX_DEPTH` levels,
`MAX_ITEMS` items a container, `MAX_NODES` values in all, `MAX_EVENT` bytes an event. Cuts are visible and the
event says `"truncated": true`. KeyboardInterrupt and SystemExit pass: they belong to the application.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from .plain import Walk, cut_text

__all__ = ["MAX_EVENT", "encode", "normalise", "normalise_marked", "shrink"]

MAX_EVENT: Final = 256 * 1024
"""Bytes of one event line, at most."""

_SIX: Final = ("timestamp", "level", "service", "trace_id", "span_id", "message")


def normalise(value: object) -> Any:
    """Return `value` in plain JSON types (exact str, int, float, bool, None, list, dict): see the table."""
    return Walk().visit(value, 0)


def normalise_marked(value: object) -> tuple[Any, bool]:
    """Return `value` in plain JSON types, and whether anything of it was cut."""
    walk = Walk()
    return walk.visit(value, 0), walk.cut


def encode(event: dict[str, Any], limit: int = MAX_EVENT) -> bytes:
    """Return `event`, whatever it holds, as one JSON line of at most `limit` bytes (at least 4 KiB)."""
    plain, cut = normalise_marked(event)
    if not isinstance(plain, dict):  # an impossible dict subclass: still one line
        plain = {"message": plain}
    if cut:
        plain["truncated"] = True
    line = orjson.dumps(plain)
    return line if len(line) <= limit else shrink(plain, limit)


def shrink(event: dict[str, Any], limit: int = MAX_EVENT) -> bytes:
    """Return a plain `event` that was too large as a line of at most `limit` bytes, marked as truncated.

    The longest strings are cut first, all to one length that fits; where that is not enough, the largest
    values that are not among the first six go, each leaving a mark.
    """
    event = {**event, "truncated": True}
    length = limit // 2
    while length >= 64:
        small = {name: _cut(value, length) for name, value in event.items()}
        line = orjson.dumps(small)
        if len(line) <= limit:
            return line
        length //= 2
    kept = {name: small.get(name, "") for name in _SIX}
    kept["truncated"] = True
    room = limit - len(orjson.dumps(kept))
    sizes = {name: len(orjson.dumps({name: value})) + 1 for name, value in small.items() if name not in kept}
    for name in sorted(sizes, key=sizes.__getitem__):
        if sizes[name] > room:
            break
        room -= sizes[name]
        kept[name] = small[name]
    return orjson.dumps({name: kept[name] for name in dict.fromkeys((*_SIX, *small)) if name in kept})


def _cut(value: Any, length: int) -> Any:
    kind = type(value)
    if kind is str:
        return cut_text(value, length)
    if kind is dict:
        return {cut_text(key, 256): _cut(item, length) for key, item in value.items()}
    if kind is list:
        return [_cut(item, length) for item in value]
    return value
