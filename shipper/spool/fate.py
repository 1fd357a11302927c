"""What one spool tells of an event's fate: a sink's books there, and what was given up. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.segments import Evicted
from ..model import Account
from .books import read_books
from .directory import Home, file_name

__all__ = ["account_of", "evicted_of"]


def account_of(directory: Path, sink: str) -> Account | None:
    """Return a sink's books in the spool at `directory`; None when it has none there, or they are unsound."""
    try:
        home = Home.view(directory)
    except OSError:
        return None
    books = read_books(home, file_name(sink))
    home.close()
    return None if books is None else books.account(books.sequence - 1)


def evicted_of(directory: Path) -> Sequence[Evicted]:
    """Return the ranges of sequences that the spool gave up, with the reasons."""
    try:
        home = Home.view(directory)
    except OSError:
        return ()
    ranges = list(home.evicted())
    home.close()
    return ranges
