"""Certificates for tests, made with openssl: `good.pem` is 127.0.0.1's, `other.pem` another name's."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

__all__ = ["make_certificates", "server_context"]


def make_certificates(path: Path) -> Path:
    """Make them in `path`; the test is skipped, with one line, where there is no openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: it makes the test's certificates")
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    usage = ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]  # Python 3.13 asks for it
    for name, subject in (("good", "IP:127.0.0.1"), ("other", "DNS:elsewhere.example")):
        files = ["-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
        names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}"]
        subprocess.run([*new, *usage, *files, *names], cwd=path, check=True, capture_output=True)
    return path


def server_context(path: Path, name: str) -> ssl.SSLContext:
    """Return a server's context with the certificate `name`."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(path / f"{name}.pem", path / f"{name}.key")
    return made
