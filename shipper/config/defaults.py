"""Where things lie when the configuration does not say: the user's own directories, on Linux and macOS."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["state_dir"]


def state_dir(environ: Mapping[str, str], home: Path | None = None, platform: str = sys.platform) -> Path:
    """Return the user's state directory for logferry (it need not exist)."""
    own = home or Path.home()
    if platform == "darwin":
        return own / "Library" / "Application Support" / "logferry"
    named = environ.get("XDG_STATE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return (Path(named) if named.startswith("/") else own / ".local" / "state") / "logferry"
