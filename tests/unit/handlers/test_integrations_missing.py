"""An integration whose library is not installed says which extra brings it.

Patches are undone without a trace.
"""

from __future__ import annotations

import builtins
import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from logferry.handlers import integrations
from logferry.handlers.integrations._patch import Patches

ROOT = Path(__file__).parents[3]
FOLDER = Path(str(integrations.__file__)).parent
# Modules of libraries that logferry does not depend on, each with the extra that its error must name.
WITH_LIBRARY = sorted(
    path.stem for path in FOLDER.glob("*.py") if "from ._needs import missing" in path.read_text()
)


@pytest.mark.parametrize("name", WITH_LIBRARY)
def test_the_error_names_an_extra_that_exists(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed anew without its library."""
    source = (FOLDER / f"{name}.py").read_text()
    block = source[source.index("\ntry:") : source.index("\nexcept ImportError")]
    libraries = {one.partition(".")[0] for one in re.findall(r"(?:import|from) ([\w.]+)", block)}
    real = builtins.__import__

    def without(wanted: str, *args: Any, **kwargs: Any) -> Any:
        level = args[3] if len(args) > 3 else 0
        if not level and wanted.partition(".")[0] in libraries:
            raise ModuleNotFoundError(f"No module named {wanted!r}", name=wanted)
        return real(wanted, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    full = f"logferry.handlers.integrations.{name}"
    spec = importlib.util.spec_from_file_location(full, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.raises(ImportError, match=r"pip install 'logferry\[") as told:
        spec.loader.exec_module(module)
    monkeypatch.undo()
    found = re.search(r"logferry\[([\w-]+)\]", str(told.value))
    assert found is not None
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert found[1] in extras


def test_all_are_in_the_list() -> None:
    """The search above finds them."""
    assert len(WITH_LIBRARY) >= 17
    assert {"requests", "grpc", "celery", "sqlalchemy"} <= set(WITH_LIBRARY)


class Base:
    def method(self) -> str:
        return "original"


class Child(Base):
    pass


def loud(original: Any) -> Any:
    return lambda self: original(self) + "!"


def test_patches_are_undone() -> None:
    """What was inherited is inherited again; a method of one's own is the very same."""
    before = vars(Base)["method"]
    patches = Patches()
    patches.replace(Child, "method", loud)
    patches.replace(Base, "method", loud)
    assert (Child().method(), Base().method()) == ("original!", "original!")
    patches.undo()
    assert "method" not in vars(Child)
    assert vars(Base)["method"] is before


def test_somebody_elses_patch_stays() -> None:
    """Who wrapped ours meanwhile keeps his; ours is out of the way."""
    patches = Patches()
    before = vars(Base)["method"]
    patches.replace(Base, "method", loud)
    ours = Base.method
    Base.method = lambda self: ours(self) + "?"  # type: ignore[method-assign]
    assert Base().method() == "original!?"
    patches.undo()
    assert Base().method() == "original?"
    Base.method = before  # type: ignore[method-assign]
