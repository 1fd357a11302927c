"""librdkafka's errors in words of ours: what is wrong, and whether a human has to mend it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Finding", "explain"]

_WHERE: Final = re.compile(r"(?:\w+://)?([^\s/]+)/(?:bootstrap|\d+|GroupCoordinator)\S*: ")
_VERIFY: Final = re.compile(r"certificate verify failed: ?(?:[^:]*:)? ?([^(]*)")
_TAIL: Final = re.compile(r" \(after \d+ms in state \w+.*")
_LONGEST: Final = 200

# Name of the error → what to say. All of these wait for a human; what is not here mends itself.
_PAUSED: Final = {
    "_UNKNOWN_TOPIC": "the topic does not exist; create it (logferry setup does)",
    "UNKNOWN_TOPIC_OR_PART": "the topic does not exist; create it (logferry setup does)",
    "_UNKNOWN_PARTITION": "the topic has no such partition",
    "TOPIC_EXCEPTION": "the topic's name is not valid",
    "TOPIC_AUTHORIZATION_FAILED": "no permission for this topic",
    "GROUP_AUTHORIZATION_FAILED": "no permission for this consumer group",
    "CLUSTER_AUTHORIZATION_FAILED": "no permission at this cluster (IdempotentWrite, for brokers before 3.0)",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "no permission at this cluster",
    "POLICY_VIOLATION": "a policy of the cluster refuses it",
    "UNSUPPORTED_COMPRESSION_TYPE": "the broker does not take this compression",
    "UNSUPPORTED_VERSION": "the broker is too old",
    "_UNSUPPORTED_FEATURE": "the broker is too old",
}
_SASL: Final = frozenset({"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"})
_TRANSIENT: Final = {
    "_ALL_BROKERS_DOWN": "no broker can be reached",
    "_TIMED_OUT": "no answer in time",
    "_MSG_TIMED_OUT": "no answer in time",
    "NOT_ENOUGH_REPLICAS": "too few replicas are in sync",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND": "too few replicas are in sync",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong. `pause`: it stays so until somebody mends it."""

    reason: str
    pause: bool = False


def explain(name: str, text: str) -> Finding:  # noqa: PLR0911 - one for each kind of error
    """Return what an error means, by the name and the text that librdkafka gives it."""
    match = _WHERE.search(text)
    where = f"{match[1]}: " if match else ""
    if name == "_RESOLVE":
        return Finding(f"{where}the name cannot be resolved")
    if name == "_SSL" or "SSL handshake" in text:
        return Finding(where + _tls(text), pause=True)
    if name in _SASL or "SASL handshake" in text:
        return Finding(where + _sasl(text), pause=True)
    if name in _PAUSED:
        return Finding(_PAUSED[name], pause=True)
    if name == "_TRANSPORT":
        return Finding(where + _transport(text))
    if name in _TRANSIENT:
        return Finding(where + _TRANSIENT[name])
    said = _TAIL.sub("", text)[:_LONGEST]
    return Finding(f"{name.lstrip('_')}: {said}" if said else name.lstrip("_"))


def _tls(text: str) -> str:
    match = _VERIFY.search(text)
    if match or "certificate verify failed" in text:
        detail = (match[1] if match else "").strip(" :")
        return "its certificate was not accepted" + (f": {detail}" if detail else "")
    if "PLAINTEXT" in text or "wrong version number" in text or "unexpected message" in text:
        return "TLS failed: the other side does not speak it"
    if "certificate" in text and "required" in text:
        return "TLS failed: the broker asks for a certificate of ours (cert_file)"
    return f"TLS failed: {_TAIL.sub('', text).rpartition('failed: ')[2][:_LONGEST]}"


def _sasl(text: str) -> str:
    lower = text.lower()
    if "mechanism" in lower and ("unsupported" in lower or "not enabled" in lower or "supported by" in lower):
        return "the broker does not take this SASL mechanism"
    if "sasl_plaintext" in lower or "during sasl" in lower or "handshake" in lower:
        return "SASL failed: does the other side ask for it?"
    return "the credentials were refused"


def _transport(text: str) -> str:
    lower = text.lower()
    if "refused" in lower:
        return "connection refused: nothing listens there"
    if "timed out" in lower or "timeout" in lower:
        return "no answer in time"
    if "disconnected" in lower or "reset" in lower or "closed" in lower:
        return "the connection was cut: does this port speak Kafka, with TLS and SASL as configured?"
    return _TAIL.sub("", text).rpartition("failed: ")[2][:_LONGEST]
