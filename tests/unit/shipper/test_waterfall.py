"""A trace as a waterfall: the tree, what is missing in it, and how it looks."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from logferry.shipper.cli.output import Output
from logferry.shipper.cli.waterfall import show_waterfall
from logferry.shipper.core.waterfall import Waterfall, waterfall

TRACE = "a" * 32


def event(number: int, parent: int = 0, *, at: int = 0, took: float = 10.0, **more: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2026-01-01T00:00:00.{at + int(took):03d}000Z",
        "level": "INFO",
        "service": "shop",
        "trace_id": TRACE,
        "span_id": f"{number:016x}",
        "message": f"s{number}",
        "kind": "span",
        "started": f"2026-01-01T00:00:00.{at:03d}000Z",
        "duration_ms": took,
        **({"parent_id": f"{parent:016x}"} if parent else {}),
        **more,
    }


def shape(fall: Waterfall) -> list[tuple[str, int, int, int]]:
    return [(row.span.name, row.depth, row.offset, row.length) for row in fall.rows]


def test_children_stand_below_their_parents_in_time() -> None:
    line = {"timestamp": "2026-01-01T00:00:00.005000Z", "level": "ERROR", "service": "stock", "message": "x"}
    fall = waterfall(
        [
            line,
            event(3, 2, at=20, took=5),
            event(2, 1, at=10, took=30),
            event(4, 1, at=5, took=2),
            event(1, at=0, took=100, kind="access", method="GET", endpoint="/o"),
        ]
    )
    assert shape(fall) == [
        ("GET /o", 0, 0, 100_000),
        ("s4", 1, 5_000, 2_000),
        ("s2", 1, 10_000, 30_000),
        ("s3", 2, 20_000, 5_000),
    ]
    assert fall.lines == (line,)
    assert (fall.services, fall.errors, fall.length) == (("stock", "shop"), 1, 100_000)


def test_what_has_not_ended_is_open_and_what_names_a_stranger_is_an_orphan() -> None:
    begun = event(2, 1, at=10, kind="span_start")
    del begun["duration_ms"]
    fall = waterfall([begun, event(1, 9, at=0, took=50)])
    first, second = fall.rows
    assert (first.orphan, first.open) == (True, False)
    assert (second.orphan, second.open, second.length, second.depth) == (False, True, 40_000, 1)


def test_nothing_is_nothing() -> None:
    assert waterfall([]) == Waterfall(0, 0, (), (), (), 0)


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 900)), max_size=12))
def test_every_span_stands_once_whatever_its_parents(given_: list[tuple[int, int, int]]) -> None:
    fall = waterfall([event(number, parent, at=at) for number, parent, at in given_])
    assert sorted(row.span.span_id for row in fall.rows) == sorted({f"{n:016x}" for n, _, _ in given_})
    for before, row in zip(fall.rows, fall.rows[1:], strict=False):
        assert row.depth <= before.depth + 1


def shown(fall: Waterfall, width: int) -> str:
    stream = io.StringIO()
    show_waterfall(Output(people=True, colour=False, stream=stream, width=width), TRACE, fall, lines=True)
    return stream.getvalue()


def test_how_it_looks() -> None:
    fall = waterfall(
        [
            event(1, at=0, took=100, kind="access", method="GET", endpoint="/o", failed=True),
            event(2, 1, at=50, took=25, service="stock"),
            {
                "timestamp": "2026-01-01T00:00:00.060000Z",
                "level": "INFO",
                "service": "stock",
                "message": "hi",
            },
        ]
    )
    assert shown(fall, 60).splitlines() == [
        f"trace {TRACE}",
        "2026-01-01 00:00:00 UTC · shop, stock · 2 spans · 100.0 ms",
        "shop  GET /o █████████████████████████████████ 100.0 ms ✗",
        "stock └ s2                   ████████▎         25.0 ms",
        "",
        "  +60.0 ms 00:00:00.060 INFO     stock      hi",
    ]


def test_names_do_not_steer_the_terminal_or_break_the_frame() -> None:
    fall = waterfall([event(1, message="\x1b[2J" + "long " * 100), event(2, 1, at=900, took=0.001)])
    lines = shown(fall, 80).splitlines()
    assert "\x1b" not in "".join(lines)
    assert all(len(line) <= 90 for line in lines[1:])
