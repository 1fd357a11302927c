"""The verdict machine: whatever the sink answers, each event ends in exactly one place."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.delivery import Delivery, Fate, Wait
from logferry.shipper.model import Batch, Delivered, Limits, Partial, Rejected, Retry, Split, Verdict

SPOOL = "ab" * 16
LIMITS = Limits(max_event_bytes=100)
REFUSAL = st.sampled_from(
    [Retry("busy"), Retry("quota", pause=True), Retry("later", after=3.0), Rejected("bad")]
)


def batch_of(count: int, first: int = 1) -> Batch:
    return Batch(SPOOL, range(first, first + count), [b'{"n":%d}' % n for n in range(first, first + count)])


def drive(
    delivery: Delivery, batch: Batch, answer: Callable[[Batch], Verdict], sends: int = 10_000
) -> dict[int, str]:
    """Run a batch to its end; return sequence → where it ended, asking for settled prefixes all along."""
    fates: dict[int, str] = {}
    delivery.begin(batch, LIMITS, {})
    for _ in range(sends):
        collect(delivery, batch, fates)
        if delivery.done:
            return fates
        delivery.settle(answer(delivery.part()), 0.5)
    raise AssertionError("never settled")


def collect(delivery: Delivery, batch: Batch, fates: dict[int, str]) -> None:
    start = len(fates)
    settled = delivery.take()
    if settled is None:
        return
    end = batch.sequences.index(settled.upto) + 1
    not_delivered = dict(settled.fates)
    assert settled.delivered == end - start - len(not_delivered)
    for index in range(start, end):
        sequence = batch.sequences[index]
        assert sequence not in fates
        fates[sequence] = not_delivered[index].kind if index in not_delivered else "delivered"


@st.composite
def verdicts(draw: st.DrawFn, size: int) -> Verdict:
    match draw(st.sampled_from(["delivered", "partial", "retry", "reject", "split"])):
        case "partial":
            refused = draw(st.dictionaries(st.integers(0, size - 1), REFUSAL, max_size=size))
            return Partial(refused)
        case "retry":
            return Retry("no", after=draw(st.one_of(st.none(), st.floats(0, 100))))
        case "reject":
            return Rejected("never")
        case "split":
            return Split("large")
    return Delivered()


@given(st.data(), st.integers(1, 12))
def test_each_event_ends_once(data: st.DataObject, count: int) -> None:
    """For any verdicts, each event is stored or a dead letter, once; and what is called stored was sent."""
    stored: set[int] = set()
    refused: set[int] = set()
    sends = 0

    def answer(part: Batch) -> Verdict:
        nonlocal sends
        sends += 1
        assert list(part.sequences) == sorted(part.sequences)
        assert all(b'{"n":%d}' % s == line for s, line in zip(part.sequences, part.lines, strict=True))
        verdict = Delivered() if sends > 60 else data.draw(verdicts(len(part)))
        if isinstance(verdict, Delivered):
            stored.update(part.sequences)
        if isinstance(verdict, Partial):
            stored.update(s for i, s in enumerate(part.sequences) if i not in verdict.refused)
            refused.update(part.sequences[i] for i, r in verdict.refused.items() if isinstance(r, Rejected))
        if isinstance(verdict, Rejected | Split) and len(part) == 1:
            refused.update(part.sequences)
        return verdict

    fates = drive(Delivery(), batch_of(count), answer)
    assert fates == {s: "delivered" if s in stored else "dead" for s in range(1, count + 1)}
    assert {s for s, fate in fates.items() if fate == "dead"} == refused


@given(st.sets(st.integers(1, 40), max_size=5), st.integers(1, 40))
def test_one_bad_event_does_not_take_the_others_along(bad: set[int], count: int) -> None:
    """A sink that can only refuse a whole batch loses just the events that it minds."""

    def answer(part: Batch) -> Verdict:
        return Rejected("bad") if bad & set(part.sequences) else Delivered()

    fates = drive(Delivery(), batch_of(count), answer)
    assert {s for s, fate in fates.items() if fate == "dead"} == {s for s in bad if s <= count}


def test_only_what_was_refused_is_sent_again() -> None:
    """After a partial refusal the next part holds the refused events alone, and goes before the rest."""
    delivery = Delivery()
    delivery.begin(batch_of(4), LIMITS, {})
    wait = delivery.settle(
        Partial({1: Retry("busy", after=2.0), 3: Retry("busy", after=5.0)}, duplicates=1), 0.0
    )
    assert wait == Wait(5.0, "busy")
    part = delivery.part()
    assert list(part.sequences) == [2, 4]
    assert part.attempt == 2
    prefix = delivery.take()
    assert prefix is not None
    assert (prefix.upto, prefix.delivered, prefix.duplicates, prefix.retried) == (1, 1, 1, 2)
    assert delivery.settle(Delivered(), 0.0) is None
    rest = delivery.take()
    assert rest is not None
    assert (rest.upto, rest.delivered) == (4, 3)


def test_a_split_halves_in_order() -> None:
    """Too large: first half, then second half; an event that is too large alone is a dead letter."""
    delivery = Delivery()
    delivery.begin(batch_of(3), LIMITS, {})
    assert delivery.settle(Split("413"), 0.5) is None
    assert list(delivery.part().sequences) == [1]
    delivery.settle(Split("413"), 0.5)
    assert list(delivery.part().sequences) == [2, 3]
    delivery.settle(Delivered(), 0.5)
    settled = delivery.take()
    assert settled is not None
    assert settled.fates == [(0, Fate("dead", "413"))]


def test_a_sink_that_rejects_everything_is_paused() -> None:
    """Not the whole spool becomes dead letters: after some rejections single events are tried, slowly."""
    delivery = Delivery(patience=3)
    waited = 0.0
    dead = 0
    first = 1
    for _ in range(30):
        batch = batch_of(1000, first)
        first += 1000
        delivery.begin(batch, LIMITS, {})
        while not delivery.done and waited < 600:
            wait = delivery.settle(
                Partial(dict.fromkeys(range(len(delivery.part())), Rejected("mapping"))), 0.5
            )
            waited += wait.seconds if wait else 0.0
            assert wait is None or wait.paused
        settled = delivery.take()
        dead += len(settled.fates) if settled else 0
        if waited >= 600:
            break
        delivery.abandon()
    assert dead <= 3 * 1000 + 40
    assert delivery.suspicious
    assert len(delivery.part()) == 1
    delivery.settle(Delivered(), 0.5)
    assert not delivery.suspicious
    assert len(delivery.part()) > 1


def test_a_backlog_that_has_become_too_old_is_not_probed() -> None:
    """The server names each event's own age: a hundred such batches, or single events, pause nothing."""
    delivery = Delivery(patience=3)
    old = Rejected("older than the retention", own=True)
    for size in (1000, 1) * 50:
        delivery.begin(batch_of(size), LIMITS, {})
        verdict = Partial(dict.fromkeys(range(size), old)) if size > 1 else old
        assert delivery.settle(verdict, 0.5) is None
        settled = delivery.take()
        assert settled is not None
        assert len(settled.fates) == size
        assert not delivery.suspicious
        delivery.abandon()


def test_a_senseless_verdict_loses_nothing() -> None:
    """Indexes outside the batch, or no verdict at all, count as a retry."""
    for nonsense in (None, Partial({7: Rejected("?")}), Partial({0: "bad"}), "ok"):  # type: ignore[dict-item]  # a defect on purpose
        delivery = Delivery()
        delivery.begin(batch_of(2), LIMITS, {})
        wait = delivery.settle(nonsense, 0.5)  # type: ignore[arg-type]  # a defect on purpose
        assert wait is not None
        assert "may not" in wait.reason
        assert len(delivery.part()) == 2
        assert delivery.take() is None


def test_an_oversize_event_is_not_sent() -> None:
    """What the sink could never take is a dead letter with a reason that names both sizes."""
    delivery = Delivery()
    batch = Batch(SPOOL, [5, 6], [b"x" * 101, b"y"])
    delivery.begin(batch, LIMITS, {})
    assert list(delivery.part().sequences) == [6]
    delivery.settle(Delivered(), 0.5)
    settled = delivery.take()
    assert settled is not None
    assert settled.fates == [(0, Fate("dead", "larger than the sink takes: 101 bytes, at most 100"))]


def test_the_thousandth_failure_waits_no_longer_than_the_cap() -> None:
    """Retries go on for ever, at a bounded pace."""
    delivery = Delivery()
    delivery.begin(batch_of(1), LIMITS, {})
    waits = [delivery.settle(Retry("down"), 0.999) for _ in range(1100)]
    assert max(w.seconds for w in waits if w) <= delivery.backoff.cap
    assert delivery.part().attempt == 1101
