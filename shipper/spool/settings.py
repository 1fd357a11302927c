"""What a user may set about a spool. A value, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

__all__ = ["Delivery", "SpoolSettings"]

Delivery: TypeAlias = Literal["thread", "process", "agent", "courier"]


@dataclass(frozen=True, slots=True)
class SpoolSettings:
    """Where the spool lies and what bounds it. Bytes and seconds.

    `path` None keeps everything in memory, at most `memory_bytes`, which also bounds what is held in memory
    while the disk cannot be written. `max_bytes` bounds the whole path, all processes together. `sync` is
    the longest time between two syncs, or `always` (within each append) or `never`. `group` is the name of
    the group that may read. `delivery` says who reads what is written here: `thread` the owner itself,
    `process` and `agent` another process while the owner lives. `courier` is that other process's own spool:
    it reads it itself, and its death is not the application's.
    """

    path: Path | None
    service: str
    max_bytes: int = 1 << 30
    max_age: float | None = None
    when_full: Literal["drop_oldest", "drop_newest", "block"] = "drop_oldest"
    block_timeout: float = 1.0
    sync: float | Literal["always", "never"] = 1.0
    group: str | None = None
    memory_bytes: int = 16 << 20
    delivery: Delivery = "thread"
