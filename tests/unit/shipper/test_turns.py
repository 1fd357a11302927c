"""How long a delivery thread keeps the interpreter, with a clock that the test moves."""

from __future__ import annotations

from logferry.shipper.turns import LONGEST, REST, SHORTEST, Turns


class Time:
    """A clock; `sleep` takes what was asked for and what others keep the lock for."""

    def __init__(self) -> None:
        self.now, self.others, self.rests = 100.0, 0.0, 0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.rests += 1
        self.now += seconds + self.others


def test_a_rest_comes_once_a_slice() -> None:
    """Work in pieces far smaller than a slice rests once a slice, not once a piece."""
    time = Time()
    turns = Turns(time.clock, time.sleep)
    for _ in range(1000):
        turns.rest()
        time.now += SHORTEST / 10
    assert 90 <= time.rests <= 101


def test_slices_grow_while_the_lock_is_contested_and_shrink_again() -> None:
    """An application that never pauses leaves the worker half of the time; one that pauses, slices."""
    time = Time()
    turns = Turns(time.clock, time.sleep)
    time.others = 0.005
    for _ in range(10):
        turns.rest()
        time.now += turns.slice
    assert turns.slice == LONGEST
    time.others = REST
    for _ in range(10):
        turns.rest()
        time.now += turns.slice
    assert turns.slice == SHORTEST
