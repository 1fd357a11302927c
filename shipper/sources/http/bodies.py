"""Packed bodies, unpacked within bounds: what unpacks to more than may be is refused before it is made."""

from __future__ import annotations

import zlib
from typing import Final

from ...core.varint import read_varint

__all__ = ["BodyError", "unpack", "unpack_snappy"]

_ANY: Final = 47  # zlib's and gzip's form, as the body says
_MEMBERS: Final = 1_000  # of a gzip file


class BodyError(Exception):
    """A body that cannot be taken; `status` is the answer."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """Return the body as it was before `encoding` (a Content-Encoding header). `BodyError`: it cannot be."""
    for name in reversed([part.strip().lower() for part in encoding.split(",")][:4]):
        if name in {"gzip", "x-gzip", "deflate"}:
            body = _inflate(body, limit)
        elif name == "snappy":
            body = unpack_snappy(body, limit)
        elif name not in {"", "identity"}:
            raise BodyError(415, f"Content-Encoding {name[:40]!r} is not understood; send gzip or none")
    return body


def _inflate(body: bytes, limit: int) -> bytes:
    out = bytearray()
    rest = body
    for _ in range(_MEMBERS):
        stream = zlib.decompressobj(_ANY)
        try:
            out += stream.decompress(rest, limit + 1 - len(out))
        except zlib.error as error:
            raise BodyError(400, f"not gzip: {error}") from None
        if len(out) > limit:
            raise _too_large(limit)
        if not stream.eof:
            raise BodyError(400, "gzip without its end")
        rest = stream.unused_data.lstrip(b"\0")
        if not rest:
            break
    return bytes(out)


def unpack_snappy(body: bytes, limit: int) -> bytes:
    """Return what is packed in one block of snappy's raw form."""
    import cramjam

    try:
        size, _ = read_varint(body, 0)
    except ValueError as error:
        raise BodyError(400, "not snappy") from error
    if size > limit:
        raise _too_large(limit)
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise BodyError(400, f"not snappy: {error}") from None


def _too_large(limit: int) -> BodyError:
    return BodyError(413, f"a request may have at most {limit} bytes when it is unpacked")
