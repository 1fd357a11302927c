"""What makes the events of a source: a builder with nothing bound, and the source's transforms.

Everything foreign becomes an event through `sources/foreign.py`, which looks at both here: so a source of any
kind transforms without knowing of it. Redaction and schema come after, in the builder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..handlers.record import EventBuilder, Redaction
from .core.transforms import NOTHING, Transforms

if TYPE_CHECKING:
    from ..handlers.schema import Schema

__all__ = ["Observer", "SourceBuilder", "count_unparsed"]

Observer = Callable[[bytes, bytes | None, str], object]
"""Is told of a line or joined record, its event (None: none), and the transform that left it out."""


class SourceBuilder(EventBuilder):
    """An `EventBuilder` for what others have logged.

    `observer` is told what each line becomes, for people who try a configuration. `unparsed` counts the lines
    that were not of the format they should be of, and were kept as text.
    """

    __slots__ = ("left_out", "observer", "transforms", "unparsed")

    def __init__(
        self,
        schema: Schema,
        redactor: Redaction | None = None,
        *,
        transforms: Transforms = NOTHING,
        observer: Observer | None = None,
    ) -> None:
        # A reader of files has no request in hand: nothing bound in its thread belongs to a line.
        super().__init__(schema, redactor, context=_nothing_bound)
        self.transforms = transforms
        self.observer = observer
        self.left_out = ""  # by which transform the last event was, for the observer
        self.unparsed = 0


def count_unparsed(builder: EventBuilder, lines: int) -> None:
    """Count lines of a source that were not understood; one thread at a time, as a source has it."""
    if isinstance(builder, SourceBuilder):
        builder.unparsed += lines


def _nothing_bound() -> Mapping[str, object]:
    return {}
