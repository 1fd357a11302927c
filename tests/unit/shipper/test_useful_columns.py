"""Which columns are read: those of the frame that an event is in, unless it has a few lines only."""

from __future__ import annotations

from logferry.shipper.core.columns import useful
from logferry.shipper.model import Beside


def test_a_frame_is_found_by_each_of_its_events() -> None:
    """Between frames, before the first and behind the last there is nothing."""
    beside = [Beside(100, 16, b"a"), Beside(116, 40, b"b"), Beside(200, 1000, b"c")]
    found = {number: useful(beside, number) for number in range(90, 1210)}
    for number, one in found.items():
        there = [other for other in beside if other.first <= number < other.first + other.size]
        assert one is (there[0] if there else None)
    assert useful((), 7) is None


def test_frames_of_a_few_lines_are_passed_over() -> None:
    """A slow file's backlog, a frame for each line: its lines are decoded, many in one call."""
    beside = [Beside(number, 1, b"x") for number in range(100)] + [Beside(100, 50, b"y")]
    assert [number for number in range(150) if useful(beside, number)] == [*range(100, 150)]
