"""Messages of Kafka's many at once: each becomes what it becomes by itself, in order, with the same id."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from effort import effort
from hypothesis import given, settings
from hypothesis import strategies as st

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.sources.kafka.messages import Reader

OWN = (
    b'{"timestamp":"2026-11-21T20:17:42.123456Z","level":"INFO","service":"s","trace_id":"","span_id":"",'
    b'"message":"m"}'
)


class Message:
    """A message as confluent_kafka has it."""

    def __init__(self, value: bytes | None, offset: int, moment: int, header: bytes | None) -> None:
        self._value, self._offset, self._moment, self._header = value, offset, moment, header

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Any:
        return None if self._header is None else [("event_id", self._header)]

    def timestamp(self) -> tuple[int, int]:
        return int(self._moment > 0), self._moment

    def topic(self) -> str:
        return "lo gs"

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return self._offset


VALUES = [
    OWN,
    None,
    b" \n",
    b"plain text",
    b"2026-11-21 20:17:42,123 ERROR no",
    b'{"message":"no time","n":1}',
    b'{"message":"a time","time":"2026-11-21T20:17:42Z","n":2}\n',
    b'{"message":"inner","a":{"time":7}}',
    b'{"message":"own topic","kafka_topic":"x","kafka_offset":"y"}',
    b'{"message":"secret","password":"hunter2"}',
    b'{"event_id":"' + b"ab" * 16 + b'-7","message":"id"}',
    b'{"message":"failed","error":{"type":"E","message":"no"},"level":"ERROR"}',
    b'{"\\u006dessage":"hidden","mdc":{"trace_id":"0af7651916cd43dd8448eb211c80319c"}}',
    b'{"broken',
    b"{}",
    b'{"message":"' + b"x" * 70_000 + b'"}',
]


USUAL = [  # most of a topic: lines of one shape
    '{"message":"no time","n":%d}',
    '{"time":"2026-11-21T20:17:42Z","level":"warn","message":"a time %d"}',
    '{"message":"own offset","kafka_offset":%d}',
    "text %d",
]


@pytest.mark.parametrize("parser", ["auto", "json", "logfmt"])
@given(
    st.sampled_from(USUAL),
    st.integers(1, 120),
    st.lists(st.tuples(st.integers(0, 120), st.sampled_from(VALUES) | st.binary(max_size=60)), max_size=8),
    st.sampled_from([0, 1_795_292_262_123]),
    st.sampled_from([None, b"cd" * 16 + b"-1", b"no id"]),
    st.booleans(),
)
@settings(max_examples=effort(6), deadline=None)
def test_many_are_what_each_is(
    parser: Any,
    usual: str,
    times: int,
    others: list[tuple[int, bytes | None]],
    moment: int,
    header: bytes | None,
    trust: bool,
) -> None:
    """The same events and ids; every message is in one of the steps."""
    schema = Schema("edge", host="h")
    builder = EventBuilder(schema, Redactor(schema=schema))
    values: list[bytes | None] = [(usual % number).encode() for number in range(times)]
    for place, other in others:
        values.insert(place, other)
    messages = [Message(value, offset, moment, header) for offset, value in enumerate(values)]
    one, many = (Reader(builder, parser, trust, cluster="c") for _ in range(2))
    single = [one.read(message) for message in messages]
    known = [found for message in messages if (found := many.known(message)) is not None]
    steps = list(many.events(known))
    assert sum(taken for _, taken in steps) == len(known)
    assert [_bare(event) for events, _ in steps for event in events] == [
        _bare(event) for event, _ in single if event
    ]


def _bare(event: bytes) -> dict[str, Any]:
    made: dict[str, Any] = orjson.loads(event)
    if not made.get("timestamp", "").startswith("2026-11-21"):
        del made["timestamp"]  # that of its reading
    return made
