"""References to environment variables: the shell's forms, and no surprise for regular expressions."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.config.expand import ExpandError, expand

ENVIRON = {"A": "1", "EMPTY": "", "REF": "${A}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "1"),
        ("x${A}y${A}", "x1y1"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${NO:-d}", "d"),
        ("${NO:-}", ""),
        ("${NO:-${A}}", "1"),
        ("${NO:-${EMPTY:-x}}y", "xy"),
        ("${A:-${NEVER:?asked}}", "1"),
        ("${A:?needed}", "1"),
        ("$${A}", "${A}"),
        ("${REF}", "${A}"),
        (r"^E-\d{6}$", r"^E-\d{6}$"),
        ("$A", "$A"),
        ("100$", "100$"),
    ],
)
def test_references(text: str, expected: str) -> None:
    """Each form gives what a shell would, and what a variable holds is not expanded again."""
    assert expand(text, ENVIRON) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO}", "NO is not set; set it or write"),
        ("${NO:?write the URL}", "NO is not set: write the URL"),
        ("${EMPTY:?}", "it is needed"),
        ("${A", "must be followed by"),
        ("${NO:-x", "not closed"),
        ("${A:-x", "not closed"),
        ("${1}", "variable's name"),
        ("${A!}", "must be followed by"),
    ],
)
def test_broken_references(text: str, message: str) -> None:
    """What cannot be replaced says which variable, and what to write."""
    with pytest.raises(ExpandError, match=message.replace("?", r"\?")):
        expand(text, ENVIRON)


@given(st.text(st.sampled_from("${}:-?A$x"), max_size=20))
def test_any_text_is_expanded_or_refused(text: str) -> None:
    """No text makes anything but a result or an ExpandError."""
    with contextlib.suppress(ExpandError):
        assert isinstance(expand(text, ENVIRON), str)


@given(st.text(max_size=30))
def test_an_escaped_text_is_kept(text: str) -> None:
    """`$${` always comes out as `${`."""
    plain = text.replace("$", "").replace("{", "")
    assert expand(f"{plain}$${{{plain}", {}) == f"{plain}${{{plain}"
