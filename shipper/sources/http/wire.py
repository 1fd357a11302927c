"""Protobuf as it is read: fields by number, whatever they mean. Pure; ValueError for what is none."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from ...core.varint import read_varint

__all__ = ["fields", "number", "signed", "text"]

_EIGHT: Final = Struct("<Q").unpack_from
_FOUR: Final = Struct("<I").unpack_from


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number of each field and its value: an unsigned integer, or bytes."""
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag < 0x80:
            at += 1
        else:
            tag, at = read_varint(data, at)
        kind = tag & 7
        if tag < 8:
            raise ValueError("a field of protobuf without a number")
        value: int | bytes
        if kind == 2:
            size, at = read_varint(data, at)
            if size > end - at:
                raise ValueError("a field of protobuf that goes beyond its message")
            value = data[at : at + size]
            at += size
        elif kind == 0:
            value, at = read_varint(data, at)
        elif kind in {1, 5} and at + (8 if kind == 1 else 4) <= end:
            value = (_EIGHT if kind == 1 else _FOUR)(data, at)[0]
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("not protobuf")
        yield tag >> 3, value


def text(value: Any) -> str:
    """Return a field's text."""
    if not isinstance(value, bytes):
        raise ValueError("a number where protobuf has text")  # noqa: TRY004 - one error for all that is wrong
    return value.decode("utf-8", "replace")


def number(value: Any) -> int:
    """Return a field's number."""
    if not isinstance(value, int):
        raise ValueError("text where protobuf has a number")  # noqa: TRY004 - as above
    return value


def signed(value: Any) -> int:
    """Return a field's number that may be negative."""
    found = number(value) & 0xFFFF_FFFF_FFFF_FFFF
    return found - (1 << 64) if found >> 63 else found
