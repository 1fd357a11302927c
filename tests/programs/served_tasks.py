"""Tasks for a Celery worker whose queue is a directory; run as a program, it puts them into the queue."""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from celery.utils.log import get_task_logger

from programs.served_app import fail

QUEUE = os.environ["QUEUE"]
app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": QUEUE,
    "data_folder_out": QUEUE,
    "control_folder": QUEUE,
    "polling_interval": 0.1,
}
app.conf.task_ignore_result = True
log = get_task_logger("shop.tasks")


@app.task
def good(order: int) -> dict[str, int]:
    log.info("order %s [req-1234-abcd]", order)
    return {"paid": order}


@app.task
def fails() -> None:
    fail()


@app.task(bind=True, max_retries=1)
def again(self: Any) -> None:
    try:
        raise OSError("wire")
    except OSError as error:
        raise self.retry(exc=error, countdown=0.01) from None


@app.task
def last() -> None:
    print("printed")
    logging.getLogger("shop").error("closing")


if __name__ == "__main__":
    app.send_task("programs.served_tasks.good", (7,))
    for name in ("fails", "again", "last"):
        app.send_task(f"programs.served_tasks.{name}")
