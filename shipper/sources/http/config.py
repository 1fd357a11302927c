"""What a user may write under `sources: {…: {type: http, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from dataclasses import dataclass

from ...config.fields import Duration, Secret, Size, setting
from ..listen.address import ServerTls, wrong_address, wrong_listen

__all__ = ["HttpSourceConfig"]


@dataclass(frozen=True, slots=True)
class HttpSourceConfig:
    """Where to listen, who may write, and how much."""

    listen: str = setting(
        help="host:port; a port alone means loopback", check=wrong_listen, example="127.0.0.1:3100"
    )
    token: Secret | None = setting(
        None,
        help="what senders must have: as bearer token, as API key, or as the password of any user",
        example="file:/run/secrets/token",
    )
    tls: ServerTls | None = setting(None, help="speak HTTPS, with this certificate")
    insecure: bool = setting(
        False, help="listen beyond loopback without token and certificates: whoever reaches it may write"
    )
    max_request_bytes: Size = setting(
        Size(10 << 20), help="of a body, as it comes and unpacked", minimum=1024, maximum=256 << 20
    )
    max_connections: int = setting(
        256, help="at a time; one more is closed at once", minimum=1, maximum=10_000
    )
    wait: Duration = setting(
        Duration(5.0),
        help="how long a request waits for room in a full spool before it is refused",
        maximum=60,
    )
    idle_timeout: Duration = setting(
        Duration(75.0), help="a connection without a request for so long is closed", minimum=0.05
    )
    request_timeout: Duration = setting(
        Duration(60.0), help="how long a request may take to arrive", minimum=0.05, maximum=3600
    )

    def __post_init__(self) -> None:
        guarded = bool(self.token) or (self.tls is not None and self.tls.client_ca_file is not None)
        guards = "set token (with tls), ask for certificates with tls.client_ca_file, or write "
        problem = wrong_address(self.listen, guarded=guarded, insecure=self.insecure, guards=guards)
        if not problem and self.token is not None and not self.token:
            problem = "token is empty"
        if problem:
            raise ValueError(problem)
