"""How a client reaches the brokers: the options that sink and source share, as librdkafka's settings."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from ..config.fields import Secret, setting
from ..config.tls import TlsConfig

__all__ = ["KafkaSasl", "brokers_problem", "client_settings", "options_problem"]

_BROKER: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")
# What these decide is promised by us, or has an option of its own.
_OWN: Final = frozenset(
    {
        "bootstrap.servers",
        "metadata.broker.list",
        "security.protocol",
        "log_level",
        "plugin.library.paths",
        "enable.idempotence",
        "acks",
        "request.required.acks",
        "message.timeout.ms",
        "delivery.timeout.ms",
        "retries",
        "message.send.max.retries",
        "delivery.report.only.error",
        "transactional.id",
        "compression.type",
        "compression.codec",
        "message.max.bytes",
        "group.id",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "auto.offset.reset",
        "partition.assignment.strategy",
        "session.timeout.ms",
    }
)
_OWN_PREFIXES: Final = ("ssl.", "sasl.")


@dataclass(frozen=True, slots=True)
class KafkaSasl:
    """Who we are, for brokers that ask with SASL."""

    username: str = setting(help="the user")
    password: Secret = setting(help="the password")
    mechanism: Literal["plain", "scram-sha-256", "scram-sha-512"] = setting(
        "scram-sha-512", help="how the password is proven; plain sends it, so use it with tls only"
    )


def brokers_problem(brokers: Sequence[str]) -> str:
    """Return what is wrong with a list of brokers; empty: nothing."""
    if not brokers:
        return "brokers is empty; name at least one as host:port"
    for broker in brokers:
        match = _BROKER.fullmatch(broker)
        if match is None or not 0 < int(match[1]) < 65536:
            return f"brokers: {broker!r} is not host:port, such as localhost:9092"
    return ""


def options_problem(options: Collection[str]) -> str:
    """Return which of librdkafka's settings may not be set by hand; empty: none of them."""
    for name in sorted(options):
        if name in _OWN or name.startswith(_OWN_PREFIXES) or name.endswith("_cb"):
            return f"options.{name}: decided by logferry, or by an option of its own"
    return ""


def client_settings(
    brokers: Sequence[str],
    tls: TlsConfig | None,
    sasl: KafkaSasl | None,
    options: Mapping[str, str],
) -> dict[str, Any]:
    """Return librdkafka's settings for a client that reaches these brokers."""
    settings: dict[str, Any] = {
        # Errors come by callback and are said in our words; librdkafka's own lines would go to stderr.
        "log_level": 0,
        "client.id": "logferry",
        "reconnect.backoff.max.ms": "2000",
        "socket.keepalive.enable": True,
        **options,
        "bootstrap.servers": ",".join(brokers),
        "security.protocol": ("sasl_" if sasl else "") + ("ssl" if tls else "plaintext"),
    }
    if tls is not None:
        for name, path in (
            ("ssl.ca.location", tls.ca_file),
            ("ssl.certificate.location", tls.cert_file),
            ("ssl.key.location", tls.key_file or tls.cert_file),
        ):
            if path is not None:
                settings[name] = str(path)
        settings["enable.ssl.certificate.verification"] = tls.verify
        settings["ssl.endpoint.identification.algorithm"] = "https" if tls.verify else "none"
    if sasl is not None:
        settings["sasl.mechanism"] = sasl.mechanism.upper()
        settings["sasl.username"] = sasl.username
        settings["sasl.password"] = sasl.password.reveal()
    return settings
