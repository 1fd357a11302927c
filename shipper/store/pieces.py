"""Fresh lines that are asked for again, as Parquet: they are read once, and not for every panel.

A page asks a dozen questions about the same lines every few seconds, and a line costs ten times and more what
a row of Parquet costs. So what is asked for a second time is written, as it grows, to the reader's scratch
directory as Parquet; what has come since is read as lines.

Rules:

- A piece holds the whole lines of one file between two offsets. Fresh files are appended to (rule 1 of
  `layout.py`), but for an end that a crash or a full disk left half written, which is cut: where the bytes
  before the offset are not what they were, the file's pieces do not count any more.
- A piece is worth making of a mebibyte, and of an eighth of what there is already: so a file has some twenty.
- Whatever goes wrong with a piece (a full disk), lines are read as if there were none.
- Pieces of a file that is gone are deleted; who was about to read one looks again (`query.py`).
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from .layout import FreshFile

__all__ = ["LEAST", "Pieces"]

LEAST: Final = 1 << 20
_SHARE: Final = 8
_CHUNK: Final = 1 << 20
_REMEMBERED: Final = 1_024


@dataclass(slots=True)
class _Kept:
    """What there is of one file. `offset`: up to where its pieces go; `asked`: its size at the last look."""

    inode: tuple[int, int]
    offset: int = 0
    asked: int = 0
    end: bytes = b""
    pieces: list[Path] = field(default_factory=list)


class Pieces:
    """The pieces of one reader. Used by several threads.

    `write(lines, target)` makes a piece of a file of lines; it raises what `failures` names, or OSError.
    """

    def __init__(self, scratch: Path, failures: tuple[type[Exception], ...], *, least: int = LEAST) -> None:
        self._scratch, self._least = scratch, least
        self._failures: tuple[type[Exception], ...] = (OSError, *failures)
        self._kept: dict[tuple[str, int], _Kept] = {}
        self._columns: dict[str, str] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._works = True

    @contextlib.contextmanager
    def look(
        self, files: Sequence[Path], columns: Mapping[str, str], write: Callable[[Path, Path], None]
    ) -> Iterator[tuple[tuple[Path, ...], tuple[Path, ...]]]:
        """Yield pieces and files of lines that together hold what is in `files`.

        Raises FileNotFoundError when one of them is gone.
        """
        copies: list[Path] = []
        try:
            with self._lock:
                found = self._look(files, columns, write, copies)
            yield found
        finally:
            for path in copies:
                path.unlink(missing_ok=True)

    def _look(
        self,
        files: Sequence[Path],
        columns: Mapping[str, str],
        write: Callable[[Path, Path], None],
        copies: list[Path],
    ) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        if self._columns != columns:
            self._drop(tuple(self._kept))
            self._columns = dict(columns)
        named = {(one.spool, one.first): path for path in files if (one := FreshFile.of(path)) is not None}
        self._drop(self._kept.keys() - named.keys())
        pieces: list[Path] = []
        lines: list[Path] = []
        for key, path in named.items():
            with path.open("rb") as file:
                kept, size = self._grown(key, file), os.fstat(file.fileno()).st_size
                new = min(kept.asked, size) - kept.offset
                if self._works and new >= max(self._least, kept.offset // _SHARE):
                    self._add(kept, file, size, write)
                kept.asked = size
                pieces += kept.pieces
                if not kept.offset:
                    lines.append(path)
                elif size > kept.offset:
                    copies.append(self._new(".ndjson"))
                    _copy(file, kept.offset, size, copies[-1])
                    lines.append(copies[-1])
        return tuple(pieces), tuple(lines)

    def _grown(self, key: tuple[str, int], file: IO[bytes]) -> _Kept:
        """Return what there is of a file, or a beginning where it is another one by now."""
        facts = os.fstat(file.fileno())
        inode = (facts.st_dev, facts.st_ino)
        kept = self._kept.get(key)
        if kept is not None and kept.inode == inode:
            at = kept.offset - len(kept.end)
            if os.pread(file.fileno(), len(kept.end), at) == kept.end:
                return kept
        self._drop((key,))
        made = self._kept[key] = _Kept(inode)
        return made

    def _add(self, kept: _Kept, file: IO[bytes], size: int, write: Callable[[Path, Path], None]) -> None:
        lines, piece = self._new(".ndjson"), self._new(".parquet")
        try:
            end = _copy(file, kept.offset, size, lines, whole=True)
            if end > kept.offset:
                write(lines, piece)
                kept.pieces.append(piece)
                kept.offset = end
                remembered = min(end, _REMEMBERED)
                kept.end = os.pread(file.fileno(), remembered, end - remembered)
        except self._failures:
            self._works = False
            piece.unlink(missing_ok=True)
        finally:
            lines.unlink(missing_ok=True)

    def _new(self, ending: str) -> Path:
        return self._scratch / f"{next(self._numbers)}{ending}"

    def _drop(self, keys: Collection[tuple[str, int]]) -> None:
        for key in keys:
            for piece in self._kept[key].pieces if key in self._kept else ():
                piece.unlink(missing_ok=True)
            self._kept.pop(key, None)


def _copy(file: IO[bytes], start: int, end: int, target: Path, *, whole: bool = False) -> int:
    """Copy a part of a file, with `whole` up to its last line's end; return up to where."""
    at = last = start
    with target.open("wb") as out:
        while at < end and (chunk := os.pread(file.fileno(), min(end - at, _CHUNK), at)):
            out.write(chunk)
            last = max(last, at + chunk.rfind(b"\n") + 1) if b"\n" in chunk else last
            at += len(chunk)
        if whole:
            out.truncate(last - start)
    return last if whole else at
