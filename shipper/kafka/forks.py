"""Clients of librdkafka in a forked child: given up without being closed.

librdkafka does not survive a fork: its threads stay with the parent. Who uses the child's copy of a client
waits for them for ever, and closing it takes a second at best. So a child forgets what it inherited. One more
reference is taken first, so that the client is not even collected when the interpreter ends.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["abandon_after_fork"]


class _Holder(Protocol):
    """Something that holds a client of librdkafka, or None, in one attribute."""

    client: Any


def abandon_after_fork(holder: _Holder, forget: Callable[[], None]) -> None:
    """See to it that in a forked child `holder.client` is given up and `forget` called.

    `forget` must not hold `holder` but weakly.
    """
    _holders[holder] = forget


_holders: weakref.WeakKeyDictionary[_Holder, Callable[[], None]] = weakref.WeakKeyDictionary()


def _after_fork() -> None:
    for holder, forget in list(_holders.items()):
        client, holder.client = holder.client, None
        if client is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(client))
        forget()


os.register_at_fork(after_in_child=_after_fork)
