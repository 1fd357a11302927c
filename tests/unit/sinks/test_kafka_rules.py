"""The pure parts of Kafka: errors in words, verdicts, keys, where to read on, what becomes of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper.config import ConfigError, load
from logferry.shipper.kafka import explain
from logferry.shipper.model import Batch, Rejected, Retry, carried_id, uncarried
from logferry.shipper.sinks.elasticsearch.framing import bulk
from logferry.shipper.sinks.http.request import framed_lines
from logferry.shipper.sinks.kafka.config import KafkaConfig
from logferry.shipper.sinks.kafka.keys import keys
from logferry.shipper.sinks.kafka.verdict import Next, judge, refusal
from logferry.shipper.sources.kafka.messages import Reader
from logferry.shipper.sources.kafka.offsets import NONE, Place, Seen, resume_at
from logferry.shipper.sources.parsers import ParserConfig, ParserSetting
from logferry.shipper.store.writer import frame

ID = "0123456789abcdef0123456789abcdef-12"
LINE = (
    b'{"timestamp":"2026-01-31T08:00:00.000000Z","level":"INFO","service":"shop","trace_id":"ab",'
    b'"span_id":"","message":"m"}'
)
CARRIED = b'{"event_id":"%b",' % ID.encode() + LINE[1:]


@pytest.mark.parametrize(
    ("name", "text", "reason", "pause"),
    [
        (
            "_RESOLVE",
            "a.b:9/bootstrap: Failed to resolve 'a.b:9': …",
            "a.b:9: the name cannot be resolved",
            False,
        ),
        (
            "_TRANSPORT",
            "1.2.3.4:9/bootstrap: Connect to ipv4#1.2.3.4:9 failed: Connection refused",
            "1.2.3.4:9: connection refused: nothing listens there",
            False,
        ),
        (
            "_SSL",
            "ssl://k:9/bootstrap: SSL handshake failed: certificate verify failed: broker (after 3ms)",
            "k:9: its certificate was not accepted",
            True,
        ),
        ("_AUTHENTICATION", "sasl_ssl://k:9/1: SASL authentication error: no", "k:9: the credentials", True),
        ("TOPIC_AUTHORIZATION_FAILED", "", "no permission for this topic", True),
        ("_UNKNOWN_TOPIC", "", "the topic does not exist", True),
        ("SOMETHING_NEW", "who knows", "SOMETHING_NEW: who knows", False),
    ],
)
def test_errors_are_said_in_words_that_tell_what_to_mend(
    name: str, text: str, reason: str, pause: bool
) -> None:
    """Each kind has its sentence, with the broker's address, and says whether a human is needed."""
    found = explain(name, text)
    assert found.reason.startswith(reason)
    assert found.pause is pause


def test_only_what_was_alone_is_rejected() -> None:
    """The size of a whole batch proves nothing against one message, and an unknown error never does."""
    assert judge("MSG_SIZE_TOO_LARGE") is Next.ALONE
    assert isinstance(refusal("MSG_SIZE_TOO_LARGE", "x", alone=True), Rejected)
    assert isinstance(refusal("MSG_SIZE_TOO_LARGE", "x", alone=False), Retry)
    assert judge("_FATAL") is Next.RENEW
    for name in ("NOT_ENOUGH_REPLICAS", "_PURGE_INFLIGHT", "SOMETHING_NEW"):
        assert judge(name) is Next.RETRY
        assert isinstance(refusal(name, "", alone=True), Retry)


@given(st.lists(st.sampled_from([LINE, b"{}", b"", b"nonsense", b'{"trace_id":7}', b"[1]\n[2]", b"{\n}"])))
def test_each_line_has_its_own_key(lines: list[bytes]) -> None:
    """Whatever stands beside it, a line's key is its own."""
    assert keys(lines, "trace_id") == ["ab" if line == LINE else None for line in lines]
    assert keys(lines, "service") == ["shop" if line == LINE else None for line in lines]
    assert keys(lines, "none") == [None] * len(lines)


@given(st.integers(0, 50), st.integers(-1, 50), st.integers(-1, 50))
def test_reading_goes_on_behind_group_and_spool(after: int, known: int, committed: int) -> None:
    """Never before what is committed, never before what the spool holds, unless the group was set back."""
    place = Place.decode(Place(after, known).encode())
    begin = resume_at(place, committed)
    assert begin == (committed if committed < known else max(after, committed))
    assert resume_at(None, committed) == committed


def test_a_place_that_is_none_is_passed_over() -> None:
    """Another version's or another source's position is no offset."""
    for data in (b"", b"1", b"1 2 3", b"a b", b"\xff"):
        assert Place.decode(data) is None
    assert resume_at(None, NONE) == NONE


def test_ids_are_remembered_for_a_while_and_memory_is_bounded() -> None:
    """The last ones are known, and never more than twice as many as asked for."""
    seen = Seen(100)
    for number in range(1000):
        seen.add([b"%d" % number])
        assert b"%d" % number in seen
    assert all(b"%d" % number in seen for number in range(900, 1000))
    assert b"700" not in seen


class Message:
    """A message as confluent_kafka has it."""

    def __init__(
        self, value: bytes | None, headers: Mapping[str, bytes] | None = None, offset: int = 4
    ) -> None:
        self._value, self._headers, self._offset = value, headers, offset

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> Any:
        return None if self._headers is None else list(self._headers.items())

    def timestamp(self) -> tuple[int, int]:
        return 1, 1_770_000_000_123

    def topic(self) -> str:
        return "logs"

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return self._offset


def reader(**options: Any) -> Reader:
    return Reader(EventBuilder(Schema("reader"), Redactor()), cluster="c", **options)


def test_our_own_message_is_taken_as_it_is() -> None:
    """Its line is not touched, and its id is the one that it brings."""
    assert reader().read(Message(LINE, {"event_id": ID.encode()})) == (CARRIED, ID.encode())


def test_the_order_of_an_events_fields_is_free() -> None:
    """An agent puts what a line lacks in front of it: it is ours all the same, and keeps its id."""
    line = b'{"log_file":"/x",' + LINE[1:]
    assert reader().read(Message(line, {"event_id": ID.encode()})) == (
        b'{"event_id":"' + ID.encode() + b'",' + line[1:],
        ID.encode(),
    )


NGINX = b'10.0.0.7 - - [21/Nov/2026:20:17:42 +0000] "GET /api/v1/orders HTTP/1.1" 200 512 "-" "curl/8.5"'


@pytest.mark.parametrize(
    ("parser", "value", "expected"),
    [
        ("nginx", NGINX, {"timestamp": "2026-11-21T20:17:42.000000Z", "status_code": 200, "method": "GET"}),
        ("nginx", b"not of it", {"message": "not of it", "parse_error": "not nginx"}),
        ("logfmt", b"level=warn msg=hot order=7", {"level": "WARNING", "message": "hot", "order": 7}),
        (
            ParserConfig("regex", pattern=r"(?P<level>\w+) (?P<message>.*)"),
            b"ERROR broken",
            {"level": "ERROR", "message": "broken"},
        ),
        ("json", b"text", {"message": "text", "parse_error": "not a JSON object"}),
        ("text", b'{"message": "a"}', {"message": '{"message": "a"}'}),
    ],
)
def test_every_parser_understands_messages(
    parser: ParserSetting, value: bytes, expected: Mapping[str, Any]
) -> None:
    """A message is a line of the format that the option names; where it says no time it has the message's."""
    line, event = reader(parser=parser).read(Message(value))
    found = orjson.loads(line)
    assert {name: found.get(name) for name in expected} == expected
    assert carried_id(line).encode() == event
    assert found["kafka_topic"] == "logs"


@pytest.mark.parametrize(
    "value",
    [
        CARRIED,
        LINE[:-1],
        LINE.replace(b"INFO", b"LOUD"),
        LINE.replace(b'"m"', b'"\xff"'),
        LINE.replace(b',"message":"m"', b""),
        LINE.replace(b',"span', b',\n"span'),
        LINE[:-1] + b',"x":"' + b"x" * 300_000 + b'"}',
    ],
)
def test_what_only_says_so_is_parsed(value: bytes) -> None:
    """A header makes nobody ours: what is not an event's form, whole, becomes an event with an id of ours."""
    line, event = reader().read(Message(value, {"event_id": ID.encode()}))
    assert event != ID.encode()
    made = orjson.loads(line)
    assert made["event_id"] == event.decode()
    assert b"\n" not in line


def test_without_trust_our_own_are_redacted_again() -> None:
    """The id stays, the secret goes."""
    value = LINE[:-1] + b',"password":"hunter2"}'
    line, event = reader(trust=False).read(Message(value, {"event_id": ID.encode()}))
    assert event == ID.encode()
    assert b"hunter2" not in line
    assert b"hunter2" in reader().read(Message(value, {"event_id": ID.encode()}))[0]


def test_a_foreign_message_has_one_id_and_the_messages_time() -> None:
    """Read twice it is the same event; the next one is another."""
    first, second = reader().read(Message(b"hello")), reader().read(Message(b"hello"))
    assert first == second
    assert first[1] != reader().read(Message(b"hello", offset=5))[1]
    made = orjson.loads(first[0])
    assert made["timestamp"].startswith("2026-02-02T02:40:00.123")
    assert (made["kafka_topic"], made["kafka_partition"], made["kafka_offset"]) == ("logs", 2, 4)
    for nothing in (None, b"", b" \n"):
        assert reader().read(Message(nothing)) == (b"", b"")


def test_a_carried_id_is_the_events_at_every_sink() -> None:
    """Elasticsearch's _id, what a receiver of HTTP gets, and beside the local store's own."""
    assert carried_id(CARRIED) == ID
    assert uncarried(CARRIED, ID) == LINE
    for other in (LINE, b'{"event_id":"x"}', b'{"event_id":"a-', b'{"event_id":7}'):
        assert carried_id(other) == ""
    batch = Batch("f" * 32, [7, 8], [LINE, CARRIED])
    assert batch.carries
    assert [batch.event_id(0), batch.event_id(1)] == ["f" * 32 + "-7", ID]
    pieces, indexes = bulk(batch, lambda: None, {})
    body = b"".join(pieces)
    actions = [orjson.loads(line) for line in body.splitlines()]
    assert list(indexes) == [0, 1]
    assert actions[2] == {"create": {"_id": ID}}
    assert actions[3]["event_id"] == ID
    assert body.count(b'"event_id"') == 2
    assert framed_lines(batch)[1] == CARRIED
    stored = [orjson.loads(line) for line in frame(batch).splitlines()]
    assert [event["event_id"] for event in stored] == ["f" * 32 + "-7", "f" * 32 + "-8"]
    assert stored[1]["origin_id"] == ID


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"brokers": []}, "brokers is empty"),
        ({"brokers": ["http://k:9092"]}, "is not host:port"),
        ({"brokers": ["k"]}, "is not host:port"),
        ({"topic": "a b"}, "topic"),
        ({"options": {"acks": "1"}}, "options.acks"),
        ({"options": {"ssl.ca.location": "/x"}}, "options.ssl.ca.location"),
    ],
)
def test_what_cannot_work_is_refused_at_its_place(changes: dict[str, Any], said: str) -> None:
    """A configuration that would break a promise is a mistake, not a surprise."""
    sink = {"type": "kafka", "brokers": ["k:9092"], "topic": "logs", **changes}
    with pytest.raises(ConfigError) as caught:
        load({"service": "shop", "sinks": {"k": sink}}, environ={})
    assert any(said in f"{problem.path} {problem.message}" for problem in caught.value.problems)


def test_the_producers_settings_keep_the_promises() -> None:
    """Idempotent, acknowledged by all, without a time-out of librdkafka's own."""
    made = KafkaConfig(("k:9092",), "logs", options={"linger.ms": "20"}).producer()
    promised = {"enable.idempotence": True, "acks": "all", "message.timeout.ms": "0", "linger.ms": "20"}
    assert promised.items() <= made.items()


_beginnings = st.sampled_from(
    [b'{"event_id":"', b'{"event_id":"\xff', b'{"event_id":#', b'{"event_id":', b"{", b""]
)


@given(st.lists(st.builds(bytes.__add__, _beginnings, st.binary(max_size=4)), max_size=6))
def test_a_batch_knows_whether_any_of_its_lines_carries_an_id(lines: list[bytes]) -> None:
    """However lines begin and in whatever order: the quick look says what a look at each says."""
    batch = Batch("ab" * 16, range(1, len(lines) + 1), lines)
    assert batch.carries == any(line.startswith(b'{"event_id":"') for line in lines)
