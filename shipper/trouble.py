"""Why there was no connection or no answer, in words that tell what to mend; and trying it without a client.

`why` says it of an exception, whoever raised it: an exception's own text may hold headers, URLs and
credentials, so what it says is ours. `reach` opens a connection (and TLS) by itself, for sinks whose client
only says "failed": the name, the port, the certificate, each with its own sentence. Nothing is sent.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ["reach", "why"]


def reach(host: str, port: int, timeout: float, context: ssl.SSLContext | None = None) -> str:
    """Connect to `host` (with TLS when there is a `context`) and hang up; return what is wrong, or `""`."""
    try:
        with socket.create_connection((host, port), timeout) as plain:
            if context is not None:
                with context.wrap_socket(plain, server_hostname=host):
                    pass
    except (OSError, ValueError) as problem:
        return f"{host}:{port}: {why(problem, timeout)}"
    return ""


def why(problem: Exception, timeout: float) -> str:
    """Say in words of ours why there was no answer within `timeout` seconds, whatever wraps the cause."""
    chain: list[BaseException] = [problem]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 10:
        chain.append(cause)
    # urllib3 wraps what happened; some of its errors carry it as an argument instead.
    chain += [arg for error in tuple(chain) for arg in error.args if isinstance(arg, BaseException)]
    for kinds, text in (*_KINDS, *_urllib3_kinds()):
        for error in chain:
            if isinstance(error, kinds):
                return (text.format(timeout=timeout)) + _detail(error)
    return f"no answer ({type(problem).__name__})"


def _detail(error: BaseException) -> str:
    """Return what is safe to say more: the verifier's finding, a file's name."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f": {error.verify_message}"
    if isinstance(error, OSError) and isinstance(error.filename, (str, Path)):
        return f": {error.filename}"
    return ""


Kind: TypeAlias = tuple[type[BaseException] | tuple[type[BaseException], ...], str]

_NAME: Final = "the name cannot be resolved"
_CUT: Final = "the connection was cut before the answer was whole"
_SLOW: Final = "no whole answer within {timeout:g} s"
_KINDS: Final[tuple[Kind, ...]] = (
    (ssl.SSLCertVerificationError, "its certificate was not accepted"),
    (socket.gaierror, _NAME),
    (ConnectionRefusedError, "connection refused: nothing listens there"),
    (ssl.SSLError, "TLS failed: does the other side speak it?"),
    ((ConnectionError, http.client.IncompleteRead), _CUT),
    (FileNotFoundError, "a file of the tls settings is not there"),
    (PermissionError, "a file of the tls settings cannot be read"),
    (TimeoutError, _SLOW),
    (http.client.HTTPException, "what answered does not speak HTTP"),
)


def _urllib3_kinds() -> tuple[Kind, ...]:
    """Return what urllib3 raises without a cause of the kinds above; nothing where it is not installed."""
    try:
        from urllib3 import exceptions
    except ImportError:
        return ()
    return (
        (exceptions.NameResolutionError, _NAME),
        (exceptions.IncompleteRead, _CUT),
        (exceptions.ReadTimeoutError, _SLOW),
        (exceptions.ConnectTimeoutError, "no connection within {timeout:g} s"),
        (exceptions.ProtocolError, "what answered does not speak HTTP, or was cut off"),
    )
