"""The bytes of one file → blocks of events, each with the bytes of the file that it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core.encodings import splitter_for
from ..core.ended import are_braced
from ..core.lines import LineSplitter, sizes
from .blocks import LineBlocks
from .parsers.joiners import joiner_of, timeout_of

if TYPE_CHECKING:
    from ...handlers.record import EventBuilder
    from ..core.block import Block
    from ..core.multiline import Joiner
    from .file_config import FileConfig

__all__ = ["Feed"]


class Feed:
    """Splits, joins and parses what one file holds. `encoding` is as `begins_with` names it.

    After `patience` seconds without more, lines that wait are a record.
    """

    __slots__ = ("_blocks", "_config", "_encoding", "_splitter", "joiner", "patience")

    def __init__(
        self, config: FileConfig, builder: EventBuilder, extra: Mapping[str, str], encoding: str
    ) -> None:
        self._config = config
        self._encoding = encoding
        self._blocks = LineBlocks(builder, config.parser, extra)
        self._splitter = splitter_for(encoding, config.max_line_bytes)
        self.joiner = self._fresh_joiner()
        self.patience = timeout_of(config.multiline)

    def _fresh_joiner(self) -> Joiner | None:
        config = self._config
        return joiner_of(config.parser, config.multiline, config.max_line_bytes)

    @property
    def joining(self) -> bool:
        """Whether lines wait for those that may belong to them."""
        return self.joiner is not None and self.joiner.pending > 0

    @property
    def pending(self) -> bool:
        """Whether anything that was fed has not been given out."""
        return self._splitter.pending > 0 or self.joining

    def first_line(self, head: bytes) -> bytes | None:
        """Return the first line of a file that begins with `head`; None: its end is not there yet."""
        lines = splitter_for(self._encoding, self._config.max_line_bytes).feed(head)
        return lines[0] if lines else None

    def goes_on_in(self, line: bytes) -> bool:
        """Whether `line`, the first of the next file, belongs to the record that this one ends with."""
        return self.joiner is not None and not self._splitter.pending and self.joiner.continues(line)

    def hand_over(self, heir: Feed) -> int:
        """Have the next file's feed go on with the record that waits here; return the bytes it has so far."""
        if self.joiner is None:
            return 0
        heir.joiner, self.joiner = self.joiner, self._fresh_joiner()
        return heir.joiner.pending

    def feed(self, chunk: bytes) -> Iterator[tuple[Block, int]]:
        """Take what comes next in the file; yield what that completes."""
        if isinstance(self._splitter, LineSplitter):
            whole = self._splitter.complete(chunk)
            if whole is not None:
                return self._whole(whole)
        return self._take(self._splitter.feed(chunk))

    def _whole(self, text: bytes) -> Iterator[tuple[Block, int]]:
        for part, lines in self._blocks.parts(text):
            braced = are_braced(lines) if self.joiner is None else self.joiner.passes(lines)
            if self.joiner is not None and not braced:
                yield from self._blocks_of(self.joiner.feed_all(lines[:]))
                continue
            at = 0
            for block, count in self._blocks.blocks(lines, single=True, joined=part, braced=braced):
                yield block, len(part) if count == len(lines) else sizes(lines[at : at + count])
                at += count

    def joined(self) -> Iterator[tuple[Block, int]]:
        """Yield the lines that were waited with."""
        if self.joiner is None:
            return iter(())
        return self._blocks_of(self.joiner.flush())

    def rest(self) -> Iterator[tuple[Block, int]]:
        """Yield all that there is, the last line although it has no end."""
        missing = self._splitter.newline if self._splitter.pending else 0
        lines = self._splitter.flush()
        found = [*self._take(lines), *self.joined()]
        for at, (block, taken) in enumerate(found):
            yield block, taken - (missing if at == len(found) - 1 else 0)

    def _take(self, lines: Sequence[bytes]) -> Iterator[tuple[Block, int]]:
        if self.joiner is not None and not self.joiner.passes(lines):
            return self._blocks_of(self.joiner.feed_all(lines))
        single = self._encoding == "utf-8"  # what is recoded may get a line break
        return self._made(lines, lambda start, stop: sizes(lines[start:stop]), single=single)

    def _blocks_of(self, groups: Sequence[tuple[bytes, int]]) -> Iterator[tuple[Block, int]]:
        lengths = [length for _, length in groups]
        return self._made([record for record, _ in groups], lambda start, stop: sum(lengths[start:stop]))

    def _made(
        self, records: Sequence[bytes], took: Callable[[int, int], int], *, single: bool = False
    ) -> Iterator[tuple[Block, int]]:
        at = 0
        for block, count in self._blocks.blocks(records, single=single):
            yield block, took(at, at + count)
            at += count
