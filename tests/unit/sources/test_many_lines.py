"""Many lines at once are understood as each of them by itself is, however odd they are."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from effort import effort

from logferry.shipper.core.lines import CutLine
from logferry.shipper.sources.parsers import ParserName, Reader, parser_config
from logferry.shipper.sources.parsers.many import ManyLines, lines_of

USUAL: dict[ParserName, list[str]] = {
    "python": [
        "2026-11-21 20:17:42,123 INFO shop.orders: order 17 of customer 4 stored",
        "2026-11-21 20:17:42,124 - shop.orders - WARNING - slow: 12.5 ms",
        "2026-11-21 20:17:43 ERROR [shop.orders] cannot store: disk full",
        "2026-11-21T20:17:44.123456+02:00 DEBUG shop | with a zone",
        "2026-11-21 20:17:45,001 [4711] INFO shop.orders:12: with a process",
        "2026-11-21 20:17:46,001 INFO shop: begin [req-0123456789ab] request_id=abc-123456",
        "[2026-11-21 20:17:47 +0000] [4711] [INFO] Booting worker with pid: 4711",
        "WARNING:root:no time at all",
        "no form at all",
    ],
    "nginx": [
        '10.0.0.7 - - [21/Nov/2026:20:17:42 +0000] "GET /a?b=1 HTTP/1.1" 200 512 "https://shop/" "Moz/5"',
        '10.0.0.7 - anna [21/Nov/2026:20:17:43 +0100] "POST /orders HTTP/2.0" 503 - "-" "curl/8.1"',
        '10.0.0.7 - - [21/Nov/2026:20:17:43 +0000] "GET / HTTP/1.0" 404 12',
        'shop:443 10.0.0.7 - - [21/Nov/2026:20:17:44 +0000] "GET / HTTP/1.1" 200 5 "-" "-" rt=0.012',
        r'::1 - - [21/Nov/2026:20:17:44 +0000] "GET /\x22 HTTP/1.1" 400 0 "-" "a \"quoted\" one"',
        '10.0.0.7 - - [21/Nov/2026:20:17:45 +0000] "BREW /pot HTCPCP/1.0" 418 0 "-" "é 茶"',
        '10.0.0.7 - - [21/Nov/2026:20:17:45 +0000] "\x16\x03\x01" 400 157 "-" "-"',
        '10.0.0.7 - [a [21/Nov/2026:20:17:45 +0000] "GET / HTTP/1.1" 200 1 "-" "-"',
        '10.0.0.7 - - [21/Nov/2026:20:17:45 +0000] "GET /a\u2003b HTTP/1.1" 200 1 "-" "-"',
        '10.0.0.7 - - [21/Nov/2026:20:17:45 +0000] "GET /a\tb HTTP/1.1" 200 1 "-" "-"',
        "2026/11/21 20:17:46 [error] 12#13: *4 open() failed, client: 10.0.0.7, server: shop",
        '{"time_local": "21/Nov/2026:20:17:42 +0000", "request": "GET / HTTP/1.1", "status": 200}',
    ],
}
USUAL["apache"] = USUAL["nginx"]
ODD = [
    *'"[]\\ :-\t\n\r\x1b\x85\u2003{}',
    "  ",
    "\x00",
    "é",
    "9",
    "A",
    "[a",
    "] ",
    ' "',
    "+0000",
    "request_id=x1234567",
]


def one_by_one(reader: Reader, lines: Sequence[bytes]) -> list[bytes]:
    return [reader.line(line) for line in lines]


def told(lines: Sequence[bytes]) -> list[object]:
    """Return what lines say, names in their order; a line that is no JSON as it is."""
    return [json.loads(line, object_pairs_hook=list) if line[:1] == b"{" else line for line in lines]


@pytest.mark.parametrize("name", USUAL)
def test_usual_lines_are_taken_together(name: ParserName) -> None:
    """Otherwise the tests below compare nothing."""
    parser = Reader(parser_config(name))._parser
    assert isinstance(parser, ManyLines)
    texts = USUAL[name][:3]
    assert None not in parser.many(texts, "\n".join(texts).encode())


@pytest.mark.parametrize("name", USUAL)
def test_many_lines_are_what_each_of_them_is(name: ParserName) -> None:
    chance = random.Random(7)
    for _ in range(effort(40)):
        lines: list[bytes] = []
        for _ in range(30):
            text = chance.choice(USUAL[name])
            for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
                at = chance.randrange(len(text) + 1)
                text = text[:at] + chance.choice(ODD) + text[at + chance.randrange(3) :]
            line = text.encode()
            lines.append(CutLine(line, 5) if chance.random() < 0.05 else line)
        alone, together = Reader(parser_config(name)), Reader(parser_config(name))
        assert told(together.lines(lines)) == told(one_by_one(alone, lines))
        assert together.unparsed == alone.unparsed


def test_a_line_that_no_row_was_made_of_goes_the_line_way() -> None:
    class Every(ManyLines):
        def many(self, texts: Sequence[str], block: bytes) -> Sequence[None]:
            return [None] * len(texts)

    assert lines_of(Every(), [b"a", b"b"], lambda line: line * 2) == [b"aa", b"bb"]
