"""Levels as programs name them → the five of the schema."""

from __future__ import annotations

from typing import Final

from ...core.parse import HEAD_BYTES, LEVEL_NAMES, WORD

__all__ = ["LETTERS", "SYSLOG", "level_in", "level_named"]

_MORE: Final = {
    **LEVEL_NAMES,
    "LOG": "INFO",
    "STATEMENT": "INFO",
    "VERBOSE": "DEBUG",
    "FINE": "DEBUG",
    "FINER": "DEBUG",
    "FINEST": "DEBUG",
    "CONFIG": "DEBUG",
    "SEVERE": "ERROR",
    "SYSTEM": "INFO",
    "NOTE": "INFO",
    "OFF": "INFO",
    "EMERGENCY": "CRITICAL",
    "SUCCESS": "INFO",
    "EXCEPTION": "ERROR",
    **{f"TRACE{number}": "DEBUG" for number in range(1, 9)},
    **{f"DEBUG{number}": "DEBUG" for number in range(1, 6)},
}
LETTERS: Final = {
    "T": "DEBUG",
    "V": "DEBUG",
    "D": "DEBUG",
    "I": "INFO",
    "N": "INFO",
    "W": "WARNING",
    "E": "ERROR",
    "F": "CRITICAL",
    "C": "CRITICAL",
}
SYSLOG: Final = ("CRITICAL", "CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO", "INFO", "DEBUG")
"""By severity, from emergency to debug."""


def level_named(word: str) -> str | None:
    """Return the level that a word names, None when it names none."""
    return _MORE.get(word) or _MORE.get(word.upper())


def level_in(text: str, default: str = "INFO") -> str:
    """Return the level that stands in the beginning of a text."""
    word = WORD.search(text, 0, HEAD_BYTES)
    return default if word is None else LEVEL_NAMES[word[0]]
