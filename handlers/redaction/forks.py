"""RE2 and forks: while the process forks, no other thread is within RE2.

RE2 builds its automata as texts drive it, under locks of its own, with the interpreter's lock let go. A
thread that is in there while another forks leaves a locked lock to the child, and the first log call of the
child that asks the same expression would wait for ever: in gunicorn's workers, in pools that fork. So who
forks waits until the others are out, and they wait, before the next text, until it has forked. A text takes
microseconds; a bound of a second stands for what nobody has thought of.

Several threads may fork at once: each waits for those within, none for another that forks, and texts wait
until the last of them has forked. A signal's handler or a finaliser may ask, or fork, in the middle of its
own thread's call; that call is not over when theirs is.

The expressions of parsers and transforms (`shipper/sources/parsers`, `shipper/core/ids.py` and `patterns.py`)
are not kept apart from forks. Only sources ask them, and a forked child has no sources, even where an
application has some (`shipper/pipeline.py`): what is locked there nobody asks for.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import get_ident
from typing import Final, TypeVar

__all__ = ["apart_from_forks"]

_Text = TypeVar("_Text")
_Answer = TypeVar("_Answer")

_PAUSE: Final = 0.0002  # seconds
_BOUND: Final = 1.0  # seconds
_inside: Final[set[int]] = set()  # the threads that are, or are about to be, within RE2
_forking: Final[list[int]] = []  # the threads that fork; one twice whose signal's handler forks as well


def _before() -> None:
    me, until = get_ident(), time.monotonic() + _BOUND
    _forking.append(me)
    # A signal's handler may fork in the middle of its own thread's call: that is not within RE2.
    while _inside - {me} and time.monotonic() < until:
        time.sleep(_PAUSE)


def _in_parent() -> None:
    me = get_ident()
    if me in _forking:  # not, where an exception of a signal's handler has stopped the above
        _forking.remove(me)


def _in_child() -> None:
    _forking.clear()
    _inside.clear()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def apart_from_forks(ask: Callable[[_Text], _Answer]) -> Callable[[_Text], _Answer]:
    """Return `ask`, a call of RE2, as one that no fork of another thread meets."""
    inside, enter, leave = _inside, _inside.add, _inside.discard

    def asked(text: _Text) -> _Answer:
        me = get_ident()
        within = me in inside
        try:
            enter(me)
            while _forking and me not in _forking:
                leave(me)
                time.sleep(_PAUSE)
                enter(me)
            return ask(text)
        finally:
            if not within:
                leave(me)

    return asked
