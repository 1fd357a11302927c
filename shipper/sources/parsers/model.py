"""What a parser is: one line (or joined record) in, what it says out, in the words of a JSON log line.

Rules:
- A parser is pure: bytes in, a new dictionary out, None when the line is not of its format. It keeps caches,
  never anything that a line said.
- The dictionary holds what the same line would hold if its program wrote JSON: `timestamp` (as events have
  it), `level`, `message`, `logger`, `trace_id`, ... and whatever else the line says, by plain names. What
  becomes of it is decided in one place (`core/parse.py`), for all parsers and for JSON lines alike.
- Nothing is lost: what a parser has no name for stays in the message.
- Expressions are linear: classes that exclude what follows them, no repetition of a repetition.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

__all__ = ["Fields", "LineParser"]

Fields: TypeAlias = dict[str, Any]


class LineParser(Protocol):
    """One format, or the formats of one program. `name` is what `parser:` says."""

    name: str

    def read(self, line: bytes) -> Fields | None:
        """Return what a line without its end says; None: it is not of this format."""
        ...
