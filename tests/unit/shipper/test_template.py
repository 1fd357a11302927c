"""Names made of an event's fields, and the few values that are read of a line for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.core.heads import Clock, Heads
from logferry.shipper.core.template import Template


@pytest.mark.parametrize(
    ("source", "values", "name"),
    [
        ("plain", [], "plain"),
        ("{service}/{host}", ["shop", "web-1"], "shop/web-1"),
        ("{{{a}}}", [7], "{7}"),
        ("{a}{b}{c}", [True, None, [1]], "true--"),
        ("{a.b}-", [1.5], "1.5-"),
    ],
)
def test_a_template_is_filled(source: str, values: list[object], name: str) -> None:
    """Text, numbers and truth values; anything else is a dash."""
    assert Template.parse(source).render(values) == name


@pytest.mark.parametrize("source", ["{", "}", "{a", "a}", "{}", "{a b}", "{{}"])
def test_a_brace_alone_is_a_mistake(source: str) -> None:
    """Its place is said."""
    with pytest.raises(ValueError, match="at character"):
        Template.parse(source)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_value_never_changes_the_shape_of_the_name(one: str, two: str) -> None:
    """Values are cleaned, the template's own text is not."""
    name = Template.parse("a/{x}/{y}").render([one, two], lambda text: text.replace("/", "_"))
    assert name.count("/") == 2


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds the zone
def test_the_clock_reads_milliseconds_as_the_library_does(moment: datetime) -> None:
    """The quick way and the library agree, also the second time."""
    text = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    clock = Clock()
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert [clock.milliseconds(text), clock.milliseconds(text)] == [expected, expected]


@pytest.mark.parametrize(
    "text", [None, 7, "", "2026-01-31T08:00:00", "9999-99-99T99:99:99.000000Z", "x" * 27]
)
def test_what_is_no_time_is_none(text: object) -> None:
    """Without an offset it could be any zone's."""
    assert Clock().milliseconds(text) is None


def test_one_bad_line_costs_only_itself() -> None:
    """A line that is no JSON, or two in one, has no head; its neighbours have theirs."""
    heads = Heads(["a"])
    found = heads.read([b'{"a":1}', b"nonsense", b'{"a":2}\n{"a":3}', b'{"a":4}'])
    assert [None if head is None else head.f0 for head in found] == [1, None, None, 4]
