r"""Lines of a file handled many at once, in native code: split, decode, check, redact, frame.

What a line costs by itself is nearly all calls, one for each step and each field. Here a step is one call for
some hundred lines. Rules:

- The line way (`foreign.event_of`) defines what a line becomes. The block way gives the same event, or leaves
  the line to the line way; a property test feeds both.
- JSON lines go through the shape of their file (`json_shape.py`), learned from its first lines, and learned
  anew, ever more rarely, when lines come that it refuses. Text lines go through `text_shape.py`.
- Lines of other formats (`parsers/`) are made JSON lines first, in the words of events; then they go on as
  such.
- The line way takes: lines that were cut or are very long, joined records, JSON with very deep values or with
  names that collide with the schema's, tracebacks, text where JSON is demanded, and whatever redaction must
  look at properly. So does it take everything while something is bound to the thread, or where the redactor
  is of somebody else's making.
- What has transforms, or an observer, goes the line way; transforms that only leave lines out do so before.
  What they leave out is counted in its block.
- A defect of the block way costs no line: what raises there is said, and its lines go the line way.
- Order is kept. A block holds the events of at most `_AT_ONCE` lines and, unless it is a single one, no more
  than `_MAX_BYTES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from ...handlers.outlet import Violation
from ...handlers.typed import Prover, prover
from ..builder import SourceBuilder, count_unparsed
from ..core.block import Block
from ..core.ended import Ended, may_exceed
from ..core.lines import CutLine
from ..core.parse import Parser
from ..diagnostics import say
from .foreign import event_of, is_left_out
from .json_shape import JsonShape, Learned
from .parsers import ParserSetting, Reader, parser_config
from .parsers.containers import metadata_of
from .text_shape import TextShape

if TYPE_CHECKING:
    from ...handlers.record import EventBuilder

__all__ = ["LineBlocks"]

_LONG: Final = 64 * 1024  # in longer lines what is bounded per event has to be looked at
_AT_ONCE: Final = 1000  # lines: enough that a call for all of them costs little for each
_BYTES_AT_ONCE: Final = 320 * 1024  # what a file's chunk completes, in one block
_MAX_BYTES: Final = 384 * 1024  # a frame: its cost vanishes, and the smallest spool has room for two
_BESIDE: Final = 80 * 1024  # what columns may take beyond it: without them each sink decodes the lines
_FIRST: Final = 32  # lines to learn from
_AGAIN: Final = 16  # refused lines after which it learns anew, and then twice as many
_RARELY: Final = 256  # learning costs what some fifty lines cost that go the line way
_SPACE: Final = frozenset((b"\r", b"\n", b" ", b"\t", b""))  # a line's end that `parse` takes off, or none
_MANY: Final = 16  # lines of a block
_ROUNDS: Final = 3  # what was refused is tried again with what was learned from it
_NUMBER: Final = re.compile(r" at `\$\[(\d{1,9})\][^`]*`\Z")  # behind what may be a line's own words
_REFUSED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class LineBlocks:
    """What is known of one file's lines. `extra` are texts that every event gets."""

    strict: ClassVar[bool] = False  # whether a defect of the block way is to be seen, as tests want it
    builder: EventBuilder
    parser: ParserSetting = "auto"
    extra: Mapping[str, str] = field(default_factory=dict)
    guess: bool = True  # whether auto decides by the first lines; where senders mix, each line is by itself
    base: Parser = field(init=False)  # what is done with lines that no parser has taken
    _reader: Reader | None = None  # what understands other formats; None: there are none
    _learned: Learned = field(default_factory=Learned)
    _seen: Learned = field(default_factory=Learned)  # since then
    _took: int = 0  # lines that were of the shape, since then
    _due: int = _FIRST  # lines to see until a shape is made
    _next: int = _AGAIN
    _json: JsonShape | None = None
    _text: TextShape | None = None
    _prover: Prover | None = None
    _grows: float = 1.0  # events have so many times the bytes of their lines, as far as that has mattered
    _sieve: SourceBuilder | None = None  # whose transforms only leave lines out
    _single: bool = False  # whether none of the lines at hand holds a line break,
    _braced: bool = False  # and each begins with a brace and ends with one
    _size: int = 256  # bytes of a line, as far as they are known
    _able: bool = field(init=False)

    def __post_init__(self) -> None:
        config = parser_config(self.parser)
        self.base = "text" if config.format == "text" else "json" if config.format == "json" else "auto"
        if config.format not in {"text", "json"} and (self.guess or config.format != "auto"):
            self._reader = Reader(config)
        if config.format in {"auto", "docker", "cri"}:
            self.extra = {**metadata_of(self.extra.get("log_file", "")), **self.extra}
        builder = self.builder
        redactor = builder.redactor
        self._prover = None if redactor is None else prover(redactor)
        self._able = redactor is None or self._prover is not None
        if isinstance(builder, SourceBuilder) and (builder.transforms or builder.observer is not None):
            if builder.transforms.sifts and builder.observer is None:
                self._sieve = builder
            else:
                self._able = False
        if self._able and self.base != "json":
            try:
                self._text = TextShape(self.builder, self._prover, self.extra)
            except ValueError:
                self._able = False  # what stands in every event must be looked at in every event

    def parts(self, text: bytes) -> Iterator[tuple[bytes, Ended]]:
        """Yield parts of `text` that are as large as `blocks` takes at once, and their lines.

        Each line has a break behind it, the last one, too.
        """
        file, at, end = BytesIO(text), 0, len(text)
        while at < end:
            left = end - at
            room = int(min(_BYTES_AT_ONCE, _MAX_BYTES / self._grows, _AT_ONCE * self._size))
            count = -(-left // max(1, room - self._size))
            lines = file.readlines(-(-left // count))  # all parts of one size, up to a line's end
            if len(lines) > _AT_ONCE:
                del lines[_AT_ONCE:]
                file.seek(at + sum(map(len, lines)))
            stop = file.tell()
            self._size = (stop - at) // len(lines)
            yield text[at:stop], Ended(lines)  # all of it is no copy
            at = stop

    def blocks(
        self, lines: Sequence[bytes], *, single: bool = False, joined: bytes = b"", braced: bool = False
    ) -> Iterator[tuple[Block, int]]:
        """Yield blocks of events, each with the number of lines it was made of.

        `single`: none of them holds a line break. `joined` is all of them, each with a break behind it, if
        that is at hand; `braced`: each of these begins with a brace and ends with one.
        """
        self._single = single
        given, at = lines, 0
        if self._reader is not None:
            lines, joined, braced = self._understood(self._reader, lines[:]), b"", False
        self._braced = braced
        while at < len(lines):
            part, text = _some(lines, at, at + _AT_ONCE), joined
            room = min(_BYTES_AT_ONCE, _MAX_BYTES / self._grows)
            if not (text and len(part) == len(lines) and len(text) <= room):
                text = b""
                while len(part) > 1 and (size := sum(map(len, part))) > room:
                    part = part[: max(1, int(len(part) * room / size * 0.98))]
            block = self._block(part, _some(given, at, at + len(part)), text)
            while block.size > _MAX_BYTES and len(part) > 1:  # all of it made in vain
                self._grows = 1.1 * block.size / max(1, sum(map(len, part)))
                part = part[: len(part) // 2]
                block = self._block(part, given[at : at + len(part)])
            at += len(part)
            yield block, len(part)

    def _understood(self, reader: Reader, lines: Sequence[bytes]) -> Sequence[bytes]:
        """Return lines of other formats as JSON in the words of events, and the rest as they are."""
        made: list[bytes] = []
        if reader.is_deciding():
            for line in lines:
                made.append(reader.first(line) or line)
                if not reader.is_deciding():
                    self._say_what(reader)
                    break
            lines = lines[len(made) :]
        if not reader.name:
            if not reader.is_deciding():
                self._reader = None
            return [*made, *lines] if made else lines
        missed = reader.unparsed
        made += reader.lines(lines)
        if reader.unparsed > missed:
            count_unparsed(self.builder, reader.unparsed - missed)
            where = self.extra.get("log_file", "a source")
            say(
                "WARNING",
                f"{where}: {reader.unparsed} lines so far are not of {reader.name}'s formats: kept as text",
                f"unparsed {where}",
            )
        return made

    def _say_what(self, reader: Reader) -> None:
        what = f"taken as {reader.name}'s" if reader.name else "taken as JSON or text"
        say("INFO", f"{self.extra.get('log_file', 'a source')}: the lines are {what}")

    @property
    def unparsed(self) -> int:
        """How many lines were not of the format that was configured or found; they are kept as text."""
        return 0 if self._reader is None else self._reader.unparsed

    def _block(self, lines: Sequence[bytes], given: Sequence[bytes], joined: bytes = b"") -> Block:
        """Return the events of some lines; `given` is how these came, `joined` what they are together."""
        left_out = 0
        if self._sieve is not None:
            kept = [
                place
                for place, line in enumerate(lines)
                if not is_left_out(self._sieve, line, self.base, self.extra)
            ]
            left_out = len(lines) - len(kept)
            if not kept:
                return Block(b"", 0, left_out)
            if left_out:
                lines, given, joined = [lines[place] for place in kept], [given[place] for place in kept], b""
        block = self._events(lines, given, joined)
        block.left_out += left_out
        return block

    def _events(self, lines: Sequence[bytes], given: Sequence[bytes], joined: bytes) -> Block:
        parts = _Parts(lines, joined, single=self._single, braced=self._braced)
        if self._able and self.builder.bare:
            try:
                self._take(parts)
            except Exception as error:
                if self.strict:
                    raise
                self._say_defect(error, len(lines))
                self._json = None
                parts = _Parts(lines, joined, single=self._single, braced=self._braced)
        return parts.result(lambda place, line: self._line_way(line, given[place]))

    def _take(self, parts: _Parts) -> None:
        parts.usual()
        if self.base != "text":
            self._take_json(parts)
        if self._text is not None and parts.places:
            self._take_text(parts, self._text)

    def _say_defect(self, error: Exception, lines: int) -> None:
        where = self.extra.get("log_file", "a source")
        # Without its words: they may quote a line.
        what = f"{where}: {type(error).__name__} in the handling of {lines} lines at once: they go one by one"
        say("ERROR", f"{what}. Nothing is lost; please report it", f"defect {where}")

    def _line_way(self, line: bytes, given: bytes) -> bytes | None:
        builder = self.builder
        event = event_of(builder, line, self.base, self.extra)
        if isinstance(builder, SourceBuilder) and builder.observer is not None:
            builder.observer(given, event or None, builder.left_out if event == b"" else "")
        return event

    # ── JSON ──

    def _take_json(self, parts: _Parts) -> None:
        if self._json is None and b"{" in parts.block:
            self._see(parts.lines)
        for _ in range(_ROUNDS):
            if self._json is None or b"{" not in parts.block:
                return
            rows, places, refused = self._rows(parts, self._json)
            self._took += len(rows)
            some = len(rows) < len(parts.lines)
            if some:
                parts.choose(places)
            if rows:
                parts.done(*self._json.take(rows))
            if not some:
                return
            parts.others()
            if not self._see(refused):
                return

    @staticmethod
    def _rows(parts: _Parts, shape: JsonShape) -> tuple[list[Any], Sequence[int], list[bytes]]:
        """Return the lines that are of the shape, decoded, with their places, and those that are not.

        A line is refused by its number: then all others are decoded at once. Where that goes on and on, or
        one is blank, or goes on in the next, each is decoded by itself.
        """
        lines, block = parts.lines, parts.block
        rows: list[Any] = []
        places: list[int] = []
        refused: list[bytes] = []
        start = 0
        while len(refused) < _MANY:
            try:
                found = shape.decoder.decode_lines(block)
            except msgspec.ValidationError as error:
                number = _NUMBER.search(str(error))
                if number is None:
                    break
                stop = start + int(number[1])
                before = lines[start:stop]
                try:
                    found = shape.decoder.decode_lines(b"\n".join(before)) if before else []
                except _REFUSED:
                    break
            except _REFUSED:
                break
            else:
                stop = len(lines)
            if len(found) != stop - start or not (parts.braced or shape.is_one_each(lines[start:stop])):
                break
            rows += found
            places += range(start, stop)
            if stop == len(lines):
                return rows, places, refused
            refused.append(lines[stop])
            start = stop + 1
            block = b"\n".join(lines[start:])
            if not block:
                break
        return _rows_singly(lines, shape)

    def _see(self, lines: Sequence[bytes]) -> bool:
        """Learn from lines that no shape takes; True: there is another one now."""
        for line in lines:
            if line.lstrip()[:1] == b"{":
                self._seen.see(line)
                self._due -= 1
                if self._due <= 0:
                    break
        if self._due > 0:
            return False
        seen, took = self._seen, self._took
        self._seen, self._took = Learned(), 0
        self._due = self._next
        self._next = min(2 * self._next, _RARELY)
        if took >= seen.lines:
            self._learned.merge(seen)
            if self._make(self._learned):
                return True
        self._learned = seen  # the file has changed its ways
        return self._make(seen)

    def _make(self, learned: Learned) -> bool:
        try:
            self._json = JsonShape(self.builder, self._prover, learned, self.extra)
        except ValueError:  # none that fits: as before
            return False
        return True

    # ── text ──

    def _take_text(self, parts: _Parts, shape: TextShape) -> None:
        if not _SPACE.isdisjoint(map(itemgetter(slice(-1, None)), parts.lines)):
            parts.strip()
            if not parts.lines:
                return
        parts.done(*shape.take(parts.lines, parts.block.removesuffix(b"\n")))


def _rows_singly(lines: Sequence[bytes], shape: JsonShape) -> tuple[list[Any], Sequence[int], list[bytes]]:
    decode = shape.decoder.decode
    rows, places, refused = [], [], []
    for place, line in enumerate(lines):
        if line.lstrip()[:1] != b"{":
            continue
        try:
            row = decode(line)
        except _REFUSED:
            refused.append(line)
        else:
            rows.append(row)
            places.append(place)
    return rows, places, refused


def _some(lines: Sequence[bytes], start: int, stop: int) -> Sequence[bytes]:
    """Return some of the lines; all of them as they are."""
    return lines if start == 0 and stop >= len(lines) else lines[start:stop]


class _Parts:
    """Lines on their way: those at hand (`lines`, `block`, their `places`), and the events made so far.

    `block` is the lines, joined; there may be a line break behind the last one.
    """

    __slots__ = (
        *("_all", "_blank", "_columns", "_events", "_joined", "_single", "_whole"),
        *("block", "braced", "lines", "places"),
    )

    def __init__(self, lines: Sequence[bytes], joined: bytes, *, single: bool, braced: bool) -> None:
        self.braced = braced
        self._all = lines
        self._joined = joined  # empty: not known
        self._single = single
        self._events: dict[int, bytes] = {}
        self._blank: set[int] = set()
        self._whole: bytes | None = None  # the events of all lines, when one call gave them,
        self._columns = b""  # and what it told of them
        self.lines: Sequence[bytes] = ()
        self.block = b""
        self.places: Sequence[int] = ()

    def usual(self) -> None:
        """Take all lines at hand but those that must go the line way."""
        lines = self._all
        block = self._joined or b"\n".join(lines)
        self.lines, self.block, self.places = lines, block, range(len(lines))
        if self._joined and not may_exceed(_LONG, block):
            return
        if (
            max(map(len, lines)) > _LONG
            or CutLine in set(map(type, lines))
            or not (self._single or block.count(b"\n") == len(lines) - 1)
        ):
            self.choose(
                [
                    place
                    for place, line in enumerate(lines)
                    if type(line) is not CutLine and len(line) <= _LONG and b"\n" not in line
                ]
            )

    def choose(self, places: Sequence[int]) -> None:
        """Have only some of the lines at hand."""
        lines = self.lines[:]
        self.lines = [lines[place] for place in places]
        self.places = [self.places[place] for place in places]
        self.block = b"\n".join(self.lines)

    def strip(self) -> None:
        """Take the white space off the ends of the lines at hand, and leave blank ones out."""
        stripped = [line.rstrip(b"\r\n \t") for line in self.lines]
        self._blank.update(place for place, line in zip(self.places, stripped, strict=True) if not line)
        self.places = [place for place, line in zip(self.places, stripped, strict=True) if line]
        self.lines = [line for line in stripped if line]
        self.block = b"\n".join(self.lines)

    def done(self, block: bytes, left: Sequence[int], columns: bytes = b"") -> None:
        """Note the events of the lines at hand; those at `left` (of them) have none, and stay."""
        if not left and len(self.lines) == len(self._all):
            self._whole = block
            self._columns = columns if len(block) + len(columns) <= _MAX_BYTES + _BESIDE else b""
            self.lines, self.places, self.block = (), (), b""
            return
        stay = set(left)
        taken = [place for at, place in enumerate(self.places) if at not in stay]
        self._events.update(zip(taken, block[:-1].split(b"\n") if taken else (), strict=True))
        self.choose(left)

    def others(self) -> None:
        """Have all lines at hand that have no event yet (and are of the usual kind)."""
        self.usual()
        self.choose([at for at, place in enumerate(self.places) if place not in self._events])

    def result(self, line_way: Callable[[int, bytes], bytes | None]) -> Block:
        """Return the events of all lines; those that have none yet are asked for."""
        if self._whole is not None:
            return Block(self._whole, len(self._all), columns=self._columns, ended=True)
        made = []
        for place, line in enumerate(self._all):
            event = self._events.get(place)
            if event is None and place not in self._blank:
                event = line_way(place, line)
            if event is not None:
                made.append(event)
        left_out = made.count(b"")
        if left_out:
            made = [event for event in made if event]
        violations = {}
        if Violation in set(map(type, made)):
            violations = {at: event.reason for at, event in enumerate(made) if isinstance(event, Violation)}
        return Block(b"\n".join(made), len(made), left_out, violations)
