"""Frames: how event lines stand in a segment's bytes. Pure: bytes in, frames out.

A frame is a header of 24 bytes (little endian) and a payload:

    offset  size  field
    0       1     marker 0x1E, which JSON text cannot contain raw
    1       1     kind
    2       2     length of the prefix within the payload
    4       4     length of the payload, prefix included
    8       8     sequence of the first event in the frame
    16      4     count of events in the frame
    20      4     check sum

Rules
- The check sum is the payload's CRC-32, started from a number made of all other header fields and the
  segment's *salt* (spool id and segment number). For equal payloads two different starts give two different
  CRCs, and no single changed bit leaves the start as it was (it is taken modulo a prime), so header and
  payload are covered by one call, and a frame copied in from another segment is not valid.
- What a process leaves behind when it is killed within an append fails the check sum, whichever of its bytes
  were stored by then.
- After a bad frame nothing in it is believed, its length least of all: the next marker whose frame checks
  out is where reading goes on.
- `LINES` payloads are the prefix (source name, NUL, position) and lines joined by line breaks. `SIFTED` ones
  too, but more events may be counted than there are lines: those that transforms left out have the last
  sequences of the frame; and a line may be marked as one that broke the schema (`mark`). `EVENT` is one line;
  `VIOLATION` is the reason (the prefix) and the line. `COLUMNED` is `LINES` with what the lines say by field
  (`columns.py`) between prefix and lines, behind its length in four bytes. The others carry no event, and
  their sequence is the one that the next event will have.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple, TypeAlias

from .crc import crc32

__all__ = [
    "COLUMNED",
    "EVENT",
    "EVENT_WORD",
    "HEADER",
    "HEADER_SIZE",
    "KINDS",
    "LINES",
    "MANY",
    "MARKER",
    "POSITIONS",
    "SEAL",
    "SHORT_HEADER",
    "SHUTDOWN",
    "SIFTED",
    "VIOLATION",
    "Buffer",
    "Frame",
    "beside",
    "checksum",
    "columned",
    "encode",
    "header",
    "mark",
    "parse",
    "resync",
    "salt_of",
    "split_prefix",
    "unmark",
]

Buffer: TypeAlias = "bytes | memoryview"
"""What is only read."""

MARKER = 0x1E
HEADER = Struct("<BBHIQII")
HEADER_SIZE = HEADER.size
# The same 24 bytes with marker, kind and prefix as one number, for the hot paths of one event per frame.
SHORT_HEADER = Struct("<IIQII")
EVENT_WORD = 0x011E
EVENT, VIOLATION, LINES, POSITIONS, SEAL, SHUTDOWN, SIFTED, COLUMNED = 1, 2, 3, 4, 5, 6, 7, 8
MANY = frozenset((LINES, SIFTED, COLUMNED))
"""Kinds of frames whose prefix is a source's position, and which hold any number of lines."""
KINDS = MANY | {EVENT, VIOLATION, POSITIONS, SEAL, SHUTDOWN}

# The largest prime below 2**32, and odd factors that keep the header's fields apart.
PRIME = 0xFFFFFFFB
LENGTH_FACTOR = 0x10001
KIND_FACTOR = 0x1000193
PREFIX_FACTOR = 0x85EBCA6B
COUNT_FACTOR = 0xC2B2AE35
_REASON = 4096  # bytes of a reason


class Frame(NamedTuple):
    """A frame that checked out; `start` and `stop` are offsets in the block it was found in."""

    kind: int
    prefix: int
    sequence: int
    events: int
    start: int
    stop: int


def salt_of(spool: bytes, segment: int) -> int:
    """Return the salt of segment `segment` of the spool with the 16-byte id `spool`."""
    return crc32(segment.to_bytes(8, "little"), crc32(spool))


def checksum(salt: int, kind: int, prefix: int, payload: Buffer, sequence: int, count: int) -> int:
    """Return a frame's check sum. The writer's and the reader's hot paths hold the same formula inline."""
    return crc32(payload, _start(salt, kind, prefix, len(payload), sequence, count))


def _start(salt: int, kind: int, prefix: int, length: int, sequence: int, count: int) -> int:
    """Return the number that a payload's check sum begins with."""
    return (
        salt
        + sequence
        + length * LENGTH_FACTOR
        + kind * KIND_FACTOR
        + prefix * PREFIX_FACTOR
        + count * COUNT_FACTOR
    ) % PRIME


def header(
    salt: int, kind: int, prefix: bytes, rest: Buffer, sequence: int, count: int, told: bytes = b""
) -> bytes:
    """Return the header of a frame of `prefix`, `told` and `rest`; these are not joined for it."""
    length = len(prefix) + len(told) + len(rest)
    check = crc32(told, crc32(prefix, _start(salt, kind, len(prefix), length, sequence, count)))
    return HEADER.pack(MARKER, kind, len(prefix), length, sequence, count, crc32(rest, check))


def encode(salt: int, kind: int, prefix: int, payload: bytes, sequence: int, count: int) -> bytes:
    """Return a whole frame."""
    check = checksum(salt, kind, prefix, payload, sequence, count)
    return HEADER.pack(MARKER, kind, prefix, len(payload), sequence, count, check) + payload


def columned(columns: bytes) -> bytes:
    """Return what stands between prefix and lines of a `COLUMNED` frame."""
    return len(columns).to_bytes(4, "little") + columns


def beside(block: bytes, frame: Frame) -> tuple[bytes, int]:
    """Return the columns of a frame of lines (none: empty), and the offset at which its lines begin."""
    start = frame.start + frame.prefix
    if frame.kind != COLUMNED:
        return b"", start
    begin = start + 4
    stop = begin + int.from_bytes(block[start:begin], "little")
    return block[begin:stop], stop


def mark(line: bytes, reason: str) -> bytes:
    """Return a line that broke the schema as it stands in a `SIFTED` frame: NUL, reason, NUL, line."""
    clean = reason.translate({0: " ", 0x0A: " ", MARKER: " "})
    return b"\0%b\0%b" % (clean.encode("utf-8", "replace")[:_REASON], line)


def unmark(line: bytes) -> tuple[bytes, str | None]:
    """Return a line of a `SIFTED` frame, and why it broke the schema (None: it did not)."""
    if line[:1] != b"\0":
        return line, None
    reason, _, rest = line[1:].partition(b"\0")
    return rest, reason.decode("utf-8", "replace")


def parse(block: bytes, at: int, salt: int) -> Frame | None:
    """Return the frame at offset `at` of `block`; None when there is none, or not a whole and sound one."""
    if at < 0 or at + HEADER_SIZE > len(block):
        return None
    marker, kind, prefix, length, sequence, count, check = HEADER.unpack_from(block, at)
    start = at + HEADER_SIZE
    if marker != MARKER or kind not in KINDS or start + length > len(block) or prefix > length:
        return None
    with memoryview(block) as view:  # a frame of many lines is large: no copy only to sum it up
        sound = checksum(salt, kind, prefix, view[start : start + length], sequence, count) == check
    if not sound:
        return None
    return Frame(kind, prefix, sequence, count, start, start + length)


def resync(block: bytes, at: int, salt: int) -> int:
    """Return the offset of the first sound frame at or after `at`; -1 when there is none."""
    while (at := block.find(b"\x1e", at)) >= 0:
        if parse(block, at, salt) is not None:
            return at
        at += 1
    return -1


def split_prefix(payload: bytes, prefix: int) -> tuple[str, bytes]:
    """Return source name and position from the prefix of a frame of lines."""
    name, _, position = payload[:prefix].partition(b"\0")
    return name.decode("utf-8", "replace"), position
