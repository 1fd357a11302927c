"""The id that an event of another logferry brings with it: it is the same event here, and stores know it.

A sender that has not heard our answer sends again. Where its events have ids, a store that knows ids keeps
each of them once. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ...core.block import Block
from ...model import ID_FRONT, carried_id, carry, uncarried
from ..blocks import LineBlocks

__all__ = ["blocks_with_ids", "known_id", "with_id"]

_ID: Final = re.compile(r"[0-9a-f]{32}-[1-9][0-9]{0,18}", re.ASCII)


def known_id(value: Any) -> str:
    """Return an event's id; empty: it is none."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def with_id(line: bytes, own: str) -> bytes:
    """Return an event line that carries the id `own`, if there is one."""
    return ID_FRONT + own.encode() + b'",' + line[1:] if own else line


def blocks_with_ids(lines: Sequence[bytes], blocks: LineBlocks) -> Iterator[Sequence[bytes]]:
    """Yield the events of lines, in which ids may stand in front, block by block."""
    if not carry(lines):
        for block, _ in blocks.blocks(lines):
            yield block
        return
    lines = [line for line in lines if line.strip()]
    ids = [known_id(carried_id(line)) for line in lines]
    bare = [uncarried(line, own) if own else line for line, own in zip(lines, ids, strict=True)]
    at = 0
    for block, taken in blocks.blocks(bare):
        if len(block) == taken:
            some = ids[at : at + taken]
            yield [with_id(event, own) for event, own in zip(block, some, strict=True)]
        else:  # a line that became nothing: whose id is whose cannot be told
            yield Block(block.payload, len(block))
        at += taken
