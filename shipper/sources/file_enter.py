"""What a path that was found is: a file that goes on, a new one, a copy of a known one, or nothing to read.

Rules:
- A file goes on where it was left when its inode and its content are those of a position.
- A copy is told by name and content (`core/tail.py`). While its original is there with the same content, it
  waits: a copy that is being made is no new file. When the original is truncated or gone, it goes on where
  that was left.
- Compressed files come after all others: what is being compressed right now is read uncompressed.
- What is empty, or so short that it may be anything, waits until there is more.
- What is binary, or a link to nothing, is passed over, and said once.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..core.encodings import begins_with
from ..core.tail import FINGERPRINT_BYTES, Position, fits, is_log_text, is_unclear, originals, packed_as
from ..diagnostics import say
from .file_feed import Feed
from .file_packed import DamagedError, PackedTail, Unpacker, missing
from .file_tail import Tail

if TYPE_CHECKING:
    from ..ports import SourceContext
    from .file_config import FileConfig
    from .file_find import Patterns
    from .file_places import Places

__all__ = ["Entrance", "Packed"]

_PROOF: Final = 256  # bytes at the end of a copy that must be its original's
_Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Packed:
    """A compressed file: to be entered when all others have been."""

    path: str
    written: float


@dataclass(slots=True)
class Entrance:
    """Opens what is found. `tails` are the files that are followed, `fail` is told what cannot be read.

    `waiting` is for whoever asks to look at, and to empty.
    """

    config: FileConfig
    context: SourceContext
    places: Places
    patterns: Patterns
    tails: Mapping[_Key, Tail]
    paths: Mapping[str, Tail]
    fail: Callable[[str, OSError], None]
    waiting: dict[str, int] = field(default_factory=dict)  # paths, with the size that was seen
    _passed: set[tuple[str, int]] = field(default_factory=set)
    _dangling: set[str] = field(default_factory=set)
    _copies: dict[_Key, str] = field(default_factory=dict)  # that wait: of which life they are
    _settled: dict[_Key, tuple[int, int]] = field(default_factory=dict)  # compressed: size and time

    def facts(self, path: str) -> os.stat_result | None:
        """Return what the system says of a path; None when nothing is to be read there."""
        try:
            facts = os.stat(path)  # noqa: PTH116 - for every file at every look
        except OSError as error:
            self._failed(path, error)
            return None
        return facts if stat.S_ISREG(facts.st_mode) else None

    def enter(self, path: str, facts: os.stat_result, *, at_end: bool = False) -> Tail | Packed | None:
        """Open a file at the place where it was left; None: it waits, is passed over or cannot be read."""
        key = facts.st_dev, facts.st_ino
        if key in self.tails or (path, facts.st_ino) in self._passed:
            return None
        if self._settled.get(key) == (facts.st_size, facts.st_mtime_ns):
            return None
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self._failed(path, error)
            return None
        try:
            entered = self._entered(path, file, at_end=at_end)
        except OSError as error:
            self.fail(path, error)
            entered = None
        if not isinstance(entered, Tail):
            os.close(file)
        return entered

    def _entered(self, path: str, file: int, *, at_end: bool) -> Tail | Packed | None:
        facts = os.fstat(file)
        head = os.pread(file, FINGERPRINT_BYTES, 0)
        if is_unclear(head):
            self.waiting[path] = facts.st_size
            return None
        kind = packed_as(head)
        if kind and not missing(kind):
            return Packed(path, facts.st_mtime)
        if not is_log_text(head) and self.config.encoding != "utf-16":
            self._passed.add((path, facts.st_ino))
            why = f"compressed ({missing(kind)})" if kind else "compressed or binary"
            say("WARNING", f"{path} is {why}: passed over")
            return None
        return self._plain(path, file, facts, head, at_end=at_end)

    def _plain(
        self, path: str, file: int, facts: os.stat_result, head: bytes, *, at_end: bool
    ) -> Tail | None:
        key = facts.st_dev, facts.st_ino

        def read(at: int, length: int) -> bytes:
            return os.pread(file, length, at)

        known = self.places.of_file(*key, facts.st_size, read)
        if known is not None:
            part, position = known
            tail = self._tail(path, facts, part)
            tail.open(file, position.offset)
            return tail
        origin = self._origin(path, file, key, facts.st_size, head)
        if origin is not None and not origin[1]:
            self._copies[key] = origin[0]
            self.waiting[path] = facts.st_size
            return None
        self._copies.pop(key, None)
        tail = self._tail(path, facts, self.places.fresh(*key))
        skip = origin is None and facts.st_size > 0 and (at_end or self._old(facts))
        tail.open(file, facts.st_size if skip else (0 if origin is None else origin[1]))
        if origin is not None:
            tail.copy_of = origin[0]
        if origin is not None or skip:  # else a restart before its first line would begin at its start
            self.places.store(tail.part, tail.position())
        return tail

    def _origin(self, path: str, file: int, key: _Key, size: int, head: bytes) -> tuple[str, int] | None:
        """Return the life that a file is a copy of, and where that was left; 0: it is there still."""
        best: tuple[str, int] | None = None
        for name in originals(path):  # so short as yet that its beginning says nothing
            if name in self.paths and self.paths[name].begins_with(head):
                return self.paths[name].part, 0
        for part, position in list(self.places.copied(path, head, packed=False)):
            if position.packed or ((position.device, position.inode) == key and not position.over):
                continue
            agrees = self._is_there(part, position, file, size)
            if agrees:
                return part, 0
            if agrees is not None:  # it began like one that is there, and is another one
                continue
            held = self._copies.get(key) == part and size < position.offset
            if not held and not fits(position, size, lambda at, length: os.pread(file, length, at)):
                continue
            offset = min(position.offset, size)
            if best is None or offset > best[1]:
                best = part, offset
        return best

    def _is_there(self, part: str, position: Position, copy: int | None, size: int) -> bool | None:
        """Whether what a copy holds by now is the same as in its original; None: that is there no more."""
        if position.over:
            return None
        tail = self.tails.get((position.device, position.inode))
        if tail is not None and tail.part != part:
            tail = None
        try:
            if tail is not None and tail.file is not None:
                there = os.fstat(tail.file).st_size
                return _agree(tail.file, there, copy, size) if there >= tail.at and tail.same() else None
            path = position.path if tail is None else tail.path
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                facts = os.fstat(file)
                same = (facts.st_dev, facts.st_ino) == (position.device, position.inode)
                if same and fits(position, facts.st_size, lambda at, length: os.pread(file, length, at)):
                    return _agree(file, facts.st_size, copy, size)
                return None
            finally:
                os.close(file)
        except OSError:
            return None

    # ── compressed ──

    def enter_packed(self, found: Packed, *, at_end: bool = False) -> PackedTail | None:
        """Open a compressed file; None: it was read, waits for its original, or cannot be read."""
        path = found.path
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self._failed(path, error)
            return None
        entered = None
        try:
            entered = self._unpacking(path, file, at_end=at_end)
        except OSError as error:
            self.fail(path, error)
        except DamagedError as error:
            say("WARNING", f"{path} does not decompress ({error}): passed over")
            self._passed.add((path, os.fstat(file).st_ino))
        if entered is None:
            os.close(file)
        return entered

    def _unpacking(self, path: str, file: int, *, at_end: bool) -> PackedTail | None:
        facts = os.fstat(file)
        key = facts.st_dev, facts.st_ino
        kind = packed_as(os.pread(file, FINGERPRINT_BYTES, 0))
        if not kind:
            return None
        content = Unpacker(file, kind)
        head = b""
        while len(head) < FINGERPRINT_BYTES and (more := content.read(FINGERPRINT_BYTES - len(head))):
            head += more
        known = self.places.packed_before(*key)
        if any(position.packed == facts.st_size for _, position in known):
            self.settle(key, facts)
            return None
        origins = [position for _, position in known]
        for part, position in list(self.places.copied(path, head, packed=True)):
            if (position.device, position.inode) == key:
                continue
            if self._is_there(part, position, None, 0):
                if self._being_packed(part, position, path):
                    return None
                continue
            origins.append(position)
        part = known[0][0] if known else self.places.fresh(*key)
        tail = PackedTail(
            path, facts, file, kind, self.places, part, head, origins, self._fresh(path), self._mark
        )
        if not origins and (at_end or self._old(facts)):
            tail.pass_over()
            self.settle(key, facts)
            return None
        return tail

    def _being_packed(self, part: str, position: Position, path: str) -> bool:
        """Whether an original that is there seems to be what a compressed file is made of right now."""
        tail = self.tails.get((position.device, position.inode))
        name = position.path
        if tail is not None and tail.part == part:
            tail.length()
            if tail.left:
                return True
            name = tail.path
        return path.startswith(f"{name}.")

    def settle(self, key: _Key, facts: os.stat_result) -> None:
        """Do not look at a compressed file again while it is as it is."""
        self._settled[key] = facts.st_size, facts.st_mtime_ns

    # ── what all have ──

    def forget(self, here: set[_Key]) -> None:
        """Drop what is known of files that are gone."""
        self._copies = {key: part for key, part in self._copies.items() if key in here}
        self._settled = {key: facts for key, facts in self._settled.items() if key in here}

    def _tail(self, path: str, facts: os.stat_result, part: str) -> Tail:
        return Tail(path, facts, self.places, part, self._fresh(path), self._mark)

    def _fresh(self, path: str) -> Callable[[bytes], Feed]:
        extra = {"log_file": path.encode("utf-8", "backslashreplace").decode()}
        config, builder = self.config, self.context.builder
        return lambda head: Feed(config, builder, extra, begins_with(head, config.encoding)[0])

    def _mark(self, head: bytes) -> int:
        return begins_with(head, self.config.encoding)[1]

    def _old(self, facts: os.stat_result) -> bool:
        limit = self.config.ignore_older
        return limit is not None and time.time() - facts.st_mtime > limit

    def _failed(self, path: str, error: OSError) -> None:
        """Say what cannot be read, unless a pattern found what is gone, or a link to nothing."""
        if not isinstance(error, FileNotFoundError) or self.patterns.names(path):
            self.fail(path, error)
        elif path not in self._dangling and Path(path).is_symlink():
            self._dangling.add(path)
            say("WARNING", f"{path} is a link to nothing: passed over")


def _agree(file: int, there: int, copy: int | None, size: int) -> bool:
    """Whether a copy of so many bytes has the same at its end as the file has there; None: not compared."""
    if copy is None:
        return True
    end = min(size, there)
    start = max(0, end - _PROOF)
    return os.pread(file, end - start, start) == os.pread(copy, end - start, start)
