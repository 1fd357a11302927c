"""Pages of a map, touched before a log call needs them and given back when none will.

The first store into a page of a mapped file is a fault: it takes microseconds, or as long as the file
system's journal does. It comes again for each page that was written to the disk since, and it would come
inside a log call. So the upkeep has the kernel prepare the pages that will be needed next; nothing in them is
changed. The calls are made through ctypes, which lets the interpreter's other threads run meanwhile. Where
they cannot be made, pages come when they are stored into.
"""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from typing import Any, Final

__all__ = ["let_go", "touch"]

_POPULATE_WRITE = 23  # Linux 5.14
_DONTNEED = 4


def _madvise() -> Any | None:
    """Return the C library's call; None where there is none."""
    if sys.platform != "linux":
        return None
    try:
        # Now, and not at the first use: it allocates much, and the upkeep is not to run finalisers that log.
        import ctypes

        call = ctypes.CDLL(None).madvise
    except (ImportError, OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    call.restype = ctypes.c_int
    byte, address_of = ctypes.c_char, ctypes.addressof

    def madvise(pages: mmap.mmap, start: int, length: int, advice: int) -> None:
        held = byte.from_buffer(pages)  # the map stays where it is as long as this is held
        call(address_of(held) + start, length, advice)

    return madvise


_advise: Final = _madvise()


def touch(pages: mmap.mmap, start: int, end: int) -> None:
    """Make the pages that hold the bytes from `start` to `end` ready for stores."""
    start -= start % mmap.PAGESIZE
    end = min(end, len(pages))
    if _advise is not None and start < end:
        with suppress(ValueError):  # unmapped meanwhile
            _advise(pages, start, end - start, _POPULATE_WRITE)


def let_go(pages: mmap.mmap) -> None:
    """Give the pages' memory back to the system; what is in them stays in the file, and can still be used."""
    if _advise is not None:
        with suppress(ValueError):
            _advise(pages, 0, len(pages), _DONTNEED)
