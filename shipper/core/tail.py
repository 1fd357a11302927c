"""Which file is this, and from where on is it new? Pure decisions about files that are written and rotated.

Rules:
- A file is known by device, inode and a fingerprint: a hash of its first bytes. The inode alone is not
  enough, for it is used again; the fingerprint alone is not, for files may begin alike.
- Renamed: the same inode with the same beginning goes on at its offset, under whatever name.
- Truncated (shorter than the offset), or another beginning: a new file, read from its start. What a
  truncation removed before it was read is lost at the file, not here.
- When in doubt a file is read again: a repeated line can be seen, a lost one cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["FINGERPRINT_BYTES", "Position", "decode", "encode", "fingerprint", "is_log_text", "resume_at"]

FINGERPRINT_BYTES: Final = 256
_VERSION: Final = 1
_BINARY: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"PK\x03\x04", b"PAR1")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file has been read: `offset` bytes of the file that `device`, `inode` and beginning name.

    `length` is how many bytes the fingerprint covers: a short file has a short one, which grows with it.
    """

    path: str
    device: int
    inode: int
    fingerprint: str
    length: int
    offset: int


def fingerprint(head: bytes) -> str:
    """Return the hash of a file's first bytes (at most `FINGERPRINT_BYTES` of them count)."""
    return blake2b(head[:FINGERPRINT_BYTES], digest_size=12).hexdigest()


def is_log_text(head: bytes) -> bool:
    """Whether a file that begins with `head` is text, not something compressed or binary."""
    return b"\0" not in head and not head.startswith(_BINARY)


def resume_at(
    known: Iterable[Position], device: int, inode: int, size: int, read_head: Callable[[int], bytes]
) -> int:
    """Return the offset to go on from in the file that is (`device`, `inode`) and `size` bytes long.

    `read_head(n)` returns its first n bytes. A device number may change with a mount, so the inode and the
    beginning decide, and the device only between several that fit.
    """
    best: Position | None = None
    for position in known:
        if position.inode != inode or position.offset > size or position.length > size:
            continue
        if fingerprint(read_head(position.length)) != position.fingerprint:
            continue
        if best is None or position.device == device:
            best = position
    return 0 if best is None else best.offset


def encode(source: str, positions: Iterable[Position]) -> bytes:
    """Return the positions of all files of `source` as the bytes that are stored with an append."""
    rows = [[p.path, p.device, p.inode, p.fingerprint, p.length, p.offset] for p in positions]
    return orjson.dumps({"v": _VERSION, "source": source, "files": rows})


def decode(stored: bytes) -> list[Position]:
    """Return the stored positions; none when there are none, or they cannot be read."""
    try:
        content = orjson.loads(stored) if stored else None
        rows = content["files"] if isinstance(content, dict) and content.get("v") == _VERSION else []
        return [Position(*row) for row in rows]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return []
