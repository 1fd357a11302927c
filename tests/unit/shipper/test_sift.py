"""What is decided about events before they are sent."""

from __future__ import annotations

import json
from dataclasses import replace

from logferry.shipper.core.delivery import Fate
from logferry.shipper.core.filter import parse
from logferry.shipper.core.sift import Routes, Sieve, event_time
from logferry.shipper.model import Batch, Beside


def batch(*lines: str) -> Batch:
    return Batch("ab" * 16, range(1, len(lines) + 1), [line.encode() for line in lines])


def sifted(given: Batch, routes: Routes, now: float = 0.0) -> dict[int, Fate]:
    return Sieve(routes).sift(given, {}, now)[1]


def test_min_level_filters_what_is_below() -> None:
    """Below is filtered; equal, above, unknown levels and lines that cannot be read pass."""
    lines = [
        '{"level":"INFO"}',
        '{"level":"WARNING"}',
        '{"level":"CRITICAL"}',
        '{"level":"LOUD"}',
        "not json",
    ]
    assert sifted(batch(*lines), Routes("WARNING")) == {0: Fate("filtered", "min_level")}


def test_max_age_drops_what_is_older() -> None:
    """An event from before the limit is dropped with its reason."""
    lines = [
        '{"timestamp":"1970-01-01T00:00:09.999999Z"}',
        '{"timestamp":"1970-01-01T00:00:10.000000Z"}',
        "{}",
    ]
    assert sifted(batch(*lines), Routes(max_age=10.0), now=20.0) == {0: Fate("dropped", "max_age")}


def test_a_violation_is_a_dead_letter_whatever_its_level() -> None:
    """What broke the schema is kept with its reason, also where its level would be filtered."""
    both = batch('{"level":"INFO"}', '{"level":"INFO"}')
    fates = Sieve(Routes("ERROR")).sift(both, {2: "amount: not a number"}, 0.0)[1]
    assert fates == {0: Fate("filtered", "min_level"), 1: Fate("dead", "amount: not a number")}


def test_event_time() -> None:
    """The time of an event line in seconds; None where there is none."""
    assert event_time(b'{"timestamp":"1970-01-01T00:01:00.500000Z"}') == 60.5
    assert event_time(b"{}") is None
    assert event_time(b"\xff") is None


def test_match_takes_what_the_filter_finds() -> None:
    """The language of `query`, over declared and other fields; a line that is none matches nothing."""
    lines = ['{"level":"INFO","kind":"access"}', '{"level":"INFO","n":7}', '{"level":"INFO"}', "no"]
    routes = Routes(match=parse("kind=access OR fields.n>5").matches)
    assert sifted(batch(*lines), routes) == {2: Fate("filtered", "match")}


def test_a_sample_keeps_whole_traces_and_every_error() -> None:
    """All events of a trace share a fate, the same in another spool; errors and failures are kept anyway."""
    traces = [f"{n * 7919:032x}" for n in range(400)]
    lines = [f'{{"level":"INFO","trace_id":"{t}","n":{k}}}' for t in traces for k in range(3)]
    kept = set(range(1200)) - set(sifted(batch(*lines), Routes(sample=0.1)))
    whole = {index // 3 for index in kept}
    assert kept == {3 * trace + k for trace in whole for k in range(3)}
    assert 20 < len(whole) < 65
    other = Batch("cd" * 16, range(1000, 2200), [line.encode() for line in lines])
    assert set(range(1200)) - set(sifted(other, Routes(sample=0.1))) == kept
    always = [line.replace("INFO", "ERROR") for line in lines[:30]] + [
        line.replace('"n"', '"failed":true,"n"') for line in lines[:30]
    ]
    assert sifted(batch(*always), Routes(sample=0.0)) == {}
    assert len(sifted(batch(*lines[:30]), Routes(sample=0.0))) == 30
    assert sifted(batch(*lines), Routes(sample=1.0)) == {}


def test_without_a_trace_the_event_itself_is_sampled() -> None:
    """By its id: the same event has the same fate each time it is read."""
    lines = ['{"level":"INFO","trace_id":""}'] * 1000
    first = sifted(batch(*lines), Routes(sample=0.25))
    assert 650 < len(first) < 850
    assert sifted(batch(*lines), Routes(sample=0.25)) == first


def test_the_rate_is_limited_by_the_events_own_seconds() -> None:
    """A backlog of many seconds passes whole; a burst within one does not, over batches as well."""

    def at(second: int) -> str:
        return f'{{"timestamp":"2026-11-21T10:00:{second:02}.500000Z"}}'

    sieve = Sieve(Routes(rate_limit=3))
    assert sieve.sift(batch(*(at(s) for s in range(60) for _ in range(3))), {}, 0.0)[1] == {}
    fates = sieve.sift(batch(at(59), at(7)), {}, 0.0)[1]
    assert fates == dict.fromkeys((0, 1), Fate("filtered", "rate_limit"))
    assert Sieve(Routes(rate_limit=3)).sift(batch(at(59), at(7)), {}, 0.0)[1] == {}


def test_what_the_rate_remembers_is_bounded() -> None:
    """Events of any number of seconds leave a bounded trace, the oldest seconds go."""
    sieve = Sieve(Routes(rate_limit=1))
    for n in range(2_000):
        stamp = f"2026-11-21T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}.000000Z"
        assert sieve.sift(batch(f'{{"timestamp":"{stamp}"}}'), {}, 0.0)[1] == {}
    assert len(sieve._counts) <= 256


def test_repeats_become_one_event_with_their_number() -> None:
    """The first stands for all, and says so; another message, level or error does not count as a repeat."""
    lines = [
        '{"level":"ERROR","message":"down","n":1}',
        '{"level":"WARNING","message":"down"}',
        '{"level":"ERROR","message":"down","n":2}',
        '{"level":"ERROR","message":"down","error":{"type":"OSError"}}',
        '{"level":"INFO","message":"GET /","kind":"access"}',
        '{"level":"INFO","message":"GET /","kind":"access"}',
        '{"level":"ERROR","message":"down"}',
        "no",
    ]
    given = replace(batch(*lines), longest=max(map(len, lines)), beside=(Beside(1, 8, b"columns"),))
    out, fates = Sieve(Routes(collapse=True)).sift(given, {}, 0.0)
    assert not out.longest
    assert not out.beside
    assert fates == dict.fromkeys((2, 6), Fate("filtered", "repeat"))
    assert json.loads(out.lines[0]) == {"repeated": 3, "level": "ERROR", "message": "down", "n": 1}
    assert list(out.lines[1:]) == list(given.lines[1:])
    assert out.sequences == given.sequences


def test_what_is_filtered_already_is_no_repeat() -> None:
    """Conditions come first: what they keep away neither counts nor stands for others."""
    lines = ['{"level":"INFO","message":"a"}', '{"level":"INFO","message":"a"}']
    out, fates = Sieve(Routes("ERROR", collapse=True)).sift(batch(*lines), {}, 0.0)
    assert set(fates.values()) == {Fate("filtered", "min_level")}
    assert out.lines == [line.encode() for line in lines]
    out, fates = Sieve(Routes(collapse=True)).sift(batch(*lines), {1: "bad"}, 0.0)
    assert fates == {0: Fate("dead", "bad")}
    assert out.lines == [line.encode() for line in lines]
