"""A request's body and headers. Pure.

A header's value may name, in braces: `service`, `environment`, `host` (of this process), `events` (how many),
`first_id`, `last_id` and `batch_id`. `batch_id` is the same whenever the same events are sent again by the
same process, so it can serve as an idempotency key. `{{` and `}}` are braces.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Final, Literal
from urllib.parse import quote

from ....handlers.schema import Schema
from ...core.columns import useful
from ...core.ended import ended
from ...model import ID_FRONT, Batch
from .numbered import MANY, WORTH, numbered

__all__ = ["PLACEHOLDERS", "framed_lines", "make_body", "make_headers", "wrong_template"]

PLACEHOLDERS: Final = ("service", "environment", "host", "events", "first_id", "last_id", "batch_id")
_PRINTABLE: Final = "".join(map(chr, range(32, 127)))


def wrong_template(name: str, text: str) -> str:
    """Return what is wrong with the value of the header `name`; `""`: nothing."""
    try:
        for _, field, spec, conversion in Formatter().parse(text):
            if field is not None and (field not in PLACEHOLDERS or spec or conversion):
                return f"headers.{name}: no placeholder {{{field}}}; known: {', '.join(PLACEHOLDERS)}"
    except ValueError:
        return f"headers.{name}: a brace without its other; write {{{{ for a brace"
    return ""


def make_headers(templates: Mapping[str, str], batch: Batch, schema: Schema) -> dict[str, str]:
    """Return the headers of one request; what is not printable ASCII is percent-encoded."""
    if not any("{" in text or "}" in text for text in templates.values()):
        return dict(templates)
    first, last = batch.event_id(0), batch.event_id(len(batch) - 1)
    values = {
        "service": schema.service,
        "environment": schema.environment,
        "host": schema.host,
        "events": str(len(batch)),
        "first_id": first,
        "last_id": last,
        "batch_id": f"{first}-{batch.sequences[-1]}-{len(batch)}",
    }
    safe = {name: quote(value, safe=_PRINTABLE) for name, value in values.items()}
    return {name: text.format_map(safe) for name, text in templates.items()}


def framed_lines(batch: Batch, start: int = 0, stop: int | None = None) -> list[bytes]:
    """Return some of the lines with `event_id` in front, as far as they are objects."""
    spool = batch.spool.encode()
    lines = []
    for sequence, line in zip(batch.sequences[start:stop], batch.lines[start:stop], strict=True):
        if not line.startswith(b"{") or line.startswith(ID_FRONT):
            lines.append(line)
            continue
        rest = line[1:]
        comma = b"" if rest.lstrip()[:1] == b"}" else b","
        lines.append(b'{"event_id":"%b-%d"%b%b' % (spool, sequence, comma, rest))
    return lines


def make_body(batch: Batch, form: Literal["ndjson", "array"], *, ids: bool) -> bytes:
    """Return the body: the lines as they are, in a frame."""
    lines = batch.lines
    if form == "array":
        pieces = _identified(batch, b",", b"") if ids else [b"," + line for line in lines]
        if pieces:
            pieces[0] = pieces[0][1:]
        return b"".join((b"[", *pieces, b"]"))
    return b"".join(_identified(batch, b"", b"\n") if ids else ended(lines, 0, len(lines)))


def _identified(batch: Batch, between: bytes, end: bytes) -> list[bytes]:
    """Return pieces that joined are the lines with `event_id`, `between` before and `end` behind each."""
    spool, sequences, lines = batch.spool.encode(), batch.sequences, batch.lines
    pieces: list[bytes] = []
    at = 0
    while at < len(lines):
        first = sequences[at]
        stop = min(len(lines), at + MANY, at + 10 ** len(str(first)) - first)  # as many digits
        one = useful(batch.beside, first)
        if one is not None:
            stop = min(stop, at + one.first + one.size - first)
        made = None
        if isinstance(sequences, range) and stop - at >= WORTH:
            some = ended(lines, at, stop) if end else lines[at:stop]
            made = numbered(first, some, spool, one, between)
        if made is None:
            made = [b"%b%b%b" % (between, line, end) for line in framed_lines(batch, at, stop)]
        pieces += made
        at = stop
    return pieces
