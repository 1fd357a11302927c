"""The id that an event of another logferry brings with it: it is the same event here, and stores know it.

A sender that has not heard our answer sends again. Where its events have ids, a store that knows ids keeps
each of them once. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ....handlers.outlet import Violation
from ...core.block import Block
from ...model import ID_FRONT, carried_id, carry, uncarried
from ..blocks import LineBlocks
from ..foreign import event_of

__all__ = ["blocks_with_ids", "identified", "known_id", "with_id"]

_ID: Final = re.compile(r"[0-9a-f]{32}-[1-9][0-9]{0,18}", re.ASCII)


def known_id(value: Any) -> str:
    """Return an event's id; empty: it is none."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def with_id(line: bytes, own: str) -> bytes:
    """Return an event line that carries the id `own`, if there is one."""
    if not own or not line:
        return line
    made = b'%b%b",%b' % (ID_FRONT, own.encode(), line[1:])
    return Violation(made, line.reason) if isinstance(line, Violation) else made


def identified(block: Block, ids: Sequence[str]) -> Block:
    """Return a block whose events carry their ids, those that have one."""
    lines = [with_id(event, own) for event, own in zip(block, ids, strict=True)]
    return Block(b"\n".join(lines), len(lines), block.left_out, block.violations)


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
        some = ids[at : at + taken]
        if len(block) == taken:
            yield identified(block, some) if any(some) else block
        else:  # some were left out: whose id is whose must be known
            kept = bare[at : at + taken]
            events = (event_of(blocks.builder, line, blocks.base, blocks.extra) or b"" for line in kept)
            yield [with_id(event, own) for event, own in zip(events, some, strict=True)]
        at += taken
