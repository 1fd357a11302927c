"""The machine's systemd as the first process of namespaces of its own, with nothing but the units of a test.

It has processes, mounts, control groups and a /run of its own; files and the network are the machine's, so
that the tests' servers can be reached. Needs root, util-linux and control groups of version 2. It ends with
its block.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

__all__ = ["Systemd"]

_PROGRAM: Final = "/lib/systemd/systemd"
_PATIENCE: Final = 60.0
_INSIDE: Final = """
set -e
mount --make-rprivate /
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind -o ro /proc/sys /proc/sys
mkdir -p /run/none
export container=tests SYSTEMD_UNIT_PATH="$0" SYSTEMD_GENERATOR_PATH=/run/none
export SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/run/none PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec """
_TARGETS: Final = ("basic", "default", "multi-user", "network-online", "shutdown", "sysinit")


def _groups() -> Path | None:
    """Return where control groups of version 2 are, if groups can be made there."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(place)
    return None


class Systemd:
    """`units` is where it finds its units; it starts none by itself."""

    def __init__(self, units: Path) -> None:
        self._units = units
        self._group = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0

    @staticmethod
    def missing() -> str:
        """Return why it cannot run here; empty when it can, as far as can be seen."""
        if not Path(_PROGRAM).exists():
            return "no systemd here: apt-get install systemd"
        if os.geteuid() != 0:
            return "systemd in namespaces of its own needs root"
        if shutil.which("unshare") is None or shutil.which("nsenter") is None:
            return "unshare and nsenter are not here: apt-get install util-linux"
        return "" if _groups() is not None else "no control groups of version 2 here"

    def __enter__(self) -> Self:
        for name in _TARGETS:
            (self._units / f"{name}.target").write_text("[Unit]\nDefaultDependencies=no\n")
        groups = _groups()
        assert groups is not None
        self._group = groups / f"logferry-tests-{os.getpid()}"
        self._group.mkdir()
        options = ["--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--cgroup", "--uts", "--ipc"]
        inside = f"{_INSIDE}{_PROGRAM} --system --unit=default.target --log-target=null --show-status=no"
        enter = f'echo $$ > "{self._group}/cgroup.procs" && exec "$@"'
        command = ["sh", "-c", enter, "sh", "unshare", *options, "sh", "-c", inside, str(self._units)]
        nothing = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is not None:
            process.kill()  # and with it the first process, and with that all others
            process.wait()
        for _ in range(500):
            with suppress(OSError):
                for place in sorted(self._group.rglob("*/"), reverse=True):
                    place.rmdir()
                self._group.rmdir()
            if not self._group.exists():
                return
            time.sleep(0.02)

    def is_up(self) -> bool:
        """Wait for it; False: it does not come up."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            with suppress(OSError, IndexError):
                children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
                self._first = int(children.read_text().split()[0])
                if self.control("show", "--property=Version").startswith("Version="):
                    return True
            time.sleep(0.05)
        return False

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command among its processes and mounts."""
        inside = ["nsenter", f"--target={self._first}", "--mount", "--pid", "--cgroup", "--", *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=120, check=False)

    def control(self, *command: str) -> str:
        """Return what systemctl says."""
        return self.run("systemctl", "--no-pager", *command).stdout

    def properties(self, unit: str) -> dict[str, str]:
        """Return what it knows of a unit."""
        lines = self.control("show", unit).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)
