"""JSON with a check sum behind it: a changed digit is still JSON, and must not become a book or a reason.

The file is the document, a line break, and the document's CRC-32 in eight hex digits.
"""

from __future__ import annotations

from zlib import crc32

__all__ = ["pack", "unpack"]


def pack(document: bytes) -> bytes:
    """Return `document` (one line) with its check sum."""
    return b"%b\n%08x" % (document, crc32(document))


def unpack(data: bytes) -> bytes:
    """Return the document. Raises ValueError when it is not as it was written."""
    document, _, check = data.partition(b"\n")
    if check != b"%08x" % crc32(document):
        raise ValueError("the check sum does not match")
    return document
