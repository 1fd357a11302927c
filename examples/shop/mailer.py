"""The mailer: a Celery worker over Redis.

SHOP_SERVICE=mailer celery -A mailer worker --concurrency 2 --loglevel INFO
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import psycopg
from celery import Celery, signals
from places import POSTGRES, REDIS

import logferry
from logferry.handlers.integrations import celery as traced
from logferry.handlers.integrations.psycopg import cursors

app = Celery("mailer", broker=REDIS)
app.conf.update(
    task_ignore_result=True, broker_connection_retry_on_startup=True, worker_send_task_events=False
)
traced.install()  # for the shop, which calls, and for the worker
log = logging.getLogger("mailer")


@signals.setup_logging.connect
def set_up_logging(**_: Any) -> None:
    """In place of Celery's own."""
    logferry.configure("logferry.yaml")


@cache
def database() -> psycopg.Connection:
    """Return this process's connection."""
    return psycopg.connect(POSTGRES, autocommit=True, cursor_factory=cursors(comment=True)[0])


@app.task(bind=True, max_retries=3)
def confirm(self: Any, order: str) -> None:
    """Send the confirmation; the mail server is moody. Then the receipt, by a task of its own."""
    if order.endswith("7") and self.request.retries == 0:
        log.warning("confirmation of %s has to wait", order)
        raise self.retry(countdown=0.1)
    database().execute("UPDATE orders SET state = 'confirmed' WHERE id = %s", [order])
    log.info("confirmation of %s sent", order)
    receipt.delay(order)


@app.task
def receipt(order: str) -> None:
    log.info("receipt of %s sent", order)
