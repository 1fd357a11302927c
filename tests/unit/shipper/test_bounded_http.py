"""One connection by hand: the short way reads what `http.client` reads, wherever an answer is cut."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from logferry.shipper.bounded_http import Line, Reply, _plain

ANSWERS = {
    b"HTTP/1.1 204 No Content\r\nDate: x\r\nX-Y:  z \r\n\r\n": Reply(204, {"date": "x", "x-y": "z"}, b""),
    b"HTTP/1.1 204\r\n\r\n": Reply(204, {}, b""),
    b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n": Reply(204, {"connection": "close"}, b""),
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n": Reply(204, {}, b""),
    b"HTTP/1.1 400 Bad\r\nContent-Length: 3\r\n\r\nbad": Reply(400, {"content-length": "3"}, b"bad"),
    b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n": Reply(
        500, {"transfer-encoding": "chunked"}, b"no"
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_the_same_wherever_it_is_cut(answer: bytes) -> None:
    """The first read may end anywhere; a whole 204 is read without `http.client`, with the same result."""
    for cut in range(len(answer) + 1):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.sendall(answer[cut:])
            theirs.shutdown(socket.SHUT_WR)
            reply = Line("localhost", 80, None)._read(ours, "POST", time.monotonic() + 5, answer[:cut], 1000)
        assert reply == ANSWERS[answer]
    assert _plain(answer) in (None, ANSWERS[answer])


def test_the_short_way_takes_nothing_but_a_whole_204() -> None:
    """Another status, a second answer behind it, folded or broken headers, or an end of the connection."""
    assert _plain(b"HTTP/1.1 204 No\r\nA: b\r\n\r\n") == Reply(204, {"a": "b"}, b"")
    for data in (
        b"",
        b"HTTP/1.1 204 No\r\nA: b\r\n",
        b"HTTP/1.1 2045 No\r\n\r\n",
        b"HTTP/1.0 204 No\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 500 No\r\n\r\n",
        b"HTTP/1.1 204 No\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 204 No\r\nnonsense\r\n\r\n",
        b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n",
    ):
        assert _plain(data) is None


@contextmanager
def serving(behave: Callable[[socket.socket, int], None]) -> Iterator[int]:
    """Serve connections one after another: `behave(socket, number)`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            number = 0
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    behave(connection, number)
                number += 1

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
            thread.join(10)


def take(connection: socket.socket) -> bytes:
    """Read one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < size:
        body += connection.recv(65_536)
    return head


def test_a_connection_is_used_again_until_the_server_ends_it() -> None:
    """Two requests on one connection; after the server has closed it, a new one is made unasked."""
    heads: list[tuple[int, bytes]] = []
    closed = threading.Event()

    def behave(connection: socket.socket, number: int) -> None:
        for _ in range(2):
            heads.append((number, take(connection)))
            connection.sendall(b"HTTP/1.1 204 No\r\n\r\n")
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with serving(behave) as port:
        line = Line("127.0.0.1", port, None)
        for number in range(4):
            if number == 2:
                assert closed.wait(10)
            assert line.request("POST", "/a b", {"X": "y"}, b"body", 10, 100).status == 204
        line.close()
    assert [number for number, _ in heads] == [0, 0, 1, 1]
    assert heads[0][1].split(b"\r\n") == [
        b"POST /a%20b HTTP/1.1",
        b"Host: 127.0.0.1:%d" % port,
        b"Accept-Encoding: identity",
        b"Content-Length: 4",
        b"X: y",
    ]


@pytest.mark.parametrize("size", [10, 65_536, 3_000_000])
def test_a_body_of_any_size_arrives_behind_its_head(size: int) -> None:
    """A large one is sent by itself, and the connection goes on."""
    body = bytes(range(256)) * (size // 256 + 1)
    bodies: list[bytes] = []

    def behave(connection: socket.socket, _number: int) -> None:
        with connection.makefile("rb") as file:
            for _ in range(2):
                while file.readline() != b"\r\n":
                    pass
                bodies.append(file.read(size))
                connection.sendall(b"HTTP/1.1 204 No\r\n\r\n")

    with serving(behave) as port:
        line = Line("127.0.0.1", port, None)
        for _ in range(2):
            assert line.request("POST", "/", {}, body[:size], 30, 100).status == 204
        line.close()
    assert bodies == [body[:size]] * 2


def test_an_answer_that_ends_too_early_is_an_error() -> None:
    """Less than Content-Length says is not taken for the whole."""

    def behave(connection: socket.socket, _number: int) -> None:
        take(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")

    with serving(behave) as port, pytest.raises(http.client.IncompleteRead):
        Line("127.0.0.1", port, None).request("POST", "/", {}, b"", 10, 100)


def test_a_line_break_in_a_header_is_not_sent() -> None:
    """It would be another header, or another request."""
    with serving(lambda _connection, _number: None) as port, pytest.raises(ValueError, match="line break"):
        Line("127.0.0.1", port, None).request("POST", "/", {"X": "a\r\nY: b"}, b"", 10, 100)


IMPORTING = """
import sys, threading, time
from logferry.shipper.transport import HttpTransport

first, other = threading.current_thread(), threading.Event()

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "urllib3.connectionpool" and threading.current_thread() is not first:
            other.wait(0.5)
        if name == "urllib3.connection" and threading.current_thread() is first:
            other.set()
            time.sleep(0.3)

sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: HttpTransport("http://127.0.0.1:9", {}).request("GET", "/"))
thread.start()
while "urllib3.exceptions" not in sys.modules:
    time.sleep(0.001)
print(HttpTransport("http://127.0.0.1:9", {}).request("GET", "/").reason)
thread.join()
"""


def test_two_sinks_may_begin_at_once() -> None:
    """Whoever asks for a part of urllib3 while another thread imports it would have it left in pieces."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING], capture_output=True, text=True, timeout=60, check=True
    )
    assert "refused" in done.stdout
    assert "Traceback" not in done.stderr
