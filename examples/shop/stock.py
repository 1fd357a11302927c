"""The stock: Flask, in processes with threads.

SHOP_SERVICE=stock gunicorn stock:app --bind 127.0.0.1:8002 --workers 2 --threads 8
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import flask
from places import POSTGRES
from sqlalchemy import create_engine, text

import logferry
from logferry.handlers.context import wrap
from logferry.handlers.integrations import sqlalchemy as traced_sql
from logferry.handlers.integrations.flask import install

logferry.configure("logferry.yaml")
log = logging.getLogger("stock")

engine = create_engine(
    POSTGRES.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT", pool_size=8
)
traced_sql.install(engine, comment=True)
weighing = ThreadPoolExecutor(4)

app = flask.Flask("stock")
install(app, exclude=["/health"], slow_ms=None)


@app.get("/health")
def health() -> str:
    with engine.connect() as connection:
        connection.execute(text("SELECT 'well'"))
    return "well"


@app.post("/reserve/<order>")
def reserve(order: str) -> dict[str, str]:
    """Look for the goods, while a thread of a pool weighs them."""
    weighed = weighing.submit(wrap(weigh), order)
    with engine.connect() as connection:
        connection.execute(text("SELECT :order AS goods"), {"order": order})
    weighed.result()
    log.info("goods of %s reserved", order)
    return {"reserved": order}


def weigh(order: str) -> None:
    log.info("goods of %s weighed", order)
