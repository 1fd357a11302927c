"""File systems of a program's own, and no right to pass over permissions (Linux, util-linux)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

__all__ = ["own_disks"]

_OWN_DISKS = ["unshare", "--mount", "--", "setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"]
_AS_NOBODY_SPECIAL = ["unshare", "--user", "--map-root-user", *_OWN_DISKS[1:]]


def own_disks() -> Sequence[str]:
    """Return what to put before a command so that it may mount for itself; empty where that cannot be had."""
    for under in (_OWN_DISKS, _AS_NOBODY_SPECIAL):
        if shutil.which("unshare"):
            tried = subprocess.run([*under, "true"], capture_output=True, check=False)
            if tried.returncode == 0:
                return under
    return []
