"""Which Parquet files to merge: few large files read faster than many small ones. Decides only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from .layout import ParquetFile

__all__ = ["mergeable"]

_CLASSES: Final = (2 << 20, 16 << 20, 128 << 20)  # Parquet files of one size class are merged together
_COMPANY: Final = 8  # this many of them; of a date that is over, two


def mergeable(files: Sequence[ParquetFile], today: str) -> list[ParquetFile]:
    """Return the next group of files to merge: of one date and size class, or of a date that is over.

    A group stays below twice the largest class, so no file grows without bound.
    """
    by_date: dict[str, list[ParquetFile]] = {}
    for file in files:
        if file.bytes < _CLASSES[-1] // 2:
            by_date.setdefault(file.path.split("/")[0], []).append(file)
    for date, found in sorted(by_date.items()):
        found.sort(key=lambda file: file.oldest)
        over = date < today
        for group in [found] if over else _by_class(found):
            chosen = list(_within(group, _CLASSES[-1]))
            if len(chosen) >= (2 if over else _COMPANY):
                return chosen
    return []


def _by_class(files: Sequence[ParquetFile]) -> list[list[ParquetFile]]:
    return [
        [file for file in files if low <= file.bytes < high]
        for low, high in zip((0, *_CLASSES), _CLASSES, strict=False)
    ]


def _within(files: Sequence[ParquetFile], bound: int) -> Iterator[ParquetFile]:
    total = 0
    for file in files:
        total += file.bytes
        if total > bound:
            return
        yield file
