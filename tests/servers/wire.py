"""What can go wrong between a client and a server, as faults of `FaultProxy`.

`FAULTS` names all; each lasts until the proxy heals. What is in `STORED` has reached the server all the same:
the client cannot know, so it must send again, and the server must not hold it twice. What is in `PASSING` is
odd, but an acknowledgement. What is in `LONG` makes the client wait for long, because the server said so or
because a human has to mend it.
"""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from functools import cache
from itertools import repeat

from .proxy import Exchange, WireFault

__all__ = ["FAULTS", "LONG", "PASSING", "STORED"]

_BLOCK = b"x" * 65536
_GIGABYTE = 1 << 30
_CHUNKED = "Transfer-Encoding: chunked"


def cut_in_request(x: Exchange) -> bool:
    x.body(0.5)
    x.reset()
    return False


def cut_before_answer(x: Exchange) -> bool:
    x.forward()
    x.reset()
    return False


def cut_in_answer(x: Exchange) -> bool:
    x.send(x.forward()[:20])
    x.reset()
    return False


def closed_without_answer(x: Exchange) -> bool:
    x.body()
    return False


def hang_before_body(x: Exchange) -> bool:
    x.hold()
    return False


def hang_after_body(x: Exchange) -> bool:
    x.body()
    x.hold()
    return False


def hang_after_storing(x: Exchange) -> bool:
    x.forward()
    x.hold()
    return False


def hang_in_answer(x: Exchange) -> bool:
    x.send(x.forward()[:15])
    x.hold()
    return False


def answer_one_byte_a_second(x: Exchange) -> bool:
    answer = x.forward()
    for at in range(len(answer)):
        x.send(answer[at : at + 1])
        if x.hold(1.0):
            break
    return False


def request_one_byte_a_second(x: Exchange) -> bool:
    x.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    while x.sock.recv(1):
        if x.hold(1.0):
            break
    return False


def says(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> WireFault:
    """Answer without storing anything."""

    def act(x: Exchange) -> bool:
        x.body()
        lines = [f"HTTP/1.1 {status} Said", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        if not {"Content-Length", "Transfer-Encoding"} & (headers or {}).keys():
            lines.append(f"Content-Length: {len(body)}")
        x.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return True

    return act


def raw(*pieces: bytes) -> WireFault:
    """Send bytes, whatever they mean, and close."""

    def act(x: Exchange) -> bool:
        x.body()
        for piece in pieces:
            x.send(piece)
        return False

    return act


def endless(head: bytes, piece: bytes, size: int = _GIGABYTE) -> WireFault:
    """Send `piece` again and again, a gigabyte of it, or until nobody reads it."""

    def act(x: Exchange) -> bool:
        x.body()
        x.send(head)
        block = piece * max(1, 65536 // len(piece))
        for block_again in repeat(block, size // len(block)):
            if x.over.is_set():
                break
            x.send(block_again)
        return False

    return act


@cache
def _bomb() -> bytes:
    return gzip.compress(b"\0" * (64 << 20), 9)


def gzip_bomb(x: Exchange) -> bool:
    return says(503, _bomb(), {"Content-Encoding": "gzip"})(x)


def early_answer(x: Exchange) -> bool:
    x.send(b"HTTP/1.1 503 Early\r\nContent-Length: 0\r\n\r\n")
    return False


def body_after_204(x: Exchange) -> bool:
    x.forward()
    x.send(b"HTTP/1.1 204 No Content\r\nContent-Length: 21\r\n\r\nHTTP/1.1 500 Stale\r\n\r\n")
    return True


def continue_then_answer(x: Exchange) -> bool:
    x.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + x.forward())
    return True


def redirect(x: Exchange) -> bool:
    host = x.headers.get("host", "")
    return says(307, b"", {"Location": f"http://{host}{x.path}"})(x)


def _head(status: int, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} x", *headers, "", "")).encode()


def _named() -> Iterator[tuple[str, WireFault]]:
    yield "cut in the request", cut_in_request
    yield "cut before the answer", cut_before_answer
    yield "cut in the answer", cut_in_answer
    yield "closed without an answer", closed_without_answer
    yield "hanging before the body", hang_before_body
    yield "hanging after the body", hang_after_body
    yield "hanging after storing", hang_after_storing
    yield "hanging in the answer", hang_in_answer
    yield "answer of one byte a second", answer_one_byte_a_second
    yield "reading one byte a second", request_one_byte_a_second
    yield "429", says(429, b"too many outstanding requests")
    for text in ("0", "1", "-5", "31536000", "1e308", "soon", "9" * 400):
        yield f"429 Retry-After {text[:12]}", says(429, b"slow down", {"Retry-After": text})
    yield "429 Retry-After a date that is over", says(429, b"", {"Retry-After": formatdate(0, usegmt=True)})
    yield "429 Retry-After a date in 2999", says(429, b"", {"Retry-After": "Tue, 01 Jan 2999 00:00:00 GMT"})
    yield "500", says(500, b"at least 2 live replicas required, could only find 1")
    yield "502 of a gateway", says(502, b"<html><h1>Bad Gateway</h1></html>")
    yield "503 Retry-After 0", says(503, b"", {"Retry-After": "0"})
    yield "504", says(504, b"context deadline exceeded")
    yield "401", says(401, b"no org id")
    yield "404", says(404, b"404 page not found")
    yield "200 of something else", says(200, b"<html>welcome</html>")
    yield "redirect to itself", redirect
    yield "answer before the request is read", early_answer
    yield "no HTTP", raw(b"\x00\xff\x16\x03 not HTTP \r\n\r\n")
    yield "half a status line", raw(b"HTTP/1.1 20")
    yield "status that is no number", raw(b"HTTP/1.1 two-hundred-and-four fine\r\n\r\n")
    yield "status of five digits", raw(b"HTTP/1.1 20400 fine\r\n\r\n")
    yield "gigabyte of a body", endless(_head(500, f"Content-Length: {_GIGABYTE}"), _BLOCK)
    yield "gigabyte of a body until the end", endless(_head(500, "Connection: close"), _BLOCK)
    yield (
        "gigabyte of chunks",
        endless(_head(500, _CHUNKED), b"10000\r\n" + _BLOCK + b"\r\n"),
    )
    yield (
        "gigabyte in a chunk of size -1",
        endless(_head(500, _CHUNKED) + b"-1\r\n", _BLOCK),
    )
    yield "gigabyte of a chunk's extension", endless(_head(500, _CHUNKED) + b"5;", _BLOCK)
    yield (
        "gigabyte of trailers",
        endless(_head(500, _CHUNKED) + b"0\r\n", b"X-Trailer: yes\r\n"),
    )
    yield "gigabyte of headers", endless(b"HTTP/1.1 500 x\r\n", b"X-More: yes\r\n")
    yield "gigabyte of one header", endless(b"HTTP/1.1 500 x\r\nX-Long: ", _BLOCK)
    yield "gigabyte of 100 Continue", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
    yield "chunks of no size", raw(_head(500, _CHUNKED), b"ZZZ\r\nhello\r\n0\r\n\r\n")
    yield "chunk cut off", raw(_head(500, _CHUNKED), b"ff\r\nhello")
    yield "body shorter than said", raw(_head(500, "Content-Length: 1000"), b"hello")
    yield (
        "body longer than said",
        says(500, b"hello, HTTP/1.1 204 No Content\r\n\r\n", {"Content-Length": "5"}),
    )
    yield "Content-Length that is no number", raw(_head(500, "Content-Length: -7"), b"hello")
    yield "gzip bomb", gzip_bomb
    yield "body after a 204", body_after_204
    yield "100 Continue three times first", continue_then_answer


FAULTS: Mapping[str, WireFault] = dict(_named())

STORED = {
    "cut before the answer",
    "cut in the answer",
    "hanging after storing",
    "hanging in the answer",
    "answer of one byte a second",
}
PASSING = {"body after a 204", "100 Continue three times first"}
LONG = {
    name
    for name in FAULTS
    if name.startswith(("401", "404", "200", "redirect", "status of")) or name.endswith(("31536000", "2999"))
}
