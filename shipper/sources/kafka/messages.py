"""What becomes of a message: an event line that carries its id. Pure but for the builder's clock.

- A message that logferry wrote (header `event_id`, a value in an event's form) is taken as it stands: it was
  checked and redacted where it was logged.
- Any other one is parsed like a line of a file, and goes through schema and redaction. Its time, when it says
  none, is the message's.
- Both carry an id: the header's, or one made of cluster, topic, partition, time and offset. Whichever member
  of the group reads a message, and however often, its event has the same id, and a store that knows ids keeps
  it once.
- A message without a value (a tombstone) and a blank one are nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from ...builder import count_unparsed
from ...model import ID_FRONT
from ..foreign import compose
from ..mixed import Mixed
from ..parsers import ParserSetting

if TYPE_CHECKING:
    from ....handlers.record import EventBuilder

__all__ = ["Reader"]

_ID: Final = re.compile(rb"[0-9a-f]{32}-[1-9][0-9]{0,18}")
_FORM: Final = b'{"'  # the order of the fields is free: an agent puts what a line lacks in front
_LARGEST: Final = 256 * 1024  # of an event; what is larger was not made by logferry
_NO_TIME: Final = 0  # confluent_kafka.TIMESTAMP_NOT_AVAILABLE


class _Event(msgspec.Struct, gc=False):
    """What every event has."""

    timestamp: str
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    service: str
    trace_id: str
    span_id: str
    message: str


_DECODER: Final = msgspec.json.Decoder(_Event)


@dataclass(slots=True)
class Reader:
    """Makes events of messages. `cluster` is the cluster's id."""

    builder: EventBuilder
    parser: ParserSetting = "auto"
    trust: bool = True
    cluster: str = ""
    _mixed: Mixed = field(init=False)

    def __post_init__(self) -> None:
        self._mixed = Mixed(self.parser)

    def read(self, message: Any) -> tuple[bytes, bytes]:
        """Return a message's event line and its id; two empty ones when it is nothing."""
        value = message.value()
        if not value:
            return b"", b""
        event = _id_of(message)
        own = bool(event) and _is_event(value)
        line = value if own and self.trust else self._compose(value, message)
        if not line:
            return b"", b""
        event = event if own else self._make_id(message)
        return ID_FRONT + event + b'",' + line[1:], event

    def _compose(self, value: bytes, message: Any) -> bytes:
        """Return the event of somebody else's message; empty: there is nothing in it."""
        parsed = self._mixed.read(value)
        if parsed is None:
            return b""
        if "parse_error" in parsed.fields:
            count_unparsed(self.builder, 1)
        if parsed.timestamp is None:
            kind, milliseconds = message.timestamp()
            parsed.timestamp = milliseconds / 1000 if kind != _NO_TIME and milliseconds > 0 else None
        parsed.fields.setdefault("kafka_topic", message.topic())
        parsed.fields.setdefault("kafka_partition", message.partition())
        parsed.fields.setdefault("kafka_offset", message.offset())
        return compose(self.builder, parsed)

    def _make_id(self, message: Any) -> bytes:
        where = f"{self.cluster}/{message.topic()}/{message.partition()}/{message.timestamp()[1]}"
        name = blake2b(where.encode(), digest_size=16).hexdigest()
        return b"%b-%d" % (name.encode(), message.offset() + 1)


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
