"""The billing: a Kafka consumer.

SHOP_SERVICE=billing python billing.py
"""

from __future__ import annotations

import logging
import signal

import psycopg
from confluent_kafka import Consumer
from places import KAFKA, POSTGRES, TOPIC

import logferry
from logferry.handlers.integrations.confluent_kafka import received
from logferry.handlers.integrations.psycopg import cursors

log = logging.getLogger("billing")


def main() -> None:
    """Write a bill for each order, until asked to stop."""
    logferry.configure("logferry.yaml")
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    database = psycopg.connect(POSTGRES, autocommit=True, cursor_factory=cursors(comment=True)[0])
    database.execute("CREATE TABLE IF NOT EXISTS bills (id text PRIMARY KEY)")
    consumer = Consumer(
        {"bootstrap.servers": KAFKA, "group.id": "billing", "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.subscribe([TOPIC])
    while not stopped:
        message = consumer.poll(0.2)
        if message is None or message.error() is not None:
            continue
        with received(message):
            order = message.value().decode()
            database.execute("INSERT INTO bills VALUES (%s) ON CONFLICT DO NOTHING", [order])
            log.info("bill of %s written", order)
    consumer.close()


if __name__ == "__main__":
    main()
