"""Loki's JSON push, for gateways that do not take protobuf. Slower: every line becomes a JSON string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from ...core.gzipped import gzipped
from .routing import Push

__all__ = ["json_push"]


def json_push(push: Push, lines: Sequence[bytes], pairs: Callable[[int], dict[str, str]]) -> bytes:
    """Return `push` as gzipped JSON; `pairs(index)` gives an event's structured metadata."""
    values: list[Any] = [
        [f"{second}{nanos:09}", lines[index].decode("utf-8", "replace"), pairs(index)]
        for index, second, nanos in push.rows
    ]
    body = orjson.dumps({"streams": [{"stream": push.labels, "values": values}]})
    return gzipped(body)
