"""The soak's judge of slopes can fail, evidence is added up, the page on reliability names what exists."""

from __future__ import annotations

import ast
import json
import math
import random
import re
import sys
from pathlib import Path

import prove
import pytest
from evidence import Evidence, Tally
from servers.cells import LANES, ROWS, cells, sample
from soak.slope import trend
from soak.stores import Arrivals

ROOT = Path(__file__).parents[2]


def series(count: int, slope: float, seed: int = 1) -> list[tuple[float, float]]:
    """Memory as it is seen: noise, bursts, a saw tooth, a warm-up; and perhaps a slope."""
    chance = random.Random(seed)
    found = []
    for second in range(count):
        warm = 8.0 * min(1.0, second / (count / 5))
        burst = 6.0 if chance.random() < 0.1 else 0.0
        found.append(
            (float(second), 40 + warm + burst + second % 13 * 0.2 + chance.gauss(0, 0.5) + slope * second)
        )
    return found


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_slope(seed: int) -> None:
    """Bursts, a saw tooth and warming up are not a leak."""
    assert not trend(series(240, 0.0, seed), allowed=3.0).rises


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_is_a_slope(seed: int) -> None:
    """Six units in three minutes, under bursts of the same size, are seen."""
    assert trend(series(240, 6 / 180, seed), allowed=3.0).rises


def test_one_more_descriptor_every_minute_is_a_slope() -> None:
    """Whole numbers with many ties have a slope too; steady ones have none."""
    assert trend([(t, 20 + t // 60) for t in range(3600)], allowed=3).rises
    assert not trend([(t, 20 + t % 2) for t in range(3600)], allowed=3).rises


def test_too_few_samples_are_no_proof() -> None:
    """A soak that saw nothing does not pass."""
    with pytest.raises(ValueError, match="too few"):
        trend([(0, 1.0), (1, 1.0)], allowed=1)


def test_arrivals_know_what_is_missing_twice_and_beyond() -> None:
    """The bits of what arrived."""
    found = Arrivals()
    for number in (0, 1, 2, 4, 9, 9, 16):
        found.add(7, number)
    assert [found.missing(7, count) for count in (0, 3, 5, 10, 17)] == [0, 0, 1, 5, 11]
    assert found.missing(8, 5) == 5
    assert (found.doubled, found.beyond(7, 16), found.beyond(7, 17)) == (1, 1, 0)


def test_evidence_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evidence: Evidence) -> None:
    """Rows of one name are one row; without the variable nothing is written."""
    path = tmp_path / "evidence"
    monkeypatch.setenv("LOGFERRY_EVIDENCE", str(path))
    evidence("killed", tried=20, lost=0)
    evidence("killed", tried=5, lost=1)
    monkeypatch.delenv("LOGFERRY_EVIDENCE")
    evidence("killed", tried=1000, lost=0)
    (row,) = prove.rows(path)
    assert (row.fault, row.tried, row.lost) == ("killed", 25, 1)
    assert row.commands == ["python -m pytest tests/unit/test_reliability.py::test_evidence_is_added_up"]
    assert "killed" in prove.table([row])
    assert "| killed | 25 | 1 |" in prove.markdown(prove.result([row], effort=1.0, minutes=2.0))
    assert json.dumps(prove.result([row]))


def test_a_proof_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What passed is not run again for the same commit; what failed is, and what there was no time for."""
    ran, target = tmp_path / "ran", tmp_path / "prove.json"
    line = json.dumps({"row": "killed", "tried": 5, "lost": 0, "seconds": 1.0, "test": "tests/a.py::a"})
    shows = f"""
import os, sys
open({str(ran)!r}, "a").write(sys.argv[1])
open(os.environ["LOGFERRY_EVIDENCE"], "a").write({line + chr(10)!r})
sys.exit(sys.argv[1] == "b" and open({str(ran)!r}).read().count("b") == 1)
"""
    monkeypatch.setattr(
        prove, "parts", lambda *_: [(name, [sys.executable, "-c", shows, name]) for name in "abc"]
    )
    monkeypatch.setattr(prove, "_commit", lambda: "0123abc")
    assert prove.run(1, 0, target, most=0) == 1
    assert (ran.exists(), json.loads(target.read_text())["left"]) == (False, ["a", "b", "c"])
    assert prove.run(1, 0, target, most=math.inf, only=["c"]) == 1
    assert (ran.read_text(), json.loads(target.read_text())["left"]) == ("c", ["a", "b"])
    assert prove.run(1, 0, target, most=math.inf) == 1
    made = json.loads(target.read_text())
    assert (ran.read_text(), made["failed"], made["rows"][0]["tried"]) == ("cab", ["b"], 10)
    assert prove.run(1, 0, target, most=math.inf) == 0
    made = json.loads(target.read_text())
    assert (ran.read_text(), made["failed"], made["rows"][0]["tried"]) == ("cabb", [], 15)
    monkeypatch.setattr(prove, "_commit", lambda: "4567def")
    assert prove.run(1, 0, target, most=math.inf, only=["a"], also=["89ab012", "0123abc"]) == 0
    made = json.loads(target.read_text())
    assert (ran.read_text(), made["earlier"]) == ("cabba", {"0123abc": ["b", "c"]})
    assert "commit 4567def. Of 0123abc: b, c.\n" in prove.markdown(made)
    ran.write_text("cabb")
    monkeypatch.setattr(prove, "_commit", lambda: "changed")
    for _ in range(2):
        assert prove.run(1, 0, target, most=math.inf) == 0
    assert ran.read_text() == "cabb" + "abc" * 2


def exists(command: str) -> bool:
    """Tell whether a command of the page is one of the Makefile or a test."""
    if command.startswith("make "):
        return f"\n{command.split()[1]}:" in (ROOT / "Makefile").read_text()
    file, _, name = command.removeprefix("python -m pytest ").partition("::")
    if not (ROOT / file).is_file():
        return False
    names = [node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if hasattr(node, "name")]
    return not name or name.rpartition("::")[2] in names


def table(begin: str) -> list[str]:
    """Return the lines of one of the page's tables."""
    page = (ROOT / "docs" / "reliability.md").read_text()
    content = page.partition(begin)[2].partition(prove.END)[0]
    return [line for line in content.splitlines() if line.startswith("| ")]


def test_the_matrix_is_whole() -> None:
    """Each sink and each fault has its cell: nothing lost, twice only where it may be, or why not tried."""
    head, *lines = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table(prove.BEGIN_MATRIX)
    )
    assert head[1:] == list(LANES)
    assert [line[0] for line in lines] == list(ROWS)
    sensible = set(cells())
    for fault, *found in lines:
        for sink, text in zip(LANES, found, strict=True):
            if (sink, fault) not in sensible:
                assert re.fullmatch(r"\N{EN DASH} \([a-z]\)", text), (sink, fault, text)
                continue
            assert re.fullmatch(r"ok, [\d,]+(, [\d,]+ twice)?(, [\d,]+ dead)?", text), (sink, fault, text)
            assert "twice" not in text or sink not in {"loki", "elasticsearch", "s3", "local", "file"}, text
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert f"    {prove.MATRIX}\n" in page
    assert exists(prove.MATRIX.partition(" ")[2])


def test_a_cell_that_lost_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evidence: Evidence
) -> None:
    """What is lost, twice or dead is said, and added up."""
    path = tmp_path / "evidence"
    monkeypatch.setenv("LOGFERRY_EVIDENCE", str(path))
    evidence.cell("loki", "413", Tally(500, lost=0, twice=0, dead=0), 1.0)
    evidence.cell("http", "500", Tally(500, lost=0, twice=300, dead=6), 1.0)
    evidence.cell("loki", "413", Tally(500, lost=3, twice=0, dead=0), 1.0)
    lost, twice = prove.cells(path)
    assert (str(lost), str(twice)) == ("**3 lost**, 1,000", "ok, 500, 300 twice, 6 dead")
    assert (lost.tried, [row.lost for row in prove.rows(path)]) == (2, [0, 3])
    text = prove.matrix_markdown(prove.result((), [lost, twice]))
    assert "2 cells, 1,500 events, 3 lost" in text
    assert "not tried" in text


@pytest.mark.parametrize("seed", range(20))
def test_a_sample_has_each_sink_and_each_fault(seed: int) -> None:
    """Whatever the seed: no fault and no sink is forgotten, and another seed tries others."""
    found = sample(seed)
    assert len(set(found)) == len(found)
    assert {row for _, row in found} == set(ROWS)
    assert set(found) <= set(cells())
    for sink in LANES:
        assert sum(name == sink for name, _ in found) >= 2
    assert found == sample(seed)
    assert found != sample(seed + 1)


def test_the_commands_of_the_table_exist() -> None:
    """Each row has a command, and each command can be run; each row says that nothing was lost."""
    lines = table(prove.BEGIN)
    assert len(lines) > 10, "the table is missing: python tests/prove.py docs build/prove.json"
    for line in lines[1:]:
        _, _, lost, _, commands = (cell.strip() for cell in line.strip("|").split("|"))
        assert lost == "0", line
        assert re.findall(r"`([^`]+)`", commands), line
        assert all(map(exists, re.findall(r"`([^`]+)`", commands))), line
    assert not exists("make nothing")
    assert not exists("python -m pytest tests/unit/test_reliability.py::test_nothing")
