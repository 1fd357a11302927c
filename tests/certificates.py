"""Certificates for tests, made with openssl: `good.pem` is 127.0.0.1's, `other.pem` another name's.

`add_expired` makes `expired.pem`, 127.0.0.1's of last year (openssl's command makes none), and `all.pem` with
all three: who trusts that has nothing to mind but the name and the time.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

__all__ = ["add_expired", "make_certificates", "server_context"]


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


def add_expired(path: Path) -> Path:
    """Make `expired.pem`, `expired.key` and `all.pem` beside what `make_certificates` has made in `path`."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "expired")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(days=365)).not_valid_after(
        now - dt.timedelta(days=1)
    )
    made = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (path / "expired.pem").write_bytes(made.public_bytes(pem))
    (path / "expired.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    names = ("good", "other", "expired")
    (path / "all.pem").write_bytes(b"".join((path / f"{name}.pem").read_bytes() for name in names))
    return path


def server_context(path: Path, name: str) -> ssl.SSLContext:
    """Return a server's context with the certificate `name`."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(path / f"{name}.pem", path / f"{name}.key")
    return made
