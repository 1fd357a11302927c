"""The options that sinks which send a batch as one HTTP request have in common, and what of them cannot work.

A sink's own dataclass derives from `HttpOptions`, adds its options, overrides those whose default or words
differ, and says in `problems` what else cannot work.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from .fields import Duration, Secret, setting
from .http import wrong_credentials, wrong_headers, wrong_url
from .tls import TlsConfig

__all__ = ["HttpOptions"]


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Where a server is, and how it is asked.

    `example` is an address as it should be; `own_path` may stand at the end of one; `query`: it may have one.
    """

    example: ClassVar[str] = "http://localhost"
    own_path: ClassVar[str] = ""
    query: ClassVar[bool] = False

    url: str = setting(help="the server's address")
    headers: Mapping[str, str] = setting(factory=dict, help="further headers of each request")
    secret_headers: Mapping[str, Secret] = setting(
        factory=dict, help="headers whose values are secret", example="{api-key: file:/run/secrets/key}"
    )
    username: str | None = setting(None, help="for basic authentication")
    password: Secret | None = setting(None, help="for basic authentication")
    bearer_token: Secret | None = setting(None, help="sent as Authorization: Bearer")
    compression: Literal["none", "gzip"] = setting("gzip", help="of the request")
    tls: TlsConfig = setting(factory=TlsConfig, help="certificates")
    timeout: Duration = setting(
        Duration(10.0), help="for one request, from connecting to the last byte", minimum=0.05, maximum=300
    )

    def __post_init__(self) -> None:
        for problem in self.problems():
            if problem:
                raise ValueError(problem)

    def problems(self) -> Iterator[str]:
        """Yield what cannot work; `""`: nothing. The first that is something counts."""
        yield wrong_url(self.url, self.example, query=self.query)
        yield wrong_credentials(self.username, self.password, self.bearer_token)
        yield wrong_headers(self.headers, self.secret_headers)

    @property
    def base(self) -> str:
        """The address without the sink's own path and without a final slash."""
        return self.url.rstrip("/").removesuffix(self.own_path)
