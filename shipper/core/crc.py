"""CRC-32 as zlib computes it, with the processor's own instructions where `isal` is there (extra `fast`).

Each event is summed when it is appended and when it is read. For one of 430 bytes zlib takes 0.3 µs, isal
0.06; the sums are the same, so files go from one to the other.
"""

from __future__ import annotations

__all__ = ["crc32"]

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32
