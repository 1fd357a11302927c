"""What stands in a block's columns, against its lines decoded one by one."""

from __future__ import annotations

from typing import Any

import orjson

from logferry.shipper.core.block import Block
from logferry.shipper.core.columns import unpack

__all__ = ["check", "column"]


def check(block: Block) -> bool:
    """Fail when the columns say anything else than the lines; return whether there are any."""
    if not block.columns:
        return False
    columns = unpack(block.columns)
    assert columns is not None
    assert columns.count == len(block)
    events = [orjson.loads(line) for line in block]
    assert {name for event in events for name in event} <= set(columns.names)
    for name in (*columns.alike, *columns.even, *columns.few, *columns.each):
        held = [event.get(name) for event in events]
        told = column(columns, name)
        # 1 and True are equal, 0.0 and -0.0 too: as text they are not.
        assert list(map(repr, told)) == list(map(repr, held)), name
    return True


def column(columns: Any, name: str) -> list[Any]:
    """Return a field's values, line by line."""
    if name in columns.alike:
        return [columns.alike[name]] * columns.count
    if name in columns.even:
        text = columns.even[name].decode("ascii")
        size = len(text) // columns.count
        return [text[at : at + size] for at in range(0, len(text), size)]
    if name in columns.few:
        kept, codes = columns.few[name]
        return [kept[code] for code in codes]
    return list(columns.each[name])
