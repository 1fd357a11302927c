"""The proof, and its table: everything at full size, or a table of what was tried.

    python tests/prove.py run [--effort 10] [--minutes 60] [--most 180] [--only WORD...] [--also COMMIT...]
                              [--json FILE]
    python tests/prove.py table EVIDENCE [--json FILE]      # of lines that the fixture `evidence` wrote
    python tests/prove.py docs build/prove.json             # puts it into docs/reliability.md
    python tests/prove.py matrix EVIDENCE                   # puts the matrix of sinks and faults alone there

`run` runs all tests with LOGFERRY_EFFORT set, and the soak. It fails when anything fails or a record is lost.
It takes some hours: what has passed is kept for its commit, and the same command again goes on with the rest.
`--also` takes what was not run at this commit from another one; the table says which parts those are.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- begin: made by tests/prove.py -->", "<!-- end -->"
BEGIN_MATRIX = "<!-- begin: the matrix, made by tests/prove.py -->"
MATRIX = "LOGFERRY_EFFORT=10 python -m pytest tests/integration/test_fault_matrix.py"


@dataclass(slots=True)
class Cell:
    """A sink that met a fault: how often, with how many events, and what became of them."""

    sink: str
    fault: str
    tried: int = 0
    events: int = 0
    lost: int = 0
    twice: int = 0
    dead: int = 0

    def __str__(self) -> str:
        said = [f"**{self.lost:,} lost**" if self.lost else "ok", f"{self.events:,}"]
        said += [f"{self.twice:,} twice"] * bool(self.twice) + [f"{self.dead:,} dead"] * bool(self.dead)
        return ", ".join(said)


@dataclass(slots=True)
class Row:
    """One fault: how often it was tried, what was lost, how long that took, and the tests that did it."""

    fault: str
    tried: int = 0
    lost: int = 0
    seconds: float = 0.0
    tests: list[str] = field(default_factory=list)

    @property
    def commands(self) -> list[str]:
        """Return what to type to see it again."""
        return [test if test.startswith("make ") else f"python -m pytest {test}" for test in self.tests]


def _entries(evidence: Path) -> Iterator[dict[str, Any]]:
    lines = evidence.read_text().splitlines() if evidence.exists() else []
    return map(json.loads, lines)


def cells(evidence: Path) -> list[Cell]:
    """Add up the cells of the matrix."""
    found: dict[tuple[str, str], Cell] = {}
    for facts in (entry["cell"] for entry in _entries(evidence) if "cell" in entry):
        key = facts["sink"], facts["fault"]
        cell = found.setdefault(key, Cell(*key))
        cell.tried += 1
        for name in ("events", "lost", "twice", "dead"):
            setattr(cell, name, getattr(cell, name) + facts[name])
    return list(found.values())


def rows(evidence: Path) -> list[Row]:
    """Add up the lines of the evidence, in order of their first appearance by test."""
    found: dict[str, Row] = {}
    for entry in _entries(evidence):
        row = found.setdefault(entry["row"], Row(entry["row"]))
        row.tried += entry["tried"]
        row.lost += entry["lost"]
        row.seconds += entry["seconds"]
        if entry["test"] not in row.tests:
            row.tests.append(entry["test"])
    return sorted(found.values(), key=lambda row: (row.tests[0].startswith("make "), row.tests, row.fault))


def result(found: Sequence[Row], matrix: Sequence[Cell] = (), **facts: Any) -> dict[str, Any]:
    """Return what is written as JSON."""
    return {
        "made": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **facts,
        "rows": [asdict(row) | {"commands": row.commands} for row in found],
        "cells": [asdict(cell) for cell in matrix],
    }


def table(found: Sequence[Row]) -> str:
    """Return the table for a terminal."""
    width = max((len(row.fault) for row in found), default=5)
    lines = [f"{'fault':{width}}  {'tried':>9}  {'lost':>6}  {'seconds':>8}"]
    lines += [f"{r.fault:{width}}  {r.tried:>9,}  {r.lost:>6,}  {r.seconds:>8.1f}" for r in found]
    return "\n".join(lines)


def markdown(made: dict[str, Any]) -> str:
    """Return the table for the documentation."""
    machine = f"{made['machine']}, Python {made['python']}"
    how = f"effort {made['effort']:g}"
    if any(command.startswith("make soak") for row in made["rows"] for command in row["commands"]):
        how += f", soak of {made['minutes']:g} minutes"
    if made.get("commit"):
        how += f", commit {made['commit']}"
    rest = "".join(f" Of {commit}: {', '.join(names)}." for commit, names in made.get("earlier", {}).items())
    if missing := len(made.get("left", ())) + len(made.get("failed", ())):
        rest += f" {missing} parts of `make prove` had not passed yet."
    lines = [
        f"Made on {made['made']} ({machine}), {how}.{rest}",
        "",
        "| fault | tried | lost | seconds | command |",
        "|---|---:|---:|---:|---|",
    ]
    for row in made["rows"]:
        commands = "<br>".join(f"`{command}`" for command in row["commands"])
        lines.append(
            f"| {row['fault']} | {row['tried']:,} | {row['lost']:,} | {row['seconds']:.0f} | {commands} |"
        )
    return "\n".join(lines)


def matrix_markdown(made: dict[str, Any]) -> str:
    """Return the matrix for the documentation: sinks beside each other, faults below each other."""
    from servers.cells import DASHES, LANES, ROWS

    found = {(cell.sink, cell.fault): cell for cell in (Cell(**facts) for facts in made["cells"])}
    notes = {reason: chr(ord("a") + number) for number, reason in enumerate(dict.fromkeys(DASHES.values()))}
    lost, events = sum(cell.lost for cell in found.values()), sum(cell.events for cell in found.values())
    lines = [
        f"Made on {made['made']} ({made['machine']}, Python {made['python']}).",
        f"{len(found)} cells, {events:,} events, {lost:,} lost.",
        "",
        f"    {MATRIX}",
        "",
        f"| fault | {' | '.join(LANES)} |",
        f"|---|{'---|' * len(LANES)}",
    ]
    for row in ROWS:
        texts = []
        for sink in LANES:
            reason = DASHES.get((sink, row), "")
            dash = f"\N{EN DASH} ({notes[reason]})" if reason else "not tried"
            texts.append(str(found.get((sink, row), dash)))
        lines.append(f"| {row} | {' | '.join(texts)} |")
    return "\n".join([*lines, "", *(f"({letter}) {reason}.  " for reason, letter in notes.items())]).rstrip()


def _put(begin: str, content: str) -> None:
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{begin}\n\n{content}\n\n{END}{after}")


def write_docs(made: dict[str, Any]) -> None:
    """Put the tables in their places in docs/reliability.md; one that was not made stays."""
    if made["rows"]:
        _put(BEGIN, markdown(made))
    if made["cells"]:
        _put(BEGIN_MATRIX, matrix_markdown(made))


def parts(effort: float, minutes: float) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the command of each part: the unit tests, each file of the others, the soak."""
    pytest = [sys.executable, "-m", "pytest", "-q", "--timeout", str(int(600 * max(1.0, effort)))]
    yield "tests/unit", [*pytest, "tests/unit", "-n", str(os.cpu_count() or 1)]
    for folder in ("tests/stack", "tests/integration"):
        for file in sorted((ROOT / folder).glob("test_*.py")):
            name = str(file.relative_to(ROOT))
            yield name, [*pytest, name]
    yield "soak", [sys.executable, "-m", "soak", "--minutes", f"{minutes:g}"]


def _commit() -> str:
    """Return the name of the code that is tried; of code that is not committed nothing is kept."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    name = git("rev-parse", "--short", "HEAD")
    return name if name and not git("status", "--porcelain", "--untracked-files=no") else "changed"


def _earlier(kept: Path, name: str, also: Sequence[str]) -> tuple[str, Path] | None:
    """Return where a part has passed at another commit, and that commit's name."""
    size = kept.name.partition("-")[2]
    places = [(commit, kept.with_name(f"{commit}-{size}") / _shown(name)) for commit in also]
    return next((place for place in places if place[1].exists()), None)


def _shown(part: str) -> str:
    return f"{part.replace('/', '.')}.jsonl"


def run(
    effort: float,
    minutes: float,
    target: Path,
    most: float,
    only: Sequence[str] = (),
    also: Sequence[str] = (),
) -> int:
    """Run what did not pass yet, one part after the other, for at most `most` minutes; return the exit code.

    What a part that passed has shown is kept under the name of the commit beside `target`: a proof that was
    interrupted, or a part that failed on a busy machine, is taken up by the same command. `only` begins those
    parts whose names hold one of these words; the table is of all that has passed. A part that was not begun
    counts as it passed at the first of the commits `also` that has it.
    """
    begun, commit = time.monotonic(), _commit()
    kept = target.parent / "prove" / f"{commit}-{effort:g}-{minutes:g}"
    if commit == "changed":
        shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True, exist_ok=True)
    passed: list[Path] = []
    failed, left = [], []
    earlier: dict[str, list[str]] = {}
    for name, command in parts(effort, minutes):
        shown = kept / _shown(name)
        if not shown.exists():
            since = time.monotonic()
            if since - begun > most * 60 or (only and not any(word in name for word in only)):
                if then := _earlier(kept, name, also):
                    earlier.setdefault(then[0], []).append(name)
                    passed.append(then[1])
                else:
                    left.append(name)
                continue
            print(f"· {name}, effort {effort:g}, {since - begun:.0f} s so far", flush=True)
            trying = shown.with_suffix(".trying")
            trying.write_bytes(b"")
            environment = os.environ | {"LOGFERRY_EVIDENCE": str(trying), "LOGFERRY_EFFORT": f"{effort:g}"}
            path = {"PYTHONPATH": str(ROOT / "tests")} if name == "soak" else {}
            if subprocess.run(command, cwd=ROOT, env=environment | path, check=False).returncode:
                failed.append(name)
                continue
            shown.with_suffix(".seconds").write_text(f"{time.monotonic() - since:.1f}")
            trying.rename(shown)
        passed.append(shown)
    evidence = kept / "evidence"
    evidence.write_text("".join(shown.read_text() for shown in sorted(passed)))
    found, matrix = rows(evidence), cells(evidence)
    seconds = round(sum(float(shown.with_suffix(".seconds").read_text()) for shown in passed))
    facts = {"effort": effort, "minutes": minutes, "commit": commit, "earlier": earlier, "seconds": seconds}
    target.write_text(json.dumps(result(found, matrix, **facts, failed=failed, left=left), indent=1))
    print(table(found))
    print(f"{seconds} s in all, {len(passed)} parts passed; as JSON: {target}")
    for what, names in (*earlier.items(), ("FAILED", failed), ("not run yet", left)):
        if names:
            print(f"{what}: {', '.join(names)}")
    return 1 if failed or left or any(row.lost for row in found) else 0


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    full = commands.add_parser("run")
    full.add_argument("--effort", type=float, default=10)
    full.add_argument("--minutes", type=float, default=60)
    full.add_argument("--most", type=float, default=math.inf, help="begin no part after so many minutes")
    full.add_argument("--only", nargs="+", default=[], metavar="WORD", help="begin these parts alone")
    full.add_argument("--also", nargs="+", default=[], metavar="COMMIT", help="what has passed there counts")
    full.add_argument("--json", type=Path, default=ROOT / "build" / "prove.json")
    short = commands.add_parser("table")
    short.add_argument("evidence", type=Path)
    short.add_argument("--json", type=Path)
    short.add_argument("--minutes", type=float, default=0)
    docs = commands.add_parser("docs")
    docs.add_argument("json", type=Path)
    alone = commands.add_parser("matrix")
    alone.add_argument("evidence", type=Path)
    options = parser.parse_args()
    if options.command == "run":
        return run(options.effort, options.minutes, options.json, options.most, options.only, options.also)
    if options.command == "docs":
        write_docs(json.loads(options.json.read_text()))
        return 0
    if options.command == "matrix":
        write_docs(result((), cells(options.evidence)))
        return 0
    found = rows(options.evidence)
    print(table(found))
    if options.json:
        effort = float(os.environ.get("LOGFERRY_EFFORT") or 1)
        made = result(found, cells(options.evidence), effort=effort, minutes=options.minutes)
        options.json.write_text(json.dumps(made, indent=1))
    return 1 if any(row.lost for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
