"""An event's line with its id in front of its fields: framing, not encoding. Pure."""

from __future__ import annotations

import orjson

from ..model import ID_FRONT

__all__ = ["ID_BYTES", "identified"]

ID_BYTES = len('"event_id":"",') + 32 + 1 + 20
"""Bytes that the id adds to a line, at most."""


def identified(line: bytes, own: bytes) -> bytes:
    """Return the line with the id `own` in front; as it is when it carries one; an object whatever it was."""
    if line.startswith(ID_FRONT):
        return line
    if line[:1] == b"{":
        return b'{"event_id":"%b"%b%b' % (own, b"," if len(line) > 2 else b"", line[1:])
    return orjson.dumps({"event_id": own.decode(), "message": line.decode("utf-8", "replace")})
