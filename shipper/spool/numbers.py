"""Which writer's number a new spool gets: the last two digits of its id (`model.writer_of`).

Rules
- It is the lowest that no other spool of the service has in this place, dead ones that wait included: what
  a store has under that number is written by one process at a time.
- Nothing is locked. Whoever finds, when its directory is made, that another has the same number takes another
  one; two who find each other do so both, and choose by lot.
- With more than 256 spools in one place numbers are shared.
"""

from __future__ import annotations

from pathlib import Path
from random import SystemRandom

from ..model import writer_of
from .directory import spool_directories

__all__ = ["shares_number", "with_free_number"]

_ALL = frozenset(range(256))
_chance = SystemRandom()


def with_free_number(spool: str, place: Path, lot: int) -> str:
    """Return the id `spool` with a free number of `place`, one of the `lot` lowest by chance."""
    others = spool_directories(place)
    if not others:
        return f"{spool[:-2]}00"
    free = sorted(_ALL.difference([writer_of(other.name) for other in others]))[:lot]
    return f"{spool[:-2]}{_chance.choice(free):02x}" if free else spool


def shares_number(spool: str, place: Path) -> bool:
    """Say whether another spool in `place` has the number of `spool`, although there are free ones."""
    others = [other.name for other in spool_directories(place) if other.name != spool]
    return len(others) < len(_ALL) and writer_of(spool) in [writer_of(other) for other in others]
