"""Which file systems segments may be mapped on, and followed by inode."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Final

__all__ = ["maps_are_safe"]

# File systems whose maps and writes are coherent and whose pages do not vanish with a server.
_LOCAL: Final = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "ramfs", "overlay", "zfs", "f2fs", "bcachefs", "jfs")
)


def maps_are_safe(path: Path, mountinfo: str | None = None) -> bool:
    """Say whether files under `path` may be mapped: known local file systems only.

    `mountinfo` is the text of `/proc/self/mountinfo`; None reads it. Without one (macOS) only what lies
    under `/Volumes` or `/Network` is distrusted.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return sys.platform == "darwin" and not str(path).startswith(("/Volumes/", "/Network/"))
    target = os.path.realpath(path)
    best, kind = "", ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, rest = left.split(), right.split()
        if len(fields) < 5 or not rest:
            continue
        mount = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields[4])
        inside = target == mount or target.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, rest[0]
    return kind in _LOCAL
