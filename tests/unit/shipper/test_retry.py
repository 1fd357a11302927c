"""The pace of retries."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.retry import Backoff, parse_retry_after

CHANCE = st.floats(0, 1, exclude_max=True)


@given(
    st.integers(-5, 10**9),
    CHANCE,
    st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
    st.booleans(),
)
def test_every_wait_is_bounded(attempt: int, chance: float, after: float | None, pause: bool) -> None:
    """No attempt count, advice or draw makes the wait overflow, vanish or last for ever."""
    pace = Backoff()
    wait = pace.delay(attempt, chance, after=after, pause=pause)
    assert pace.floor <= wait <= pace.longest_advice + pace.base
    if after is not None and 0 < after <= pace.longest_advice:
        assert wait >= after


def test_the_ceiling_doubles_up_to_the_cap() -> None:
    """With the greatest draw the waits are base, twice, four times, … and then the cap."""
    pace = Backoff(base=0.5, cap=10.0)
    waits = [pace.delay(n, math.nextafter(1, 0)) for n in range(1, 8)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 10, 10])


@given(CHANCE)
def test_a_pause_is_slow_from_the_first_time(chance: float) -> None:
    """What a human must mend is not hammered."""
    assert Backoff(cap=60).delay(1, chance, pause=True) >= 30


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("120", 120.0),
        ("-3", 0.0),
        ("inf", None),
        ("nan", None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:10 GMT", None),
    ],
)
def test_retry_after_header(text: str | None, seconds: float | None) -> None:
    """Numbers and dates are understood; nonsense says nothing."""
    assert parse_retry_after(text, now=100.0) == seconds
