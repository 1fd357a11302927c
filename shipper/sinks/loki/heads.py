"""What the sink reads of an event line: its time, its labels' and its metadata's fields. All else is skipped.

The decoder is a struct made for the configuration: `t` is the timestamp, `l0, l1, ...` the labels in order,
`m0, m1, ...` the metadata in order. Values are whatever JSON they were; None when absent. A line that is not
one JSON object has no head, and costs only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

__all__ = ["Head", "Heads"]

Head: TypeAlias = Any
"""A struct with the attributes `t`, `l0`..., `m0`...; its type is made at run time."""


class Heads:
    """Reads the heads of many lines at once, for these label and metadata fields."""

    __slots__ = ("_decoder", "labels", "values")

    def __init__(self, labels: Sequence[str], metadata: Sequence[str]) -> None:
        names = {"t": "timestamp"}
        names |= {f"l{i}": name for i, name in enumerate(labels)}
        names |= {f"m{i}": name for i, name in enumerate(metadata)}
        # gc=False: heads hold no cycles, and tracking thousands of them would make the collector run.
        struct = msgspec.defstruct(
            "Head", [(attribute, Any, None) for attribute in names], rename=names, gc=False
        )
        self._decoder = msgspec.json.Decoder(struct)
        self.labels = labels
        self.values: Callable[[Head], tuple[Any, ...]] = _tuple_of([f"l{i}" for i in range(len(labels))])

    def read(self, lines: Sequence[bytes]) -> Sequence[Head | None]:
        """Return one head for each line, None where a line is not a JSON object."""
        try:
            heads = self._decoder.decode_lines(b"\n".join(lines))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            heads = []
        # A different count means that a line held a line break, or nothing: then only one by one is right.
        return heads if len(heads) == len(lines) else [self._one(line) for line in lines]

    def _one(self, line: bytes) -> Head | None:
        try:
            return self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


def _tuple_of(attributes: list[str]) -> Callable[[Head], tuple[Any, ...]]:
    """Return a function from a head to the tuple of `attributes`, also for none and for one."""
    if not attributes:
        return lambda _head: ()
    get = attrgetter(*attributes)
    return get if len(attributes) > 1 else lambda head: (get(head),)
