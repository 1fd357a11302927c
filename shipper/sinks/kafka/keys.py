"""The key of each message: the trace, so that it is in one partition and in order; else the service. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

__all__ = ["keys"]


class _Head(msgspec.Struct, gc=False):
    """What of an event decides its partition."""

    trace_id: str = ""
    service: str = ""


_DECODER: Final = msgspec.json.Decoder(_Head)


def keys(lines: Sequence[bytes], by: Literal["trace_id", "service", "none"]) -> list[str | None]:
    """Return the key of each line; None where it has none."""
    if by == "none":
        return [None] * len(lines)
    try:
        heads = _DECODER.decode_lines(b"\n".join(lines))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        heads = []
    if len(heads) != len(lines):  # a line held a line break, or nothing: then only one by one is right
        heads = [_head(line) for line in lines]
    if by == "service":
        return [head.service or None for head in heads]
    return [head.trace_id or head.service or None for head in heads]


def _head(line: bytes) -> _Head:
    """Return what decides the partition of one line that may be anything."""
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Head()
