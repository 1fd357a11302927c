"""Expressions that users write: RE2's, in linear time whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Pattern", "pattern_of"]

_HINT: Final = 'needs RE2: pip install "logferry[re2]"'


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled expression; `groups` gives its named groups for a match at the beginning of a text."""

    search: Callable[[bytes], object | None]
    match: Callable[[bytes], Any]
    names: tuple[str, ...]


def pattern_of(text: str, where: str) -> Pattern:
    """Compile a user's expression over UTF-8. `ValueError` says what is wrong with it."""
    try:
        import re2
    except ImportError:
        raise ValueError(f"{where} {_HINT}") from None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        compiled = re2.compile(text, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        reason = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        raise ValueError(
            f"{where}: RE2 cannot use {text!r}: {reason} (no look-around, no back-references)"
        ) from None
    names = tuple(sorted(compiled.groupindex, key=compiled.groupindex.__getitem__))
    return Pattern(compiled.search, compiled.match, names)
