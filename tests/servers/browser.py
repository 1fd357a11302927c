"""A real browser for the local page: Debian's headless Chromium, unpacked into the cache.

`install()` fetches it with every library that it needs, whether the machine has them or not (but for the C
library), and its own fonts: nothing of a browser that happens to be installed is used. `opened()` drives it
through Playwright. It runs without its sandbox, which a container rarely allows; what it is shown comes from
loopback.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .cache import binary

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["home", "install", "opened", "required"]

PROGRAM: Final = "usr/lib/chromium/chromium-headless-shell"
WANTED: Final = (
    *("chromium-headless-shell", "fonts-inter", "fonts-jetbrains-mono"),
    *("fonts-dejavu-core", "fonts-wqy-microhei"),
)
# What is unpacked, of all that the packages ask for: no perl, no systemd, and the machine's own C library.
_USED: Final = re.compile(r"(chromium|fonts|lib(?!c6$|llvm|perl|pam|systemd|crypt1$))")


def home() -> Path:
    """Return where the browser is unpacked, whether it is or not."""
    return binary("rsyslog").with_name("chromium-debian")


def install() -> bool:
    """Unpack the browser, unless it is there; False: it could not be had."""
    target = home()
    if target.exists():
        print(f"· chromium is there: {target}", flush=True)
        return True
    if any(shutil.which(tool) is None for tool in ("apt-get", "dpkg-deb", "ldd")):
        print("· chromium comes as Debian packages, and this is no Debian", flush=True)
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    print("· fetching Debian's headless Chromium with its libraries: 130 MB (once)", flush=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        nothing = Path(scratch) / "nothing-is-installed"
        nothing.touch()
        names = _closure(nothing)
        if not names:  # the lists of packages may never have been fetched
            subprocess.run(["apt-get", "update", "-q"], capture_output=True, check=False)
            names = _closure(nothing)
        archives = Path(scratch) / "archives"
        archives.mkdir()
        fetch = ["apt-get", "download", "-q", *names]
        done = subprocess.run(fetch, cwd=archives, capture_output=True, text=True, check=False)
        if not names or done.returncode:
            sys.stderr.write(f"chromium: {done.stderr.strip()[-500:]}\n")
            return False
        root = Path(scratch) / "root"
        for file in archives.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", file, root], check=True)
        missing = _missing(root)
        if missing:
            sys.stderr.write(f"chromium: libraries are missing: {', '.join(missing)}\n")
            return False
        root.replace(target)
    print(f"· chromium: {target}", flush=True)
    return True


def _closure(nothing: Path) -> list[str]:
    """Return all packages that the browser needs on a machine that has `nothing`."""
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", "-q"]
    command += ["-o", f"Dir::State::status={nothing}", "-o", "Debug::NoLocking=1", *WANTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"^Inst (\S+)", done.stdout, re.MULTILINE)
    return [name for name in found if _USED.match(name)]


def _missing(root: Path) -> list[str]:
    """Return the libraries that the unpacked browser would not find."""
    told = subprocess.run(
        ["ldd", root / PROGRAM], env=_environ(root), capture_output=True, text=True, check=False
    )
    return re.findall(r"^\s*(\S+) => not found", told.stdout, re.MULTILINE)


def _environ(root: Path) -> dict[str, str]:
    libraries = [
        str(path) for pattern in ("usr/lib/*-linux-gnu*", "lib/*-linux-gnu*") for path in root.glob(pattern)
    ]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries), "FONTCONFIG_PATH": str(root / "etc/fonts")}


def required() -> None:
    """Skip a test, or fail where servers are required, when the browser is not there."""
    if home().exists():
        return
    import pytest

    message = (
        "chromium is not installed: python tests/servers/install.py chromium (unpacks Debian's packages)"
    )
    if os.environ.get("LOGFERRY_REQUIRE_SERVERS") == "1":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@contextmanager
def opened(directory: Path) -> Iterator[Browser]:
    """Give a running browser; what it and its fonts cache goes into `directory`."""
    from playwright.sync_api import sync_playwright

    root = home()
    fonts = directory / "fonts.conf"
    families = {"sans-serif": "Inter", "system-ui": "Inter", "monospace": "JetBrains Mono"}
    fonts.write_text(
        f'<?xml version="1.0"?><fontconfig><dir>{root}/usr/share/fonts</dir>'
        f"<cachedir>{directory}/fonts</cachedir>"
        + "".join(
            f"<alias><family>{name}</family><prefer><family>{font}</family>"
            "<family>WenQuanYi Micro Hei</family></prefer></alias>"
            for name, font in families.items()
        )
        + "</fontconfig>"
    )
    environ = {**_environ(root), "FONTCONFIG_FILE": str(fonts), "HOME": str(directory)}
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(root / PROGRAM), args=arguments, env=environ, timeout=120_000
        )
        try:
            yield browser
        finally:
            browser.close()
