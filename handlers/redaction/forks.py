"""RE2 and forks: while the process forks, no other thread is within RE2.

RE2 builds its automata as texts drive it, under locks of its own, with the interpreter's lock let go. A
thread that is in there while another forks leaves a locked lock to the child, and the first log call of the
child that asks the same expression would wait for ever: in gunicorn's workers, in pools that fork. So who
forks waits until the others are out, and they wait, before the next text, until it has forked. A text takes
microseconds; a bound of a second stands for what nobody has thought of.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Lock, get_ident
from typing import Final, TypeVar

__all__ = ["apart_from_forks"]

_Text = TypeVar("_Text")
_Answer = TypeVar("_Answer")

_PAUSE: Final = 0.0002  # seconds
_BOUND: Final = 1.0  # seconds
_inside: Final[set[int]] = set()  # the threads that are, or are about to be, within RE2


_forking: Final[list[int]] = []  # the thread that forks, if one does


class _Fork:
    """What is done around a fork; one at a time."""

    lock = Lock()

    @classmethod
    def before(cls) -> None:
        me, until = get_ident(), time.monotonic() + _BOUND
        cls.lock.acquire(timeout=_BOUND)
        _forking[:] = [me]
        # A signal's handler may fork in the middle of its own thread's call: that is not within RE2.
        while _inside - {me} and time.monotonic() < until:
            time.sleep(_PAUSE)

    @classmethod
    def parent(cls) -> None:
        _forking.clear()
        if cls.lock.locked():
            cls.lock.release()

    @classmethod
    def child(cls) -> None:
        cls.lock = Lock()
        _forking.clear()
        _inside.clear()


os.register_at_fork(before=_Fork.before, after_in_parent=_Fork.parent, after_in_child=_Fork.child)


def apart_from_forks(ask: Callable[[_Text], _Answer]) -> Callable[[_Text], _Answer]:
    """Return `ask`, a call of RE2, as one that no fork of another thread meets."""
    enter, leave = _inside.add, _inside.discard

    def asked(text: _Text) -> _Answer:
        me = get_ident()
        enter(me)
        try:
            while _forking and me not in _forking:
                leave(me)
                time.sleep(_PAUSE)
                enter(me)
            return ask(text)
        finally:
            leave(me)

    return asked
