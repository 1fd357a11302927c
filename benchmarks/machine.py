"""Where figures were measured: they mean nothing without it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

__all__ = ["describe", "write"]

PACKAGES = ("logferry", "orjson", "msgspec", "cramjam", "urllib3", "google-re2", "python-json-logger")


def describe() -> dict[str, object]:
    """Return the machine, the interpreter and the versions of what a record passes through."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "load": os.getloadavg(),
        "versions": versions,
    }


def write(path: Path, figures: Mapping[str, object]) -> None:
    """Write figures as JSON, with the machine and the time."""
    measured = datetime.now(UTC).isoformat(timespec="seconds")
    path.write_text(json.dumps({"measured": measured, "machine": describe(), **figures}, indent=1) + "\n")
