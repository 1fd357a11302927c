"""Containers: Docker's json-file and the CRI's lines, and what a path says of the container.

What the program itself wrote is understood like any line (`auto`); its time counts where it names its zone,
else the runtime's does. Parts of a long line (CRI's `P`, Docker's without a line break) are joined before
(`joiners.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from .model import Fields
from .times import Times

__all__ = ["CRI_LINE", "DOCKER_START", "Cri", "Docker", "metadata_of"]

CRI_LINE: Final = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([PF])"
    rb"(?::[^ \n]{1,64})? ?"
)
DOCKER_START: Final = b'{"log":"'
_WHEN: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ZONED: Final = re.compile(
    rb"[^\n]{0,64}?\d\d:\d\d:\d\d(?:[.,]\d{1,9})? ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)(?![0-9A-Za-z])"
)
_POD: Final = re.compile(
    r".*/pods/(?P<namespace>[a-z0-9.-]{1,253})_(?P<pod>[a-z0-9.-]{1,253})_(?P<pod_uid>[0-9a-f-]{8,64})"
    r"/(?P<container>[a-z0-9.-]{1,253})/(?P<container_restart>\d{1,6})\.log[^/]*\Z"
)
_LINK: Final = re.compile(
    r".*/containers/(?P<pod>[a-z0-9.-]{1,253})_(?P<namespace>[a-z0-9.-]{1,253})"
    r"_(?P<container>[a-z0-9.-]{1,253}?)-(?P<container_id>[0-9a-f]{64})\.log\Z"
)
_ID: Final = re.compile(r".*/containers/(?P<container_id>[0-9a-f]{64})/[0-9a-f]{64}-json\.log[^/]*\Z")
Inner = Callable[[bytes], Fields]


def metadata_of(path: str) -> dict[str, str]:
    """Return what the path of a log says of its container; nothing when it is no container's."""
    if "/containers/" not in path and "/pods/" not in path:
        return {}
    for form in (_POD, _LINK, _ID):
        found = form.match(path)
        if found is not None:
            return found.groupdict()
    return {}


def _wrapped(inner: Fields, when: str | None, said: bytes, stream: Any) -> Fields:
    """Return what a program's line says, with what its runtime knows."""
    if when is not None and ("timestamp" not in inner or _ZONED.match(said[:160]) is None):
        inner["timestamp"] = when
    if isinstance(stream, str):
        inner["stream"] = stream
    return inner


class Docker:
    """Docker's json-file. `inner` understands what the program wrote."""

    name = "docker"

    def __init__(self, times: Times, inner: Inner) -> None:
        self._times = times
        self._inner = inner

    def read(self, line: bytes) -> Fields | None:
        """Return what a line says; None: Docker has not written it."""
        if line[:1] != b"{":
            return None
        try:
            content = orjson.loads(line)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(content, dict) or not isinstance(content.get("log"), str):
            return None
        if "stream" not in content or "time" not in content:
            return None
        said = content.pop("log").encode("utf-8", "replace").rstrip(b"\r\n \t")
        time, stream = content.pop("time", None), content.pop("stream", None)
        when = _WHEN.match(time) if isinstance(time, str) else None
        attributes = content.pop("attrs", None)
        fields = self._inner(said)
        if isinstance(attributes, dict):
            fields |= {f"container.{name}": value for name, value in attributes.items()}
        for name, value in content.items():
            fields.setdefault(name, value)
        return _wrapped(fields, self._times.match(when) if when else None, said, stream)


class Cri:
    """The lines of containerd and CRI-O. `inner` understands what the program wrote."""

    name = "cri"

    def __init__(self, times: Times, inner: Inner) -> None:
        self._times = times
        self._inner = inner

    def read(self, line: bytes) -> Fields | None:
        """Return what a line says; None: no runtime has written it."""
        found = CRI_LINE.match(line)
        if found is None:
            return None
        said = line[found.end() :].rstrip(b"\r\n \t")
        when = _WHEN.match(found[1].decode())
        stream = found[2].decode()
        return _wrapped(self._inner(said), self._times.match(when) if when else None, said, stream)
