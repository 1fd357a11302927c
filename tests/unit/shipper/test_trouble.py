"""What is said of a connection that cannot be had: our words, and nothing of the exception's own."""

from __future__ import annotations

import socket
import ssl

import pytest

from logferry.shipper.trouble import reach, why


def test_reach_names_what_is_wrong() -> None:
    """The name, the port, TLS where there is none; and nothing when all is well."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
        assert reach("127.0.0.1", port, 5) == ""
        said = reach("127.0.0.1", port, 0.3, ssl.create_default_context())
        assert "no whole answer within 0.3 s" in said
    assert reach("127.0.0.1", port, 5) == f"127.0.0.1:{port}: connection refused: nothing listens there"
    assert "cannot be resolved" in reach("no-such-host.invalid", port, 5)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionResetError(104, "secret"), "cut before the answer was whole"),
        (TimeoutError("secret"), "no whole answer within 3 s"),
        (ssl.SSLError(1, "secret"), "TLS failed"),
        (FileNotFoundError(2, "secret", "/etc/ca.pem"), "is not there: /etc/ca.pem"),
        (RuntimeError("secret"), "no answer (RuntimeError)"),
    ],
)
def test_the_cause_counts_whatever_wraps_it(error: Exception, words: str) -> None:
    """An error of a client library is told by what caused it, and its text is not repeated."""
    outer = RuntimeError("https://user:secret@host/")
    outer.__cause__ = error
    said = why(outer, 3.0)
    assert words in said
    assert "secret" not in said
