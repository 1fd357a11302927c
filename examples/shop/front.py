"""The shop: FastAPI. It takes an order, and has everybody else do their part of it.

    SHOP_SERVICE=shop uvicorn front:app --port 8001 --no-access-log

Nothing here passes an id by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from mailer import confirm
from places import KAFKA, POSTGRES, STOCK, TOPIC
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

import logferry
import logferry.handlers.integrations.httpx
from logferry.handlers.integrations import sqlalchemy as traced_sql
from logferry.handlers.integrations.confluent_kafka import TraceProducer
from logferry.handlers.integrations.fastapi import BoundLogger, install

logferry.configure("logferry.yaml")
logferry.handlers.integrations.httpx.install()

engine = create_async_engine(
    POSTGRES.replace("postgresql:", "postgresql+psycopg:"),
    isolation_level="AUTOCOMMIT",
    pool_timeout=300,
)
traced_sql.install(engine, comment=True)
stock = httpx.AsyncClient(base_url=STOCK, timeout=300)
at_once = asyncio.Semaphore(30)  # httpx looks at all that wait for a connection, each time that one is free
producer = TraceProducer({"bootstrap.servers": KAFKA, "enable.idempotence": True, "linger.ms": 5})


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with engine.connect() as connection:
        await connection.execute(text("CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, state text)"))
    yield
    await stock.aclose()
    await asyncio.to_thread(producer.flush, 10)
    await engine.dispose()


app = FastAPI(lifespan=lifespan)
install(app, exclude=["/health"], slow_ms=None)


@app.get("/health")
async def health() -> str:
    return "well"


@app.post("/orders/{order}")
async def place(order: str, log: BoundLogger) -> dict[str, str]:
    """Reserve, save, confirm, bill: two at once, two later."""
    log.info("order %s came in", order)
    await asyncio.gather(reserve(order), save(order))
    await asyncio.to_thread(confirm.delay, order)  # Celery's client blocks
    producer.produce(TOPIC, order)
    producer.poll(0)
    log.info("order %s is placed", order)
    return {"order": order}


async def reserve(order: str) -> None:
    async with at_once:
        (await stock.post(f"/reserve/{order}")).raise_for_status()


async def save(order: str) -> None:
    async with engine.connect() as connection:
        statement = text("INSERT INTO orders (id, state) VALUES (:id, 'new')")
        await connection.execute(statement, {"id": order})
