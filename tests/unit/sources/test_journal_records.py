"""Records of several journal entries: joined by stream, however they come, and each once across restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.multiline import TracebackJoiner
from logferry.shipper.sources.journal_records import Entry, Record, Records

TRACEBACK = [
    "ERROR shop: failed",
    "Traceback (most recent call last):",
    '  File "a.py", line 1',
    "ValueError: no",
]


def made(lines: Sequence[tuple[str, str, int]]) -> list[Entry]:
    """Entries of (stream, text, milliseconds since the one before); without a stream, of a program's own."""
    entries, moment = [], 1_767_000_000_000_000
    for number, (stream, text, pause) in enumerate(lines):
        moment += pause * 1000
        fields: dict[str, Any] = {"MESSAGE": text, "N": str(number)}
        if stream:
            fields["_STREAM_ID"] = stream
        entries.append(Entry(fields, moment, str(number)))
    return entries


def fresh() -> Records:
    return Records(lambda: TracebackJoiner(1 << 16))


def said(records: Sequence[Record]) -> list[tuple[str, str]]:
    """First entry and text of each, where a joined text is bytes."""
    return [
        (one.fields["N"], text.decode() if isinstance(text := one.fields["MESSAGE"], bytes) else text)
        for one in records
    ]


def test_a_traceback_among_others() -> None:
    """Two streams at once: each traceback is one record, with what its first entry has, in order."""
    one, two = ([(name, line, 0) for line in TRACEBACK] for name in ("a", "b"))
    mixed = [line for pair in zip(one, two, strict=True) for line in pair]
    records = fresh()
    for entry in made([("a", "before", 0), *mixed, ("", "else", 0)]):
        records.feed(entry)
    assert said(records.take()) == [("0", "before"), ("9", "else")]
    assert records.held
    text = "\n".join(TRACEBACK)
    assert said(records.flush()) == [("1", text), ("2", text)]
    assert not records.held


def test_a_priority_that_is_said_begins_a_record() -> None:
    """Behind a traceback, too, where any line may go on; without one a line may go on in what had one."""
    lines = [("a", line, 0) for line in [*TRACEBACK, "told", *TRACEBACK[1:]]]
    records = fresh()
    for number, entry in enumerate(made(lines)):
        entry.fields["PRIORITY"] = "4" if number == len(TRACEBACK) else "6"  # type: ignore[index]
        records.feed(entry)
    assert said(records.flush()) == [("0", "\n".join(TRACEBACK)), ("4", "\n".join(["told", *TRACEBACK[1:]]))]


def test_lines_of_a_container() -> None:
    """What Docker says of one container's standard error is a stream, too."""
    records = fresh()
    for number, line in enumerate(["x", *TRACEBACK, "y"]):
        priority = "6" if number in {0, len(TRACEBACK) + 1} else "3"
        fields = {"MESSAGE": line, "N": str(number), "CONTAINER_ID_FULL": "c", "PRIORITY": priority}
        records.feed(Entry(fields, number, str(number)))
    assert said(records.flush()) == [("0", "x"), ("1", "\n".join(TRACEBACK)), ("5", "y")]


def test_time_ends_a_record() -> None:
    """When the journal goes on without a stream its record is complete; a later line is another."""
    records = fresh()
    for entry in made([("a", "x", 0), ("b", "y", 1500)]):
        records.feed(entry)
    assert said(records.take()) == [("0", "x")]
    later = made([("a", "x", 0), ("a", "  late", 1500)])
    records = fresh()
    for entry in later:
        records.feed(entry)
    assert said(records.flush()) == [("0", "x"), ("1", "  late")]


def test_what_is_held_is_bounded() -> None:
    """Neither many lines of one stream nor many streams."""
    records = Records(lambda: TracebackJoiner(1 << 30))
    longest = 0
    for entry in made([("a", " " + "y" * 1000, 0)] * 1000):
        records.feed(entry)
        longest = max([longest, *(len(one.fields["MESSAGE"]) for one in records.take())])
    assert 200_000 < longest < 300_000
    records = fresh()
    for entry in made([(str(number), "x", 0) for number in range(5000)]):
        records.feed(entry)
        records.take()
        assert len(records.place) < 20_000


LINE = st.sampled_from(
    [*TRACEBACK, "  indented", "", "INFO plain", '{"json": 1}', "During handling of the above"]
)
LINES = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), LINE, st.sampled_from([0, 1, 400, 1500])))


@given(LINES, st.lists(st.booleans(), min_size=1), st.sets(st.integers(0, 30)))
def test_however_they_come_and_whenever_it_is_killed(
    lines: list[tuple[str, str, int]], takes: list[bool], kills: set[int]
) -> None:
    """Taken one by one or together, and read again from the last place: the same records, each once."""
    entries = made(lines)
    whole = fresh()
    for entry in entries:
        whole.feed(entry)
    wanted = sorted(said(whole.take() + whole.flush()))
    assert sum(text.count("\n") + 1 for _, text in wanted) <= len(entries)

    kept: list[Record] = []
    place = b""
    records = fresh()
    for number, entry in enumerate(entries):
        records.feed(entry)
        if takes[number % len(takes)] and (given := records.take()):
            kept, place = kept + given, records.place  # in one step
        for part in (0.5, 1.0) if number in kills else ():  # killed once more while it reads again
            records = fresh()
            after = records.resume(place) if place else ""
            again = entries[int(after) + 1 if after else 0 : number + 1]
            for one in again[: int(part * len(again))]:
                records.feed(one)
                if takes[-1] and (given := records.take()):
                    kept, place = kept + given, records.place
    assert sorted(said(kept + records.take() + records.flush())) == wanted
