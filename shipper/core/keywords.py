"""The words that errors are made of, counted. Pure.

    ("payment of order <num> refused", 12), ("bank is away", 4)   →   payment 12, order 12, refused 12, bank 4

Rules
- Counted at query time, over patterns with their counts: a word counts once in each text, times its count.
- What a pattern masks (`<num>`) is no word, nor are numbers, single letters and stop words. Words that differ
  in capitals only are one, shown as it is written most often.
- Chinese has no spaces: `segment` cuts a run of it into words. Without one a run up to six characters long
  counts whole.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["STOP_WORDS", "has_chinese", "keywords"]

_MASK: Final = re.compile(r"<(?:str|url|id|ip|path|num)>")
_CHINESE: Final = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]+")
_WORD: Final = re.compile(
    r"[\u3400-\u4dbf\u4e00-\u9fff]+|[^\W\d_\u3400-\u4dbf\u4e00-\u9fff][\w.'-]*[^\W_]|[^\W\d_]"
)
_WHOLE: Final = 6
_LONGEST: Final = 40

_STOPS: Final = """
    a about after again all also an and any are as at be because been before being but by can cannot
    could did do does doing done down during each either else ever every for from get got had has have
    having he her here his how i if in into is it its itself just let may me might more most must my no
    nor not of off on once one only or other our out over own per same she should so some such than
    that the their them then there these they this those through to too under until up us use used very
    via was we were what when where which while who whom why will with within without would yet you
    your error errors exception exceptions failed failure fail fails traceback warning none null true
    false nan self str int
    的 了 在 是 我 有 和 就 不 人 都 一 一个 上 也 很 到 说 要 去 你 会
    着 没有 看 好 自己 这 那 与 及 或 被 把 对 从 为 而 其 中 并 等 个 之
    于 以 但 因 由 将 请 该 时 后 前 已 未 无 可 能 错误 失败 异常
"""
STOP_WORDS: Final = frozenset(_STOPS.split())

Segment = Callable[[str], Iterable[str]]


def has_chinese(text: str) -> bool:
    """Tell whether a text has Chinese characters."""
    return _CHINESE.search(text) is not None


def keywords(
    texts: Iterable[tuple[str, int]], limit: int = 40, segment: Segment | None = None
) -> list[tuple[str, int]]:
    """Return the most frequent words with their counts, the most frequent first."""
    counts: Counter[str] = Counter()
    written: dict[str, Counter[str]] = {}
    for text, count in texts:
        seen: set[str] = set()
        for word in _words(_MASK.sub(" ", text), segment):
            lowered = word.lower()
            if lowered in seen or lowered in STOP_WORDS or not 1 < len(word) <= _LONGEST:
                continue
            seen.add(lowered)
            counts[lowered] += count
            written.setdefault(lowered, Counter())[word] += count
    ranked = sorted(counts.items(), key=lambda found: (-found[1], found[0]))[:limit]
    return [(written[word].most_common(1)[0][0], count) for word, count in ranked]


def _words(text: str, segment: Segment | None) -> Iterable[str]:
    for word in _WORD.findall(text):
        if not has_chinese(word):
            yield word
        elif segment is not None:
            yield from segment(word)
        elif len(word) <= _WHOLE:
            yield word
