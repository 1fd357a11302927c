"""What may go: by age, and by how much there is. Decides only; deleting is the compactor's.

A Parquet file expires by age when its newest event *and* its arrival are older than `age`: shipping last
year's files today keeps them for `age` from now. By bytes: oldest events first, until everything fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .layout import FreshFile, ParquetFile

__all__ = ["Limits", "expired_fresh", "expired_parquet"]


@dataclass(frozen=True, slots=True)
class Limits:
    """`age` in seconds, `bytes` for the whole store; None: no limit."""

    age: float | None = None
    bytes: int | None = None


def expired_parquet(
    files: Sequence[ParquetFile], fresh_bytes: int, limits: Limits, now: float
) -> list[ParquetFile]:
    """Return the Parquet files that go, at Unix time `now`, when fresh files take `fresh_bytes` besides."""
    gone: list[ParquetFile] = []
    if limits.age is not None:
        moment = datetime.fromtimestamp(now, UTC) - timedelta(seconds=min(limits.age, 50 * 365 * 86_400))
        oldest = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        gone = [file for file in files if file.newest < oldest and file.stored < now - limits.age]
    if limits.bytes is not None:
        left = sorted((file for file in files if file not in gone), key=lambda file: file.newest)
        total = fresh_bytes + sum(file.bytes for file in left)
        for file in left:
            if total <= limits.bytes:
                break
            gone.append(file)
            total -= file.bytes
    return gone


def expired_fresh(
    files: Sequence[tuple[FreshFile, int, float]], limits: Limits, now: float
) -> list[FreshFile]:
    """Return the sealed fresh files that go, for a store that is not compacted.

    `files`: each with its bytes and the Unix time of its last write; the oldest written go first.
    """
    gone: list[FreshFile] = []
    total = sum(size for _, size, _ in files)
    for file, size, written in sorted(files, key=lambda entry: entry[2]):
        old = limits.age is not None and written < now - limits.age
        much = limits.bytes is not None and total > limits.bytes
        if file.last is not None and (old or much):
            gone.append(file)
            total -= size
    return gone
