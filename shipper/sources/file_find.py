"""Which files the patterns name, and in which directories more of them may appear."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["Patterns"]


class Patterns:
    """Globs of paths, and patterns of paths or names to leave out."""

    def __init__(self, include: Sequence[Path], exclude: Sequence[str]) -> None:
        self._include = [str(path) for path in include]
        self._exclude = tuple(exclude)
        self._named = frozenset(name for name in self._include if not glob.has_magic(name))

    def names(self, path: str) -> bool:
        """Whether a file is named itself, not found by a pattern: then it has to be there."""
        return path in self._named

    def paths(self) -> Iterator[str]:
        """Yield what is there now, each path once."""
        seen = set()
        for text in self._include:
            # Path.glob takes relative patterns only; these are absolute.
            found = glob.iglob(text, recursive=True) if glob.has_magic(text) else [text]  # noqa: PTH207 - as said
            for path in found:
                if path not in seen and not self._excluded(path):
                    seen.add(path)
                    yield path

    def directories(self) -> set[str]:
        """Return the directories to watch: what appears in one may be a file to read, or lead to one."""
        found = set()
        for text in self._include:
            place = os.path.dirname(text)  # noqa: PTH120 - patterns are texts
            while glob.has_magic(place):
                # With its separator at the end a pattern finds directories only.
                found |= {name.rstrip("/") or "/" for name in glob.iglob(f"{place}/", recursive=True)}  # noqa: PTH207
                place = os.path.dirname(place)  # noqa: PTH120
            there = Path(place)
            while not there.is_dir() and there != there.parent:
                there = there.parent
            found.add(str(there))
        return found

    def problems(self) -> Iterator[str]:
        """Yield what keeps from reading: directories and files that may not be read."""
        directories = (place for place in self._places() if place not in self._named)
        for place in (*directories, *self.paths()):
            try:
                os.close(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
            except FileNotFoundError:
                pass  # it may come; or a link to nothing
            except OSError as error:
                yield f"cannot read {place}: {error.strerror}"

    def absent(self) -> Iterator[str]:
        """Yield the files without a pattern, and the patterns' directories, that are not there."""
        return (place for place in self._places() if not os.path.lexists(place))

    def _places(self) -> Iterator[str]:
        for text in self._include:
            place = text
            while glob.has_magic(place):
                place = os.path.dirname(place)  # noqa: PTH120 - patterns are texts
            yield place

    def _excluded(self, path: str) -> bool:
        base = os.path.basename(path)  # noqa: PTH119 - for every file at every look
        return any(fnmatch(path, pattern) or fnmatch(base, pattern) for pattern in self._exclude)
