"""docs/security.md names tests; this holds it to them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def functions_of(path: str) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_exists() -> None:
    """A row of the threat model without its test would be a promise only."""
    assert len(NAMED) > 20
    missing = [
        f"{path}::{name}"
        for path, name in NAMED
        if not (ROOT / path).is_file() or (name and name not in functions_of(path))
    ]
    assert missing == []


def test_every_row_names_a_test() -> None:
    """Each row of each table ends with where it is shown."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "shown by" not in line]
    assert rows
    assert [row for row in rows if "`tests/" not in row] == []
