"""Sizes, durations and secrets: read back as written, refused when unclear, never printed."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.config.fields import (
    Secret,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1GiB", 1 << 30), ("64 KiB", 65536), ("10MB", 10_000_000), ("1.5KiB", 1536), (4096, 4096)],
)
def test_sizes(text: str | int, expected: int) -> None:
    """Binary and decimal units, with and without a space, and plain bytes."""
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", 1),
        ("250ms", 0.25),
        ("15m", 900),
        ("7d", 604800),
        ("1h30m", 5400),
        ("2", 2),
        (0.5, 0.5),
        ("1w", 604800),
    ],
)
def test_durations(text: str | float, expected: float) -> None:
    """Single and joined units, and plain seconds."""
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["1G", "GiB", "-1", "1 furlong", "", "1e9", "9" * 100, float("inf"), -1, True]
)
def test_what_is_no_size(text: str | float) -> None:
    """What could mean two things, or nothing, is refused."""
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1y", "1s1", "9" * 100 + "s", float("nan"), -1, True])
def test_what_is_no_duration(text: str | float) -> None:
    """What could mean two things, or nothing, is refused."""
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@given(st.integers(0, 1 << 60))
def test_sizes_are_read_back(size: int) -> None:
    """What is printed means the same when read."""
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 10**7).map(lambda ms: ms / 1000))
def test_durations_are_read_back(seconds: float) -> None:
    """What is printed means the same when read, to a millisecond in a million."""
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


def test_a_secret_is_never_shown_by_accident() -> None:
    """Printing, formatting, JSON and pickling do not give it away; copying keeps it."""
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {secret:}"
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(TypeError, match="reveal"):
        pickle.dumps(secret)
    assert copy.deepcopy(secret).reveal() == "hunter2"
    assert secret == Secret("hunter2") != Secret("other")
