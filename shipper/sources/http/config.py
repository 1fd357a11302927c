"""What a user may write under `sources: {…: {type: http, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from dataclasses import dataclass

from ...config.fields import Duration, Secret, Size, setting
from ..listen import options
from ..listen.address import ServerTls

__all__ = ["HttpSourceConfig"]


@dataclass(frozen=True, slots=True)
class HttpSourceConfig:
    """Where to listen, who may write, and how much."""

    listen: str = options.listen("127.0.0.1:3100")
    token: Secret | None = setting(
        None,
        help="what senders must have: as bearer token, as API key, or as the password of any user",
        example="file:/run/secrets/token",
    )
    tls: ServerTls | None = options.tls("HTTPS")
    insecure: bool = options.insecure("token and certificates")
    max_request_bytes: Size = setting(
        Size(10 << 20), help="of a body, as it comes and unpacked", minimum=1024, maximum=256 << 20
    )
    max_connections: int = options.connections()
    wait: Duration = setting(
        Duration(5.0),
        help="how long a request waits for room in a full spool before it is refused",
        maximum=60,
    )
    idle_timeout: Duration = options.idle(75.0, "without a request")
    request_timeout: Duration = setting(
        Duration(60.0), help="how long a request may take to arrive", minimum=0.05, maximum=3600
    )

    def __post_init__(self) -> None:
        guards = "set token (with tls), ask for certificates with tls.client_ca_file, or write "
        token = bool(self.token)
        options.check_guards(self.listen, tls=self.tls, token=token, insecure=self.insecure, guards=guards)
        if self.token is not None and not token:
            raise ValueError("token is empty")
