"""The wheel lives beside an application that has its own `handlers`."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build sdist and wheel, install the wheel (and its dependencies by path) into a new environment."""
    base = tmp_path_factory.mktemp("wheel")
    out = base / "dist"
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "-o", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next(out.glob("*.whl"))
    venv.create(base / "venv", with_pip=True)
    python = base / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True, capture_output=True
    )
    # The dependencies come from the environment that runs this test; logferry itself must not.
    site = next((base / "venv" / "lib").glob("python*/site-packages"))
    ours = Path(pytest.__file__).parents[1]
    for name in ("orjson", "msgspec", "click", "yaml", "_yaml", "pythonjsonlogger"):
        (site / name).symlink_to(ours / name)
    return python


@pytest.mark.parametrize("namespace", [False, True], ids=["package", "namespace"])
def test_an_application_keeps_its_own_handlers(installed: Path, tmp_path: Path, namespace: bool) -> None:
    """`import handlers` is the application's, `logferry.handlers` is ours, whatever kind theirs is."""
    theirs = tmp_path / "handlers"
    theirs.mkdir()
    if not namespace:
        (theirs / "__init__.py").write_text("")
    (theirs / "mine.py").write_text("WHOSE = 'the application'")
    (tmp_path / "shipper.py").write_text("WHOSE = 'the application'")
    program = (
        "import handlers.mine, shipper, logferry, logferry.handlers, logferry.shipper.model, logging, sys;"
        "from logferry.handlers import JsonHandler;"
        "assert handlers.mine.WHOSE == shipper.WHOSE == 'the application';"
        "logging.basicConfig(handlers=[JsonHandler(sys.stdout, service='x')], level='INFO');"
        "logging.info('it works')"
    )
    done = subprocess.run(
        [installed, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"message":"it works"' in done.stdout


def test_the_wheel_is_whole(installed: Path) -> None:
    """All modules of both halves, the type markers and the command are in the wheel."""
    site = next(installed.parents[1].glob("lib/python*/site-packages"))
    for half in ("handlers", "shipper"):
        missing = [
            p.relative_to(ROOT)
            for p in (ROOT / half).rglob("*")
            if p.suffix in {".py", ".typed", ".json"}
            and not (site / "logferry" / p.relative_to(ROOT)).exists()
        ]
        assert not missing
    assert (installed.parent / "logferry").exists()
