"""The imports hold the layers that docs/architecture.md draws, and every `__all__` is true."""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import logferry

ROOT = Path(__file__).parents[2]
IMPURE = {
    "asyncio",
    "http",
    "mmap",
    "os",
    "random",
    "secrets",
    "select",
    "socket",
    "subprocess",
    "threading",
    "time",
}


def modules() -> list[Path]:
    """Return every module file of the two halves."""
    return sorted(p for half in ("handlers", "shipper") for p in (ROOT / half).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("logferry", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the tree and every statement within, not what these are made of: no import stands in there."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            todo += getattr(node, name, ())


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Return the absolute names of all modules that `path` imports, wherever the statement stands."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found |= {stem} | {f"{stem}.{alias.name}" for alias in node.names if node.level}
    return frozenset(found)


def layer(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[1:3]) if parts[1:2] == ["shipper"] else ".".join(parts[1:2])


# layer → what it must never import (prefixes of layers)
PIPE = {"shipper.cli", "shipper.demo"}
LEAVES = {"shipper.sinks", "shipper.sources", "shipper.store", *PIPE}
FORBIDDEN: dict[str, set[str]] = {
    "handlers": {"shipper"},
    "shipper.model": {"handlers", "shipper."},
    "shipper.core": {"shipper.spool", "shipper.worker", "shipper.pipeline", "shipper.config", *LEAVES},
    "shipper.ports": {
        "shipper.spool",
        "shipper.worker",
        "shipper.pipeline",
        "shipper.config",
        "shipper.core",
        *LEAVES,
    },
    "shipper.spool": {"shipper.worker", "shipper.pipeline", "shipper.config", *LEAVES},
    "shipper.worker": {"shipper.pipeline", *LEAVES},
    "shipper.config": {"shipper.pipeline", "shipper.worker", *LEAVES},
    "shipper.alerts": {"shipper.pipeline", "shipper.worker", "shipper.config", *LEAVES},
    "shipper.metrics": LEAVES,
    "shipper.registry": {"shipper.pipeline", *LEAVES},
    "shipper.sinks": {"shipper.pipeline", "shipper.worker", "shipper.sources", *PIPE},
    "shipper.sources": {"shipper.pipeline", "shipper.worker", "shipper.sinks", "shipper.store", *PIPE},
    "shipper.store": {"shipper.spool", "shipper.sinks", "shipper.pipeline", "shipper.worker", *PIPE},
    "shipper.pipeline": LEAVES,
}


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    """No module imports a layer that stands above it."""
    module = name_of(path)
    forbidden = FORBIDDEN.get(layer(module), set())
    for target in imports(path):
        if not target.startswith("logferry.") or target == module:
            continue
        theirs = layer(target)
        if layer(module) == "shipper.model":
            assert not theirs, f"{module} imports {target}"
        for bad in forbidden:
            assert not f"{theirs}.".startswith(f"{bad}."), f"{module} imports {target}"


@pytest.mark.parametrize("path", [p for p in modules() if "core" in p.parts], ids=name_of)
def test_core_is_pure(path: Path) -> None:
    """What decides touches no clock, socket, file, thread or randomness of its own."""
    assert not {target.split(".")[0] for target in imports(path)} & IMPURE


def test_sinks_do_not_know_each_other() -> None:
    """A sink imports no other sink."""
    for path in modules():
        parts = name_of(path).split(".")
        if parts[1:3] == ["shipper", "sinks"] and len(parts) > 3:
            for target in imports(path):
                theirs = target.split(".")
                if theirs[:3] == parts[:3] and len(theirs) > 3:
                    assert theirs[3] == parts[3], f"{path} imports {target}"


def test_decoders_of_classes_are_made_once() -> None:
    """Where two threads decode the same dataclass for the first time, msgspec reads what it has half made.

    That crashes. A decoder made with its module is made by one thread, which holds the lock of the import.
    """
    typed = re.compile(r"\bdecode\(.*type=(?!dict\[str, (bytes|Any)\])|\bconvert\(.*type=")
    assert not [path for path in modules() if typed.search(path.read_text())]


def public_modules() -> list[str]:
    return sorted(
        m.name for m in pkgutil.walk_packages(logferry.__path__, "logferry.") if "__main__" not in m.name
    )


@pytest.mark.parametrize("name", public_modules())
def test_all_is_true(name: str) -> None:
    """Every module names its public face, and everything in it exists."""
    module = importlib.import_module(name)
    assert hasattr(module, "__all__") or not (
        module.__file__ and Path(module.__file__).read_text().strip()
    ), name
    for public in getattr(module, "__all__", []):
        assert hasattr(module, public), f"{name}.__all__ names {public}, which is not there"
