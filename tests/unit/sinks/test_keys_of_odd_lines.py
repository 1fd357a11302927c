"""Lines that no application of ours would log do not shift what is read of their neighbours."""

from __future__ import annotations

import pytest

from logferry.shipper.core.heads import Heads
from logferry.shipper.sinks.kafka.keys import keys
from logferry.shipper.sinks.loki.heads import Heads as LokiHeads

DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
GOOD = [b'{"trace_id":"1","service":"a"}', b'{"trace_id":"2","service":"b"}']


@pytest.mark.parametrize("odd", [b"", b" ", b"{}\n{}", b"nonsense", b"[]", b"\xff", DEEP])
def test_an_odd_line_costs_only_itself(odd: bytes) -> None:
    """Empty, broken in two, too deep, or no object: the others keep their own values."""
    lines = [GOOD[0], odd, GOOD[1]]
    assert keys(lines, "trace_id")[::2] == ["1", "2"]
    assert keys(lines, "service")[::2] == ["a", "b"]
    for heads in (Heads(["service"]), LokiHeads(["service"], [])):
        read = heads.read(lines)
        assert len(read) == 3
        assert [heads.values(head) for head in read[::2] if head is not None] == [("a",), ("b",)]
