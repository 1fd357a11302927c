"""What a source raises when it cannot go on."""

from __future__ import annotations

__all__ = ["SourceError"]


class SourceError(Exception):
    """A source could not read all that it was asked to; the text says what, and what to do."""
