"""What redaction takes out of logs, line by line: how many lines, and behind which names or of which kind.

    python benchmarks/precision.py DIRECTORY...

Every file below the directories is read as text. What is counted is to be looked at: a session id is taken
because of its name, and a secret because it is one. `--show 3` shows so many lines of each.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from logferry.handlers.redaction import Redactor

_NAMED = re.compile(r"([\w.\-]{1,40})[\"'\\]*\s*(?:=>|[=:>])[\s\"'\\]*\[REDACTED")
_LONGEST = 300


def lines(places: list[Path]) -> Iterator[str]:
    """Yield the lines of all files below some places."""
    for place in places:
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                yield from path.read_text("utf-8", "replace").splitlines()


def main() -> None:
    """Read, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("places", nargs="+", type=Path)
    parser.add_argument("--show", type=int, default=0)
    given = parser.parse_args()
    redactor = Redactor()
    read, found = 0, defaultdict[str, list[str]](list)
    for line in lines(given.places):
        read += 1
        before = dict(redactor.counts)
        cleaned = redactor.clean_text(line)
        if cleaned == line:
            continue
        kinds = [kind for kind, count in redactor.counts.items() if count != before.get(kind)]
        named = _NAMED.search(cleaned)
        found[named[1].lower() if named and kinds == ["key"] else " ".join(sorted(kinds))].append(cleaned)
    print(f"{read:,} lines, {sum(map(len, found.values())):,} changed")
    for what, changed in sorted(found.items(), key=lambda item: -len(item[1])):
        print(f"{len(changed):7,}  {what}")
        for line in changed[: given.show]:
            print(f"         {line[:_LONGEST]}")


if __name__ == "__main__":
    main()
