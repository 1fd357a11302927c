"""Keywords: counted once in each text, without what varies and what says nothing; Chinese in words."""

from __future__ import annotations

import pytest

from logferry.shipper.core.keywords import keywords
from logferry.shipper.panels.words import segmenter


def test_words_are_counted_by_the_errors_that_have_them() -> None:
    texts = [
        ("PaymentRefused: payment of order <num> refused, refused", 12),
        ("the payment is LATE", 3),
        ("Late", 1),
    ]
    assert keywords(texts) == [
        ("payment", 15),
        ("order", 12),
        ("PaymentRefused", 12),
        ("refused", 12),
        ("LATE", 4),
    ]
    assert keywords(texts, 1) == [("payment", 15)]
    assert keywords([("<num> <str> the of 17 x", 5)]) == []


def test_chinese_without_a_segmenter_counts_whole_and_only_when_short() -> None:
    assert keywords([("数据库超时 <ip>", 2), ("很长的一句话说明了数据库没有回答", 1)]) == [("数据库超时", 2)]


def test_chinese_is_cut_into_words() -> None:
    pytest.importorskip("jieba")
    found = dict(keywords([("数据库连接超时 <ip>", 7), ("邮件服务器连接失败", 2)], segment=segmenter()))
    assert found["连接"] == 9
    assert found["数据库"] == 7
    assert "失败" not in found
