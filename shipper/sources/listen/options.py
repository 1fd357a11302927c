"""The options that sources with an address share: one wording, one check of who may write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...config.fields import Duration, Size, setting
from ...config.sections import listen_address
from .address import is_loopback, wrong_listen

if TYPE_CHECKING:
    from .address import ServerTls

__all__ = [
    "check_guards",
    "connections",
    "idle",
    "insecure",
    "line_format",
    "listen",
    "longest",
    "mixed_parser",
    "tls",
]

_CERTIFICATES: Final = "ask for certificates with tls.client_ca_file, or write "


def listen(example: str) -> Any:
    """Return the option where to listen; required."""
    return setting(help="host:port; a port alone means loopback", check=wrong_listen, example=example)


def tls(speaks: str = "TLS") -> Any:
    """Return the option of our certificate, and whose we ask for."""
    return setting(None, help=f"speak {speaks}, with this certificate")


def insecure(guards: str = "certificates of senders") -> Any:
    """Return the option that means an address which anybody can reach."""
    without = f" without {guards}" if guards else ""
    return setting(False, help=f"listen beyond loopback{without}: whoever reaches it may write")


def connections() -> Any:
    """Return the bound on senders at a time."""
    return setting(256, help="at a time; one more is closed at once", minimum=1, maximum=10_000)


def idle(seconds: float, silent: str = "on which nothing comes") -> Any:
    """Return how long a connection may be silent."""
    return setting(Duration(seconds), help=f"a connection {silent} for so long is closed", minimum=0.05)


def line_format() -> Any:
    """Return the option that says what comes."""
    return setting(
        "auto", help="auto: syslog messages, JSON field by field, the rest as text; each as it begins"
    )


def mixed_parser() -> Any:
    """Return what lines are that `format` does not know."""
    return setting(
        "auto", help="what lines are that are neither syslog nor JSON: a format or a program; auto: text"
    )


def longest(most: int, things: str = "lines and messages") -> Any:
    """Return how long a line may be."""
    return setting(Size(most), help=f"longer {things} are cut and marked", minimum=64, maximum=16 << 20)


def check_guards(
    listen: str,
    *,
    tls: ServerTls | None = None,
    token: bool = False,
    insecure: bool,
    guards: str = _CERTIFICATES,
) -> None:
    """Raise `ValueError` when it would be careless to listen there, and is not said to be meant."""
    host, _ = listen_address(listen)
    certificates = tls is not None and tls.client_ca_file is not None
    if not (certificates or token or insecure or is_loopback(host)):
        raise ValueError(
            f"listen: anybody who reaches {host} could write logs; {guards}insecure: true if that is meant"
        )
