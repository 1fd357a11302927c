"""Dead letters sent again: what a kill at each step leaves, and what an edited event must be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from logferry.handlers.record import EventBuilder
from logferry.handlers.redaction import Redactor
from logferry.handlers.schema import Schema
from logferry.shipper import replay as module
from logferry.shipper.deadletter import DeadLetters
from logferry.shipper.mending import MendError, mend, parse_event, with_value
from logferry.shipper.model import Batch, Delivered, Limits, Partial, Rejected, Retry, Verdict
from logferry.shipper.replay import Journal, ReplayBusyError, replay, seen
from logferry.shipper.spool.ledger import read_ledger

IDS = [f"{'ab' * 16}-{number}" for number in range(1, 6)]


class Killed(BaseException):
    """As SIGKILL: nothing is tidied up."""


class Recorder:
    """A sink that notes what it was given: batches, and their lines."""

    limits = Limits()

    def __init__(self, answer: Callable[[Batch], Verdict] = lambda _batch: Delivered()) -> None:
        self.answer = answer
        self.given: list[bytes] = []
        self.batches: list[Batch] = []

    def send(self, batch: Batch) -> Verdict:
        self.given += batch.lines
        self.batches.append(batch)
        return self.answer(batch)

    def check(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetters:
    box = DeadLetters(tmp_path / "shop" / "dead-letters", "out", 1 << 20)
    box.add([(one, "no", json.dumps({"message": one}).encode()) for one in IDS], 0.0)
    return box


def replayed(letters: DeadLetters) -> int:
    assert letters.path is not None
    account = read_ledger(letters.path.parent.parent).sinks.get("out")
    return account.replayed if account else 0


def send_all(
    letters: DeadLetters, sink: Recorder, *, most: int = module.BATCH, only: str = ""
) -> module.Replay:
    journal = Journal(letters)
    chosen = [one for one in letters.read() if only in one.id]
    result = replay(sink, letters, journal, chosen, most=most, sleep=lambda _seconds: None)
    journal.close()
    return result


def name(line: bytes) -> str:
    return str(json.loads(line)["message"])


def no_to_the_second(batch: Batch) -> Verdict:
    refused = {index: Rejected("no") for index, line in enumerate(batch.lines) if name(line) == IDS[1]}
    return Partial(refused) if refused else Delivered()


def no_to_all_with_the_second(batch: Batch) -> Verdict:
    return Rejected("no") if IDS[1] in map(name, batch.lines) else Delivered()


@pytest.mark.parametrize("answer", [no_to_the_second, no_to_all_with_the_second])
@pytest.mark.parametrize("most", [1, 2, 500])
def test_what_is_taken_is_gone_and_what_is_refused_stays(
    letters: DeadLetters, answer: Callable[[Batch], Verdict], most: int
) -> None:
    """The refused one stays, undoubted, whether the sink names it or its batch; the others are counted."""
    sink = Recorder(answer)
    result = send_all(letters, sink, most=most)
    assert max(map(len, sink.batches)) <= most
    assert (result.taken, result.refused) == ({*IDS} - {IDS[1]}, {IDS[1]: "no"})
    assert [one.id for one in letters.read()] == [IDS[1]]
    assert seen(letters).doubtful == set()
    assert replayed(letters) == 4


def test_an_unreachable_sink_ends_it(letters: DeadLetters) -> None:
    """The second batch is tried some times and is in doubt, for it may have arrived; the rest waits."""
    sink = Recorder(lambda batch: Delivered() if name(batch.lines[0]) == IDS[0] else Retry("down"))
    result = send_all(letters, sink, most=2)
    assert (result.taken, result.untried, result.unreachable) == ({*IDS[:2]}, 3, "down")
    assert Counter(map(name, sink.given)) == {IDS[0]: 1, IDS[1]: 1, IDS[2]: 5, IDS[3]: 5}
    assert seen(letters).doubtful == {*IDS[2:4]}
    assert [one.id for one in letters.read()] == IDS[2:]
    assert send_all(letters, Recorder()).taken == {*IDS[2:]}
    assert seen(letters).doubtful == set()
    assert replayed(letters) == 5


def test_a_batch_in_doubt_goes_again_as_it_was(letters: DeadLetters) -> None:
    """In the same places of the same batch, first of all, and whole, also for one letter of it."""
    first = Recorder(lambda batch: Retry("down"))
    send_all(letters, first, most=3)
    assert seen(letters).doubtful == {*IDS[:3]}
    again = Recorder()
    assert send_all(letters, again, most=1, only=IDS[1]).taken == {*IDS[:3]}
    assert [(one.spool, list(one.sequences), list(one.lines)) for one in again.batches] == [
        (first.batches[0].spool, [1, 2, 3], list(first.batches[0].lines))
    ]
    assert [one.id for one in letters.read()] == IDS[3:]


def test_a_part_that_is_tried_again_keeps_its_places(letters: DeadLetters) -> None:
    """The sink took some and puts off others; the replay ends: only those that are open are in doubt."""
    sink = Recorder(
        lambda batch: Partial({3: Retry("busy", pause=True)}) if len(batch) == 5 else Retry("busy")
    )
    send_all(letters, sink)
    assert seen(letters).doubtful == {*IDS[3:]}, "what comes behind an open one is not settled"
    again = Recorder()
    send_all(letters, again)
    assert [(one.spool, list(one.sequences)) for one in again.batches] == [(sink.batches[0].spool, [4, 5])]


def test_a_letter_keeps_its_id_in_front_of_its_fields(letters: DeadLetters) -> None:
    """Every store and every receiver can tell it; what is no object goes as it is."""
    letters.add([("cd" * 16 + "-1", "no", b"nothing")], 0.0)
    sink = Recorder()
    send_all(letters, sink)
    assert [sink.batches[0].event_id(index) for index in range(5)] == IDS
    assert sink.given[0] == b'{"event_id":"%b","message": "%b"}' % ((IDS[0].encode(),) * 2)
    assert sink.given[5] == b"nothing"


def test_batches_are_what_the_sink_takes(letters: DeadLetters) -> None:
    """No batch is larger than the sink's limits, and what alone is too large stays."""
    letters.add([("cd" * 16 + "-1", "no", b'{"message":"%b"}' % (b"x" * 1000))], 0.0)
    sink = Recorder()
    sink.limits = Limits(max_events=2, max_bytes=400, max_event_bytes=400)
    result = send_all(letters, sink)
    assert [len(batch) for batch in sink.batches] == [2, 2, 1]
    assert all(sum(map(len, batch.lines)) <= 400 for batch in sink.batches)
    assert list(result.refused.values()) == ["larger than the sink takes: 1062 bytes, at most 400"]


STEPS = ["sending", "taken", "remove", "note_replayed", "_begin"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("most", [1, 2])
def test_killed_at_any_step(
    letters: DeadLetters, monkeypatch: pytest.MonkeyPatch, step: str, moment: str, most: int
) -> None:
    """No letter is lost or counted twice; only the batch that was in doubt is sent twice."""
    place: Any = {"remove": DeadLetters, "note_replayed": module}.get(step, Journal)
    real = getattr(place, step)
    calls = 0

    def killing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        many = 3 if most == 1 else 2
        fatal = calls == (many if step in {"sending", "taken"} else 2 if step == "_begin" else 1)
        if fatal and moment == "before":
            raise Killed
        result = real(*args)
        if fatal:
            raise Killed
        return result

    sink = Recorder()
    with monkeypatch.context() as patch:
        patch.setattr(place, step, killing)
        journal = Journal(letters)
        with suppress(Killed):
            replay(sink, letters, journal, list(letters.read()), most=most)
            journal.close()
            pytest.fail("it was not killed")
        journal._let_go()  # as the system does when a process dies
    doubtful = seen(letters).doubtful
    assert len(doubtful) <= most
    hidden = seen(letters).taken
    left = [one for one in letters.read() if one.id not in hidden]
    journal = Journal(letters)
    replay(sink, letters, journal, left)
    journal.close()
    sent = Counter(json.loads(line)["message"] for line in sink.given)
    assert set(sent) == set(IDS)
    assert {one for one, count in sent.items() if count > 1} <= doubtful
    assert list(letters.read()) == []
    assert replayed(letters) == len(IDS)


def test_one_replay_at_a_time(letters: DeadLetters) -> None:
    """A second one is refused while the first holds the journal."""
    journal = Journal(letters)
    with pytest.raises(ReplayBusyError):
        Journal(letters)
    journal.close()
    Journal(letters).close()


def test_a_torn_journal_is_read_up_to_its_end(letters: DeadLetters) -> None:
    """What a kill cut in the middle of a line is passed over."""
    assert letters.path is not None
    path = letters.path.with_suffix(".replay")
    sent = b'{"sending":{"spool":"s","letters":{"%b":1}}}' % IDS[0].encode()
    path.write_bytes(b'{"token":"t"}\n%b\n{"taken":["%b"]}\n{"sendi' % (sent, IDS[0].encode()))
    assert seen(letters).taken == {IDS[0]}
    assert send_all(letters, Recorder()).taken == {*IDS[1:]}
    assert replayed(letters) == 5


# ── edited events ──

GOOD = {
    "timestamp": "2026-01-02T03:04:05.000000Z",
    "level": "INFO",
    "service": "shop",
    "trace_id": "",
    "span_id": "",
    "message": "m",
}


@pytest.fixture
def builder() -> EventBuilder:
    schema = Schema("shop", fields={"order_id": "integer"})
    return EventBuilder(schema, Redactor(schema=schema), context=dict)


def test_a_good_event_is_not_touched(builder: EventBuilder) -> None:
    """What is valid and holds no secret comes out as it went in."""
    line, notes = mend({**GOOD, "order_id": 7, "colour": "red"}, builder)
    assert json.loads(line) == {**GOOD, "order_id": 7, "colour": "red"}
    assert list(json.loads(line)) == [*GOOD, "order_id", "colour"]
    assert notes == []


def test_secrets_that_were_typed_are_redacted(builder: EventBuilder) -> None:
    """By key and by pattern, and it is said."""
    line, notes = mend(
        {**GOOD, "password": "hunter2", "message": "Bearer abcdefghijklmnop1234567890"}, builder
    )
    assert b"hunter2" not in line
    assert b"abcdefghijkl" not in line
    assert notes == ["redacted: message, password"]


def test_values_are_cast_where_nothing_is_lost(builder: EventBuilder) -> None:
    """Text is taken as a number where the field is one; the bucket follows the duration."""
    line, _ = mend({**GOOD, "order_id": "42", "duration_ms": "7", "duration_le": "1"}, builder)
    event = json.loads(line)
    assert (event["order_id"], event["duration_ms"], event["duration_le"]) == (42, 7.0, "10")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"order_id": "x"}, 'order_id: "x" is no integer'),
        ({"level": "LOUD"}, "level: 'LOUD' is none of DEBUG, INFO, WARNING, ERROR, CRITICAL"),
        ({"timestamp": "yesterday"}, 'timestamp: "yesterday" is no timestamp'),
        ({"message": None}, "message is missing: every event has it"),
        ({"trace_id": "A"}, "trace_id: 32 lower-case hex digits, or nothing"),
        ({"event_id": "1"}, "event_id is put in by the sinks: take it out"),
    ],
)
def test_what_does_not_fit_is_said(builder: EventBuilder, change: dict[str, Any], problem: str) -> None:
    """Every mistake by the field's name."""
    with pytest.raises(MendError) as raised:
        mend({**GOOD, **change}, builder)
    assert raised.value.problems == [problem]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a":NaN}', '{"a":1,"a":2}', "{}x", "\ufeff{}"])
def test_what_is_no_object_is_said(text: str) -> None:
    """Nothing but one JSON object, each name once."""
    with pytest.raises(MendError):
        parse_event(text)


def test_set_takes_text_by_the_fields_type(builder: EventBuilder) -> None:
    """A string stays one although it looks like a number; an undeclared field takes JSON."""
    event = dict(GOOD)
    for name, text in (("message", "12"), ("n", "12"), ("error", '{"type":"E"}'), ("error.message", "x y")):
        event = with_value(builder.schema, event, name, text)
    assert event == {**GOOD, "message": "12", "n": 12, "error": {"type": "E", "message": "x y"}}
