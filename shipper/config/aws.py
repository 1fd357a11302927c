"""What every sink of AWS's takes beside its own options: where, as whom, how long.

A sink's configuration inherits from it, so that the keys stand flat beside the sink's own. Nothing given:
credentials and region come from where AWS's tools look (environment, `~/.aws`, the container's or the
machine's role).
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ..aws import Access
from .fields import Duration, Secret, setting
from .tls import TlsConfig

__all__ = ["AwsConfig"]

_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")
_ROLE: Final = re.compile(r"arn:[a-z0-9-]+:iam::\d{12}:role/[\w+=,.@/-]{1,576}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsConfig:
    """Where and as whom."""

    region: str | None = setting(
        None, help="the region; empty: from the environment or profile", example="eu-west-1"
    )
    profile: str | None = setting(None, help="a profile of ~/.aws/config and ~/.aws/credentials")
    role: str | None = setting(
        None,
        help="a role to assume; its credentials are renewed",
        example="arn:aws:iam::123456789012:role/logs",
    )
    external_id: str | None = setting(None, help="the external id that the role asks for")
    access_key_id: str | None = setting(
        None, help="credentials of your own, where no profile or role has any"
    )
    secret_access_key: Secret | None = setting(None, help="goes with access_key_id")
    session_token: Secret | None = setting(None, help="goes with temporary credentials")
    endpoint_url: str | None = setting(
        None, help="another server than AWS's, or a VPC endpoint", example="http://localhost:4566"
    )
    tls: TlsConfig = setting(factory=TlsConfig, help="certificates")
    timeout: Duration = setting(
        Duration(10.0), help="for one request, from connecting to the last byte", minimum=0.05, maximum=600
    )

    def access(self) -> Access:
        """Return it as `aws` takes it."""
        secret = None
        if self.access_key_id is not None and self.secret_access_key is not None:
            token = None if self.session_token is None else self.session_token.reveal()
            secret = (self.access_key_id, self.secret_access_key.reveal(), token)
        return Access(
            self.region,
            self.profile,
            self.role,
            self.external_id,
            secret,
            self.endpoint_url,
            self.tls.tls(),
            self.timeout,
        )

    def aws_problems(self) -> Iterator[str]:
        """Say what cannot work."""
        if self.region is not None and not _REGION.fullmatch(self.region):
            yield "region: not a region such as eu-west-1"
        if self.role is not None and not _ROLE.fullmatch(self.role):
            yield "role: not a role such as arn:aws:iam::123456789012:role/logs"
        if self.external_id is not None and self.role is None:
            yield "external_id belongs to role"
        if (self.access_key_id is None) != (self.secret_access_key is None):
            yield "access_key_id and secret_access_key belong together"
        if self.session_token is not None and self.access_key_id is None:
            yield "session_token belongs to access_key_id"
        if self.access_key_id is not None and self.profile is not None:
            yield "access_key_id and profile exclude one another"
        if self.endpoint_url is not None:
            yield _url(self.endpoint_url)


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        return "endpoint_url: not an address such as http://localhost:4566"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "endpoint_url: write it with its scheme, such as http://localhost:4566"
    if parts.username is not None or parts.password is not None:
        return "endpoint_url: credentials go into access_key_id and secret_access_key"
    return "endpoint_url: without query and fragment" if parts.query or parts.fragment else ""
