"""How Chinese is cut into words: by jieba, where it is installed (`logferry[chinese]`)."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterable
from functools import cache

from ..scratch import Scratch

__all__ = ["segmenter"]

_loading = threading.Lock()


def segmenter() -> Callable[[str], Iterable[str]] | None:
    """Return what cuts a Chinese text into words; None without jieba. The first call takes about a second."""
    with _loading:
        return _load()


@cache
def _load() -> Callable[[str], Iterable[str]] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of how its files are written
        try:
            import jieba
        except ImportError:
            return None
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    # It keeps its dictionary in a file that anybody may put where it is looked for, and loads what is there.
    with Scratch("words") as scratch:
        tokenizer.tmp_dir = str(scratch.path)
        tokenizer.initialize()
    cut: Callable[[str], Iterable[str]] = tokenizer.lcut
    return cut
