"""Regular expressions in RE2's syntax that replace what they find; in linear time where RE2 is there."""

from __future__ import annotations

import re
from collections.abc import Callable

from .filter_nodes import compile_regex

__all__ = ["replacer"]


def replacer(pattern: str, put: str) -> Callable[[str], str]:
    """Return what puts `put` (without backslashes) where `pattern` is found; ValueError: it is none."""
    finds = compile_regex(pattern)
    if finds(""):
        raise ValueError("it finds empty text everywhere")
    try:
        import re2
    except ImportError:
        replace = re.compile(pattern, re.ASCII).sub
        return lambda text: replace(put, text)
    options = re2.Options()
    options.log_errors = False
    compiled = re2.compile(pattern, options)
    return lambda text: compiled.sub(put, text) if finds(text) else text
