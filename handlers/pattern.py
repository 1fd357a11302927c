"""An error's message with what varies masked, so that equal errors are counted together. Pure, stateless.

    could not reach 10.0.0.7:5432 for order 4711   →   could not reach <ip> for order <num>

Rules
- The same in every process: no state, no learning. What varies becomes `<str>` (quoted), `<url>`, `<id>`
  (UUIDs, long hexadecimal), `<ip>`, `<path>`, `<num>`.
- An exception's pattern begins with its type. The text is taken after redaction.
- At most 200 characters, of the first 500 of the first line: linear, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["FAILS", "error_pattern", "pattern"]

FAILS: Final = frozenset({"ERROR", "CRITICAL"})
"""Levels whose events have a pattern."""

_READ: Final = 500
_LENGTH: Final = 200
_ENDS: Final = frozenset(",.;:!?")
_VARYING: Final = re.compile(
    r"""
      (?P<str> "[^"]{0,200}" | (?<!\w)'[^']{0,200}'(?!\w) | `[^`]{0,200}` )
    | (?P<url> \b[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s"'<>]{1,300} )
    | (?P<id>  \b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b | \b0x[0-9a-fA-F]+\b
             | \b(?=[a-fA-F]{0,31}[0-9])(?=[0-9]{0,31}[a-fA-F])[0-9a-fA-F]{8,64}\b )
    | (?P<ip>  \b[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?\b )
    | (?P<path>(?<![\w<.])(?:[A-Za-z]:)?[\\/][\w.+@%~-]+(?:[\\/][\w.+@%~-]*){0,40} )
    | (?P<num> [0-9]+(?:[.,:][0-9]+)* )
    """,
    re.VERBOSE | re.ASCII,
)


def _name(match: re.Match[str]) -> str:
    return f"<{match.lastgroup}>"


def pattern(text: str) -> str:
    """Return `text` with what varies masked."""
    text = text[:_READ].partition("\n")[0]
    if "'" in text or '"' in text or "`" in text:
        return _VARYING.sub(_name, text).strip()[:_LENGTH]
    # Nothing but quotes spans words.
    if " " not in text:
        return _masked(text).strip()[:_LENGTH]
    return " ".join([word if word.isalpha() else _masked(word) for word in text.split(" ")]).strip()[:_LENGTH]


def _masked(word: str) -> str:
    """Return a word without quotes with what varies masked; most are letters only, or digits."""
    bare, end = (word[:-1], word[-1]) if word[-1:] in _ENDS else (word, "")
    if bare.isalpha():
        return word
    if bare.isdecimal() and bare.isascii():
        return f"<num>{end}"
    return _VARYING.sub(_name, word)


def error_pattern(message: str, error: Mapping[str, Any] | None) -> str:
    """Return the pattern of an event: of its exception where it has one, else of its message."""
    if error is None or type(kind := error.get("type")) is not str:
        return pattern(message)
    told = error.get("message")
    return f"{kind}: {pattern(told)}"[:_LENGTH] if type(told) is str and told else kind[:_LENGTH]
