"""What becomes of a message: an event line that carries its id. Pure but for the builder's clock.

- A message that logferry wrote (header `event_id`, a value in an event's form) is taken as it stands: it was
  checked and redacted where it was logged.
- Any other one is parsed like a line of a file, and goes through schema and redaction. Its time, when it says
  none, is the message's.
- Both carry an id: the header's, or one made of cluster, topic, partition, time and offset. Whichever member
  of the group reads a message, and however often, its event has the same id, and a store that knows ids keeps
  it once.
- A message without a value (a tombstone) and a blank one are nothing.
- `read` defines what a message becomes. `events` gives the same for many, made events block by block: JSON
  with its topic, partition and offset in front, as a file's lines are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import msgspec
import orjson

from ....handlers.clock import stamp
from ...builder import count_unparsed
from ...core.parse import ROLES, Parsed
from ...model import ID_FRONT
from ..foreign import compose
from ..mixed import Mixed
from ..parsed_blocks import Line, ParsedBlocks, Told, grouped
from ..parsers import ParserSetting, parser_config

if TYPE_CHECKING:
    from ....handlers.record import EventBuilder

__all__ = ["Known", "Reader"]

_ID: Final = re.compile(rb"[0-9a-f]{32}-[1-9][0-9]{0,18}")
_FORM: Final = b'{"'  # the order of the fields is free: an agent puts what a line lacks in front
_LARGEST: Final = 256 * 1024  # of an event; what is larger was not made by logferry
_NO_TIME: Final = 0  # confluent_kafka.TIMESTAMP_NOT_AVAILABLE
_BEGINS: Final = (b'{"', b'{ "')
_TIMES: Final = tuple(f'"{name}"'.encode() for name in ROLES["timestamp"])
_UNUSUAL: Final = (b"\\u00", b'"event_id"')  # a hidden name; an id of somebody's
_FIRST: Final = 365 * 86_400.0


class _Event(msgspec.Struct, gc=False):
    """What every event has."""

    timestamp: str
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    service: str
    trace_id: str
    span_id: str
    message: str


_DECODER: Final = msgspec.json.Decoder(_Event)


class Known(NamedTuple):
    """A message, the id that its event has, and whether its value is that event already."""

    message: Any
    event: bytes
    ready: bool


@dataclass(slots=True)
class Reader:
    """Makes events of messages. `cluster` is the cluster's id."""

    builder: EventBuilder
    parser: ParserSetting = "auto"
    trust: bool = True
    cluster: str = ""
    _mixed: Mixed = field(init=False)
    _parsed: ParsedBlocks = field(init=False)
    _plain: bool = field(init=False)  # whether JSON is taken as it stands
    _fronts: dict[tuple[str, int], bytes] = field(default_factory=dict)  # by partition

    def __post_init__(self) -> None:
        self._mixed = Mixed(self.parser)
        self._parsed = ParsedBlocks(self.builder)
        self._plain = parser_config(self.parser).format in {"auto", "json"}

    def read(self, message: Any) -> tuple[bytes, bytes]:
        """Return a message's event line and its id; two empty ones when it is nothing."""
        known = self.known(message)
        if known is None:
            return b"", b""
        line = message.value() if known.ready else self._compose(message)
        return (_with_id(line, known.event), known.event) if line else (b"", b"")

    def known(self, message: Any) -> Known | None:
        """Return what is known of a message before it is read; None: it is nothing."""
        value = message.value()
        if not value:
            return None
        event = _id_of(message)
        own = bool(event) and _is_event(value)
        return Known(message, event if own else self._make_id(message), own and self.trust)

    def events(self, messages: Sequence[Known]) -> Iterator[tuple[Sequence[bytes], int]]:
        """Yield the event lines of messages, with their ids, each time with the number of messages.

        Lines that transforms have left out are empty, for the books.
        """
        for ready, group in groupby(messages, attrgetter("ready")):
            some = list(group)
            if ready:
                yield from grouped(_with_id(known.message.value(), known.event) for known in some)
            else:
                yield from self._made(some)

    def _made(self, messages: Sequence[Known]) -> Iterator[tuple[Sequence[bytes], int]]:
        told: list[Told | Line] = []
        places: list[int] = []  # of the messages that say something
        for place, known in enumerate(messages):
            one = self._line(known) if self._plain else None
            said = self._told(known.message, known.event) if one is None else one
            if said is not None:
                told.append(said)
                places.append(place)
        at = before = 0
        for events, taken in self._parsed.blocks(told):
            at += taken
            behind = places[at - 1] + 1
            yield events, behind - before
            before = behind
        if before < len(messages):
            yield [], len(messages) - before

    def _line(self, known: Known) -> Line | None:
        """Return a message as a line of JSON with what is known of it in front; None: it is unusual."""
        message = known.message
        value: bytes = message.value()
        if not value.startswith(_BEGINS) or any(name in value for name in _UNUSUAL):
            return None
        where = message.topic(), message.partition()
        front = self._fronts.get(where)
        if front is None:
            said = {"kafka_topic": where[0], "kafka_partition": where[1]}
            front = self._fronts[where] = orjson.dumps(said)[1:-1]
        timed = b""
        if not any(name in value for name in _TIMES):
            moment = _moment(message)
            if moment is None or moment < _FIRST:
                return None
            timed = b'"timestamp":"%b",' % stamp(moment).encode()
        text = b'{%b%b,"kafka_offset":%d,%b' % (timed, front, message.offset(), value[1:])
        return Line(text, partial(self._read_line, known), known.event.decode())

    def _read_line(self, known: Known) -> Told:
        told = self._told(known.message, known.event) or (Parsed(""), "")
        if "parse_error" in told[0].fields:
            count_unparsed(self.builder, 1)
        return told

    def _told(self, message: Any, event: bytes = b"") -> Told | None:
        """Return what somebody else's message says; None: there is nothing in it."""
        parsed = self._mixed.read(message.value())
        if parsed is None:
            return None
        if parsed.timestamp is None:
            parsed.timestamp = _moment(message)
        parsed.fields.setdefault("kafka_topic", message.topic())
        parsed.fields.setdefault("kafka_partition", message.partition())
        parsed.fields.setdefault("kafka_offset", message.offset())
        return parsed, event.decode()

    def _compose(self, message: Any) -> bytes:
        """Return the event of somebody else's message; empty: there is nothing in it."""
        told = self._told(message)
        if told is None:
            return b""
        if "parse_error" in told[0].fields:
            count_unparsed(self.builder, 1)
        return compose(self.builder, told[0])

    def _make_id(self, message: Any) -> bytes:
        where = f"{self.cluster}/{message.topic()}/{message.partition()}/{message.timestamp()[1]}"
        name = blake2b(where.encode(), digest_size=16).hexdigest()
        return b"%b-%d" % (name.encode(), message.offset() + 1)


def _with_id(line: bytes, event: bytes) -> bytes:
    return ID_FRONT + event + b'",' + line[1:]


def _moment(message: Any) -> float | None:
    """Return the time that a message has by itself."""
    kind, milliseconds = message.timestamp()
    return milliseconds / 1000 if kind != _NO_TIME and milliseconds > 0 else None


def _id_of(message: Any) -> bytes:
    """Return the id that a message brings with it; empty: none that is well formed."""
    for name, value in message.headers() or ():
        if name == "event_id" and value is not None and _ID.fullmatch(value):
            return bytes(value)
    return b""


def _is_event(value: bytes) -> bool:
    """Say whether a value is an event line, whole and in its form."""
    if not value.startswith(_FORM) or value.startswith(ID_FRONT) or len(value) > _LARGEST or b"\n" in value:
        return False
    try:
        _DECODER.decode(value)
        return value.isascii() or bool(value.decode())
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
