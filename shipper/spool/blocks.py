"""A segment's bytes in blocks of bounded size, however large the segment is. Read-only.

A segment read as a whole (8 MiB) is freed soon, and yet it stays: what is free between smaller pieces an
allocator keeps. Processes that adopted spools grew by 40 MiB, all of it free, while what they held was flat.
"""

from __future__ import annotations

from ..core.framing import HEADER, HEADER_SIZE, KINDS, MARKER, parse
from .segment import Readable

__all__ = ["BLOCK", "end_of_content", "full", "load", "search"]

BLOCK = 128 * 1024
_PEEK = 4096


def load(segment: Readable, at: int, *, more: bool = False, usual: int = 0) -> bytes:
    """Read a block from offset `at` that holds the whole of its first frame, if the segment does.

    `more`: there is probably a whole block, or as much as is `usual` there. Else a page is looked at first:
    mostly nothing is there yet. Each read gives the interpreter away, and a thread that computes gives it
    back after milliseconds.
    """
    block = segment.read(at, max(BLOCK, usual) if more else _PEEK)
    if not block or block[0] != MARKER or len(block) < HEADER_SIZE:
        return block
    needed = _extent(block, 0)
    if more and needed <= len(block):
        return block
    whole = needed <= BLOCK or at + needed <= segment.size()
    return segment.read(at, max(BLOCK, needed) if whole else BLOCK)


def full(block: bytes, taken: int) -> bool:
    """Say whether a block of which so many bytes were taken ends within a frame, or just behind one."""
    return len(block) >= BLOCK and block[taken : taken + 1] != b"\0"


def search(segment: Readable, at: int, salt: int) -> int:
    """Return the offset of the first sound frame at or after `at`; -1 when there is none."""
    while len(block := segment.read(at, BLOCK)) >= HEADER_SIZE:
        found = -1
        while (found := block.find(b"\x1e", found + 1)) >= 0:
            if found + HEADER_SIZE > len(block):
                break
            needed = _extent(block, found)
            if not needed:
                continue
            if found + needed <= len(block):
                sound = parse(block, found, salt)
            else:
                sound = parse(load(segment, at + found), 0, salt)
            if sound is not None:
                return at + found
        at += len(block) - HEADER_SIZE + 1  # a header may lie across the end
    return -1


def end_of_content(segment: Readable, at: int, stop: int) -> int:
    """Return the offset behind the last byte from `at` to before `stop` that is no zero; `at`: all are."""
    end = at
    for start in range(at, stop, BLOCK):
        content = segment.read(start, min(BLOCK, stop - start)).rstrip(b"\0")
        if content:
            end = start + len(content)
    return end


def _extent(block: bytes, at: int) -> int:
    """Return how many bytes the frame at `at` says that it takes; 0 when it says what no frame does."""
    _, kind, prefix, length, _, _, _ = HEADER.unpack_from(block, at)
    return HEADER_SIZE + length if kind in KINDS and prefix <= length else 0
