"""Protobuf's integers, for the sinks that frame their messages by hand."""

from __future__ import annotations

__all__ = ["read_varint", "varint"]


def varint(number: int) -> bytes:
    """Return `number` (0 or more) in base 128, the lowest seven bits first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at `at` and where it ends; ValueError when there is none."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
    raise ValueError("not a number of protobuf")
