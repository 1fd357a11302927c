"""What is decided about events before they are sent."""

from __future__ import annotations

from logferry.shipper.core.delivery import Fate
from logferry.shipper.core.sift import Sieve, event_time
from logferry.shipper.model import Batch


def batch(*lines: str) -> Batch:
    return Batch("ab" * 16, range(1, len(lines) + 1), [line.encode() for line in lines])


def test_min_level_filters_what_is_below() -> None:
    """Below is filtered; equal, above, unknown levels and lines that cannot be read pass."""
    lines = [
        '{"level":"INFO"}',
        '{"level":"WARNING"}',
        '{"level":"CRITICAL"}',
        '{"level":"LOUD"}',
        "not json",
    ]
    assert Sieve("WARNING").fates(batch(*lines), {}, 0.0) == {0: Fate("filtered", "min_level")}


def test_max_age_drops_what_is_older() -> None:
    """An event from before the limit is dropped with its reason."""
    lines = [
        '{"timestamp":"1970-01-01T00:00:09.999999Z"}',
        '{"timestamp":"1970-01-01T00:00:10.000000Z"}',
        "{}",
    ]
    assert Sieve(max_age=10.0).fates(batch(*lines), {}, 20.0) == {0: Fate("dropped", "max_age")}


def test_a_violation_is_a_dead_letter_whatever_its_level() -> None:
    """What broke the schema is kept with its reason, also where its level would be filtered."""
    fates = Sieve("ERROR").fates(
        batch('{"level":"INFO"}', '{"level":"INFO"}'), {2: "amount: not a number"}, 0.0
    )
    assert fates == {0: Fate("filtered", "min_level"), 1: Fate("dead", "amount: not a number")}


def test_event_time() -> None:
    """The time of an event line in seconds; None where there is none."""
    assert event_time(b'{"timestamp":"1970-01-01T00:01:00.500000Z"}') == 60.5
    assert event_time(b"{}") is None
    assert event_time(b"\xff") is None
