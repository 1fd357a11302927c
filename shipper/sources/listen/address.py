"""Where a source listens, its certificate, and what of it would let in anybody."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ...config.fields import setting
from ...config.sections import listen_address

__all__ = ["ServerTls", "is_loopback", "wrong_listen"]


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The certificate that senders see, and which of theirs are let in."""

    cert_file: Path = setting(help="our certificate and what leads to its root (PEM)")
    key_file: Path | None = setting(None, help="its key, when not in cert_file (PEM)")
    client_ca_file: Path | None = setting(
        None, help="let in only senders with a certificate that these have signed (PEM)"
    )

    def context(self) -> ssl.SSLContext:
        """Return the TLS context; OSError (which names the file) when a file cannot be used."""
        for file in (self.cert_file, self.key_file, self.client_ca_file):
            if file is not None:
                file.open("rb").close()  # else a missing file's error would not name it
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert_file, self.key_file)
        if self.client_ca_file is not None:
            context.load_verify_locations(self.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def wrong_listen(text: str) -> str:
    """Return what is wrong with an address to listen on; `""`: nothing."""
    try:
        listen_address(text)
    except ValueError as error:
        return str(error)
    return ""
