"""The `tls:` section that every sink with a connection has."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..transport import Tls
from .fields import setting

__all__ = ["TlsConfig"]


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """How the server's certificate is checked, and our own."""

    ca_file: Path | None = setting(None, help="certificates to trust instead of the system's (PEM)")
    cert_file: Path | None = setting(None, help="our certificate, for servers that ask for one (PEM)")
    key_file: Path | None = setting(None, help="our certificate's key, when not in cert_file (PEM)")
    verify: bool = setting(True, help="check the server's certificate and name; false only for tests")

    def __post_init__(self) -> None:
        if self.key_file and not self.cert_file:
            raise ValueError("key_file needs cert_file")

    def tls(self) -> Tls:
        """Return it as `transport` takes it."""
        return Tls(self.ca_file, self.cert_file, self.key_file, self.verify)
