"""What the Kafka sink and the Kafka source share: how the brokers are reached, and what their errors mean.

`connection` the options and librdkafka's settings made of them · `words` its errors in words that tell what
to mend · `forks` clients that a forked child inherits. Nothing here imports confluent-kafka.
"""

from __future__ import annotations

from .connection import KafkaSasl, brokers_problem, client_settings, options_problem
from .forks import abandon_after_fork
from .words import Finding, explain

__all__ = [
    "Finding",
    "KafkaSasl",
    "abandon_after_fork",
    "brokers_problem",
    "client_settings",
    "explain",
    "options_problem",
]
