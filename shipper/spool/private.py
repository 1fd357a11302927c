"""Directories and files of this user alone, or shared with a group that may read.

Rules
- Directories are opened without following links, and must belong to this user (the topmost one may belong to
  root): a place that strangers can prepare is refused with `PermissionError`.
- Modes are set on the open descriptor, whatever the umask: 0700 and 0600, with a group 2750 and 0640.
"""

from __future__ import annotations

import grp
import os
from pathlib import Path

__all__ = ["group_id", "let_group_in", "open_private", "prepare_directory", "replace_file", "restrict"]


def open_private(path: Path, *, root_allowed: bool = False) -> int:
    """Open a directory that is no link and belongs to this user; return the descriptor.

    Raises PermissionError when it is not ours, OSError when it cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    owner = os.fstat(fd).st_uid
    if owner != os.geteuid() and not (root_allowed and owner == 0):
        os.close(fd)
        raise PermissionError(f"{path} belongs to user {owner}: a spool directory must belong to its user")
    return fd


def prepare_directory(path: Path, gid: int | None, *, shared: bool = False) -> None:
    """Make a directory with private modes if it is not there. Raises OSError.

    `shared`: a group that may read may also write here: an agent under its own user keeps its places in it.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    fd = open_private(path)
    try:
        restrict(fd, gid, directory=True, shared=shared)
    finally:
        os.close(fd)


def group_id(group: str | None) -> int | None:
    """Return the group's number; PermissionError when there is none of that name."""
    if group is None:
        return None
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise PermissionError(f"spool.group: there is no group {group!r} on this machine") from None


def replace_file(
    dir_fd: int, name: str, data: bytes, gid: int | None = None, *, durable: bool = True, by: str = "new"
) -> None:
    """Replace the file `name` in one step, when `durable` on the disk before it is seen. Raises OSError.

    Two that do it at the same time need different words for `by`.
    """
    temporary = f"{name}.{by}"
    fd = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=dir_fd
    )
    try:
        restrict(fd, gid, directory=False)
        while data:  # a disk that is nearly full takes a part
            data = data[os.write(fd, data) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def restrict(fd: int, gid: int | None, *, directory: bool, shared: bool = False) -> None:
    """Give an open file or directory our modes. Raises OSError."""
    if gid is not None:
        os.fchown(fd, -1, gid)
        os.fchmod(fd, (0o2750 if directory else 0o640) | (0o20 if shared else 0))
    else:
        os.fchmod(fd, 0o700 if directory else 0o600)


def let_group_in(fd: int, gid: int | None, *, exactly: bool = False) -> None:
    """Let the group into a directory of ours that was made without it; close it.

    `exactly`: it has our modes, whoever made it and with what umask.
    """
    try:
        info = os.fstat(fd)
        shut_out = gid is not None and info.st_mode & 0o50 != 0o50
        if info.st_uid == os.geteuid() and (shut_out or exactly):
            restrict(fd, gid, directory=True)
    finally:
        os.close(fd)
