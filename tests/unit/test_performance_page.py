"""The benchmarks' judge can fail, their server counts what arrived, and the pages show what was measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import budgets
import check
import install_size
import latency
import page
import pytest
import server
from cramjam import snappy
from rows import Row

ROOT = Path(__file__).parents[2]

PAGE = (ROOT / "docs" / "performance.md").read_text()
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
KEPT = json.loads(check.KEPT.read_text())
COMMAND = re.compile(r"^(?:    |.*`)((?:make|python) [^`#\n]+)", re.MULTILINE)


def table(text: str, name: str) -> list[list[str]]:
    """The cells of a table that benchmarks/page.py has put there, its head left out."""
    held = next(found["held"] for found in page.PLACE.finditer(text) if found["name"] == name)
    lines = [line for line in held.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line][1:]


def row(name: str, **figures: float) -> Row:
    return Row("way of a record", name, figures)


def exists(command: str) -> bool:
    """Tell whether a command of the page can be typed: its target, or its script with all its options."""
    words = command.split()
    if words[0] == "make":
        return f"\n{words[1]}:" in MAKEFILE
    script = ROOT / words[1]
    options = [word for word in words[2:] if word.startswith("--")]
    return script.is_file() and all(f'"{option}"' in script.read_text() for option in options)


def test_the_commands_of_the_page_exist() -> None:
    """A number without the command that makes it would be a claim."""
    commands = COMMAND.findall(PAGE)
    assert len(commands) > 12
    assert [command for command in commands if not exists(command)] == []
    assert not exists("make nothing")
    assert not exists("python benchmarks/record.py --nothing")


def test_every_table_is_there() -> None:
    """Each place holds what a command has put there; each follows the command of its section."""
    names = [found["name"] for found in page.PLACE.finditer(PAGE)]
    assert set(names) >= {
        "budgets",
        "way of a record",
        "stage",
        "time in the call",
        "agent",
        "peers",
        "start",
    }
    assert [name for name in names if not table(PAGE, name)] == []
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        if "<!-- begin:" in section:
            assert COMMAND.search(section.partition("<!-- begin:")[0]), section


def test_every_extra_has_its_size() -> None:
    """One that is added later is measured too: `make bench-install`."""
    shown = [cells[0] for cells in table(PAGE, "installed")]
    assert shown == [f"logferry[{extra}]" if extra else "logferry" for extra in install_size.extras()]


def test_the_readme_agrees_with_the_page() -> None:
    """The README's short table is made of the same run."""
    held = {name: cells for name, *cells in table(PAGE, "way of a record")}
    shown = table(README, "summary")
    assert len(shown) == len(page.SUMMARY)
    for (words, cpu, ratio), name in zip(shown, page.SUMMARY, strict=True):
        assert (words, cpu) == (page.SUMMARY[name], held[name][0])
        assert abs(float(ratio) - float(held[name][1])) < 0.06


def test_the_page_says_which_budgets_are_not_met() -> None:
    """The table of the budgets names each of them, with its bound and a verdict."""
    shown = {cells[0]: cells for cells in table(PAGE, "budgets")}
    assert shown.keys() == {budget.what for budget in budgets.BUDGETS}
    assert all(cells[3].startswith(("met", "not met", "not measured")) for cells in shown.values())


def test_the_page_says_the_margins() -> None:
    """The margins of the code are those of the page."""
    said = PAGE.partition("may be worse by")[2].partition("<!--")[0]
    for figures in check.MARGINS.values():
        for margin in figures.values():
            assert f"{margin.share * 100:g} %" in said
            assert not margin.slack or re.search(rf"{margin.slack:g}( MiB| of the floor| \|)", said)


@pytest.mark.parametrize("size", sorted(KEPT))
def test_what_is_kept_is_guarded(size: str) -> None:
    """Each kept figure, made worse than its margin, is found; as it was kept, none is."""
    held = KEPT[size]["rows"]
    rows = [Row(*key.split(": ", 1), dict(figures)) for key, figures in held.items()]
    assert len(rows) > 10
    assert check.worse(rows, held) == []
    for each in rows:
        for figure, value in each.figures.items():
            more = check.MARGINS[each.section][figure].bound(value) + 0.01
            slow = replace(each, figures={**each.figures, figure: more})
            assert [(w.row, w.figure) for w in check.worse([slow], held)] == [(each.key, figure)]


def test_three_more_microseconds_are_more_than_the_margin() -> None:
    """Where the floor is ten microseconds, which is slow, three more in a log call are 0.3 of it."""
    for name in ("five extras", "structlog's own logger"):
        key = f"one record: {name}"
        slower = Row("one record", name, {"ratio": KEPT["short"]["rows"][key]["ratio"] + 0.33})
        assert check.worse([slower], KEPT["short"]["rows"]), name


def test_what_is_lost_is_worse() -> None:
    """A way that is fast because it loses is no improvement; a row that is gone is said."""
    assert check.worse([row("a", ratio=1.0, delivered=0.99)], {})
    assert not check.worse([row("a", ratio=1.0, delivered=1.0)], {})
    assert check.missing([row("a", ratio=1.0)], {"way of a record: a": {}, "way of a record: b": {}}) == [
        "way of a record: b"
    ]


def test_measured_again_the_smaller_counts() -> None:
    """Noise only adds; what is worse each time stays worse."""
    first, second = [row("a", ratio=3.0), row("b", ratio=1.0)], [row("a", ratio=2.0)]
    assert [each.figures["ratio"] for each in check.lower(first, second)] == [2.0, 1.0]


def test_a_budget_that_is_not_met_is_said() -> None:
    """The worst of the rows that a budget is for decides, and what was not measured is said too."""
    over = [Row("way of a record", "disk spool → Loki", {"ratio": 3.2})]
    found = {line[0]: line for line in budgets.told(over)}
    what = budgets.BUDGETS[0].what
    assert found[what][2:] == ("3.20", "not met")
    assert {line[3] for name, line in found.items() if name != what} == {"not measured in this run"}


def test_a_row_of_percentiles_is_all_calls_of_its_case() -> None:
    """Every call counts, and those of the floor come from the same processes."""
    case = latency.Case("hang", 4, "process")
    case.idle = [1.0]
    case.ours.every, case.ours.cpu = [2_000] * 980 + [50_000] * 20, 0.5
    case.floor.every, case.floor.cpu = [1_000] * 980 + [30_000] * 20, 0.25
    row, floor = case.rows()
    assert (row.name, floor.name) == ("hang, 4 threads, delivery: process", "floor, 4 threads")
    assert (row.figures["p50"], row.figures["p99"], row.figures["records"]) == (2.0, 50.0, 1000)
    assert (row.figures["p50_ratio"], row.figures["ratio"]) == (2.0, 2.0)
    assert row.figures["p99_share"] == pytest.approx(50 / 60)


def test_a_text_is_counted_in_all_of_a_compressed_body() -> None:
    """Snappy leaves the first occurrence as it is: counting that one alone made deliveries look lost."""
    body = bytes(snappy.compress_raw(b"GET /a 200 " * 50))
    assert b"GET /a 200" in body
    assert server.found(b"GET /a 200", b"POST\r\nContent-Type: application/x-protobuf", body) == 50
    assert server.found(b"GET /a 200", b"", b"GET /a 200 GET /a 200") == 2


def test_a_place_without_a_run_stays() -> None:
    """Only what was measured is replaced."""
    text = "".join(f"<!-- begin: {n}, made by benchmarks/page.py -->\nold\n<!-- end -->\n" for n in "ab")
    filled = page.fill(text, {"a": "new"})
    assert filled.count("old") == 1
    assert filled.index("new") < filled.index("old")
