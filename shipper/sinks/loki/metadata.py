"""Structured metadata: what can be filtered without parsing the line, framed as protobuf pairs.

Rules:

- `event_id` comes first; then each configured field that the event has. None and "" are left out.
- A value is at most `VALUE_BYTES` bytes; the line holds the whole of it. So an entry stays below Loki's 64
  KiB and 128 pairs whatever an application logs.
- Names are those that Loki would make of them (`a.b-c` → `a_b_c`), so that queries find them as documented.

The loop is written as source for the configured number of fields and compiled once: per event it is a third
of the cost of a loop over names. The source holds positions only, nothing that a user wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from .heads import Head
from .protobuf import pair

__all__ = [
    "BOOLEANS",
    "VALUE_BYTES",
    "Framer",
    "frame_metadata",
    "frame_pairs",
    "openings",
    "pairs_of",
    "text_of",
    "wire_name",
]

VALUE_BYTES: Final = 448
BOOLEANS: Final = {True: "true", False: "false"}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_]")

Framer: TypeAlias = Callable[[Sequence[Head | None], Sequence[int], str], list[bytes]]


def wire_name(name: str) -> str:
    """Return `name` as Loki keeps it: other characters become `_`, and it does not begin with a digit."""
    safe = _UNSAFE.sub("_", name)
    return f"key_{safe}" if safe[:1].isdigit() else safe


def text_of(value: Any) -> str:
    """Return a JSON value as a string of at most `VALUE_BYTES` bytes, "" for None."""
    if type(value) is str:
        text = value
    elif value is None:
        return ""
    elif type(value) is bool:
        text = BOOLEANS[value]
    elif type(value) in {int, float}:
        text = _number(value)
    else:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if len(text) * 4 > VALUE_BYTES:  # only then can its bytes be too many
        text = text.encode("utf-8", "replace")[:VALUE_BYTES].decode("utf-8", "ignore")
    return text


def pairs_of(head: Head, names: Sequence[str], event_id: str) -> dict[str, str]:
    """Return an event's metadata as a mapping: the plain form of what `frame_metadata` frames."""
    pairs = {"event_id": event_id}
    for position, name in enumerate(names):
        if text := text_of(getattr(head, f"m{position}")):
            pairs[wire_name(name)] = text
    return pairs


def frame_pairs(values: Mapping[str, Any]) -> bytes:
    """Return the framed pairs of an event's values by field; what is empty is left out."""
    return b"".join(pair(wire_name(name), text) for name, value in values.items() if (text := text_of(value)))


def openings(name: str) -> list[str]:
    """Return what stands before a value of each short length, as characters below 128."""
    openings = []
    key = wire_name(name)
    for length in range(128):
        framed = pair(key, "x" * length)
        if not framed.isascii():
            break
        openings.append(framed[: len(framed) - length].decode("ascii"))
    return openings


def _slow(head: Head, names: Sequence[str], event_id: str) -> bytes:
    return b"".join(pair(name, text) for name, text in pairs_of(head, names, event_id).items())


def frame_metadata(names: Sequence[str]) -> Framer:
    """Return a function (heads, sequences, spool id) → one framed metadata block for each event.

    The fast way takes short ASCII strings, whole numbers and booleans; whatever else comes takes the slow way
    and gives what the slow way gives.
    """
    source = ["def frame(heads, sequences, spool):", " out = []", " add = out.append"]
    source += [" own = [opening + spool + '-' for opening in owns]"]
    source += [" for head, sequence in zip(heads, sequences):", "  try:"]
    source += ["   digits = str(sequence)", "   text = own[len(digits)] + digits"]
    for i in range(len(names)):
        source += [f"   if v := head.m{i}:"]
        source += ["    if v.__class__ is not str: v = plain[v] if v.__class__ is bool else number(v)"]
        # One string made of three is cheaper than adding twice.
        source += [f"    text = f'{{text}}{{h{i}[len(v)]}}{{v}}'"]
        source += ["   elif v is not None and v != '':"]
        source += ["    v = plain[v] if v.__class__ is bool else number(v)"]
        source += [f"    text = f'{{text}}{{h{i}[len(v)]}}{{v}}'"]
    source += ["   if not text.isascii(): raise ValueError", "   add(text.encode())"]
    source += ["  except (IndexError, ValueError, TypeError, AttributeError):"]
    source += ["   add(slow(head, names, f'{spool}-{sequence}') if head is not None else b'')"]
    source += [" return out"]
    # An opening holds the length of the whole id, spool included: shift the table by the spool's part.
    own = openings("event_id")[33:]
    scope: dict[str, Any] = {f"h{i}": openings(name) for i, name in enumerate(names)}
    scope |= {"owns": own, "names": tuple(names), "slow": _slow, "number": _number}
    scope["plain"] = BOOLEANS
    exec("\n".join(source), scope)  # noqa: S102 - positions only, see the module's rules
    framer: Framer = scope["frame"]
    return framer


def _number(value: Any) -> str:
    """Return a number as JSON would; TypeError for what is not one."""
    if type(value) is int:
        return str(value)
    if type(value) is float:
        return repr(value)
    raise TypeError
