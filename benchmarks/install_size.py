"""What an installation takes on the disk, for each extra.

    make bench-install
    python benchmarks/install_size.py [--only NAME]... [--json FILE]

For each extra a fresh virtual environment gets logferry (a wheel of this checkout) with the pinned
dependencies. What counts is what `pip install` adds: files and compiled modules, pip itself not. "s" is the
time from the start of the interpreter until `import logferry` is done, in that environment, the best of five.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

from machine import write
from rows import Row, plain, text

ROOT = Path(__file__).parents[1]
SECTION = "installed"
FILES = ("pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("logferry", "handlers", "shipper")
OURS = {"test", "dev", "docs", "peers"}  # for work on logferry itself


def extras() -> list[str]:
    """Return the extras that are for users."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return ["", *(name for name in project["optional-dependencies"] if name not in OURS)]


def wheel(place: Path) -> Path:
    """Build a wheel of this checkout, from a copy: setuptools leaves things where it builds."""
    copy = place / "source"
    copy.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(place), str(copy)]
    subprocess.run(command, check=True)
    return next(place.glob("*.whl"))


def measure_one(extra: str, built: Path, place: Path) -> Row:
    """Install one extra into an environment of its own; return what that takes."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    what = f"logferry[{extra}] @ {built.as_uri()}" if extra else str(built)
    install = [sys.executable, "-m", "pip", "--python", str(place), "install", "-q", "-c"]
    subprocess.run([*install, str(ROOT / "constraints.txt"), what], check=True)
    site = next(place.glob("lib/python*/site-packages"))
    size = sum(path.lstat().st_size for path in site.rglob("*") if not path.is_dir())
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    took = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([str(place / "bin/python"), "-c", "import logferry"], check=True, env=clean, cwd=place)
        took.append(time.perf_counter() - began)
    packages = len(list(site.glob("*.dist-info")))
    name = f"logferry[{extra}]" if extra else "logferry"
    return Row(SECTION, name, {"size": size / 2**20, "packages": packages, "seconds": min(took)})


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", action="append", default=[], help="this extra")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="logferry-bench-") as name:
        built = wheel(Path(name))
        for extra in given.only or extras():
            with tempfile.TemporaryDirectory(prefix="logferry-bench-") as place:
                rows.append(measure_one(extra, built, Path(place) / "venv"))
            print(f"· {rows[-1].name}", file=sys.stderr)
    print(text(rows))
    if given.json:
        write(given.json, {"rows": plain(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
