"""Starts a delivery process: what it is given, and that nothing of the starter's comes with it.

Rules
- The job goes through a pipe, its length first: an application that forks meanwhile keeps the other end open,
  and the end of the file would never come.
- The environment that the system shows of the process holds only what an interpreter needs to start; the rest
  of the application's (proxies, credentials of AWS) is in the job.
- The first process ends as soon as the second one is there (`__main__`), so what is waited for here is short,
  and the application gets no child that it does not know.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

__all__ = ["BUSY", "LENGTH", "interpreter", "launch"]

BUSY: Final = 3
"""The exit status of a process that finds another one at work."""
LENGTH: Final = 8
"""Bytes of the number that says how long the job is."""
_TIMEOUT: Final = 10.0
_SHOWN: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "PYTHONHOME")


def interpreter() -> str:
    """Return the Python interpreter; empty when the process is something else that embeds one."""
    return sys.executable if "python" in Path(sys.executable or "").name.lower() else ""


def launch(job: Mapping[str, Any]) -> int:
    """Start a delivery process for a job; return the status: 0, or `BUSY`. Raises OSError."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    data = json.dumps({**job, "environ": environ}).encode()
    shown = {name: os.environ[name] for name in _SHOWN if name in os.environ}
    shown["PYTHONPATH"] = os.pathsep.join(os.path.abspath(place) for place in sys.path)  # noqa: PTH100 - "" is here
    process = subprocess.Popen(  # noqa: S603 - our own module, under our own interpreter
        [interpreter(), "-P", "-m", __package__],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=shown,
        close_fds=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(len(data).to_bytes(LENGTH, "big") + data)
    try:
        return process.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise OSError("the delivery process did not start in time") from None
