"""The programs of the demo: `shop` and `stock` (FastAPI under uvicorn) and `mailer` (a worker without HTTP).

Each configures logferry once from the file that the demo wrote and then logs as any application would; the
mistakes in here (a password in an extra, a card number in a message) are made on purpose.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException, Request

import logferry

from ...handlers import context, tracing
from ...handlers.integrations.asgi import TraceMiddleware
from ...handlers.integrations.httpx import AsyncTraceClient

__all__ = ["main", "shop", "stock"]

log = logging.getLogger("shop")


class PaymentRefusedError(Exception):
    """The bank said no."""

    code = "card_declined"


def outgoing() -> dict[str, str]:
    """Return the headers that carry this request's trace to the next service."""
    trace = context.get_trace_context()
    headers = {"traceparent": tracing.format_traceparent(trace.trace_id, trace.span_id)}
    request_id = context.current().get("request_id")
    return headers | ({"x-request-id": str(request_id)} if request_id else {})


def shop(stock_url: str) -> FastAPI:
    """Build the shop: products, log-in, check-out, and the queue that the mailer empties."""
    app = FastAPI()
    jobs: deque[dict[str, Any]] = deque(maxlen=10_000)
    client = AsyncTraceClient(base_url=stock_url, timeout=3.0)

    @app.get("/products/{product}")
    async def product(product: int) -> dict[str, Any]:
        log.info("product %s viewed", product, extra={"product_id": product})
        answer = await client.get(f"/stock/{product}")
        if answer.status_code != 200:
            log.warning("stock answered %s", answer.status_code, extra={"product_id": product})
        if product % 97 == 0:
            log.warning("slow query: %s took long", "SELECT * FROM reviews", extra={"product_id": product})
            await asyncio.sleep(random.uniform(0.4, 1.2))
        return {"id": product, "left": answer.json().get("left", 0)}

    @app.post("/login")
    async def login(request: Request) -> dict[str, str]:
        form = await request.json()
        log.info("log-in of %s", form["user"], extra={"body": form})
        context.bind(user_id=form["user"])
        return {"welcome": form["user"]}

    @app.post("/checkout")
    async def checkout(request: Request) -> dict[str, Any]:
        order = await request.json()
        context.bind(user_id=order["user"])
        log.info(
            "paying %.2f with card %s", order["amount"], order["card"], extra={"amount": order["amount"]}
        )
        answer = await client.post(f"/reserve/{order['product']}")
        if answer.status_code != 200:
            raise HTTPException(503, "stock is not there")
        if random.random() < 0.04:
            try:
                raise TimeoutError("bank did not answer within 2 s")
            except TimeoutError as error:
                raise PaymentRefusedError(f"payment of order {order['id']} refused") from error
        log.info("order created", extra={"order_id": order["id"], "amount": order["amount"]})
        jobs.append({"order": order["id"], "headers": outgoing()})
        return {"order": order["id"]}

    @app.get("/jobs")
    async def take() -> list[dict[str, Any]]:
        return [jobs.popleft() for _ in range(min(len(jobs), 50))]

    app.add_middleware(TraceMiddleware)
    return app


class Shelves:
    """How much there is of a product, as PostgreSQL says where there is one (the compose stack)."""

    _COUNT = "SELECT %s::int * 7 %% 50, pg_sleep(CASE WHEN %s THEN 0.25 ELSE 0 END)"

    def __init__(self, url: str = "") -> None:
        self._url = url
        self._connection: Any = None
        self._lock = asyncio.Lock()

    async def left(self, product: int) -> int:
        """Return the number; the database takes its time for some, which its log of slow statements tells."""
        if self._url:
            async with self._lock:
                connection = await self._connected()
                answer = await connection.execute(self._COUNT, (product, product % 97 == 0))
                return int((await answer.fetchone())[0])
        await asyncio.sleep(min(random.lognormvariate(-5.0, 0.9), 0.5))
        return product * 7 % 50

    async def _connected(self) -> Any:
        import psycopg

        from ...handlers.integrations import psycopg as traced

        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, cursor_factory=traced.cursors(comment=True)[1]
            )
        return self._connection

    @contextlib.asynccontextmanager
    async def open(self, _: FastAPI) -> AsyncIterator[None]:
        """Let go of the database when the service ends."""
        yield
        if self._connection is not None:
            await self._connection.close()


def stock(database: str = "") -> FastAPI:
    """Build the stock service, whose shelves are slow at times and which can be told to die."""
    shelves = Shelves(database)
    app = FastAPI(lifespan=shelves.open)
    shelf = logging.getLogger("stock")

    @app.get("/stock/{product}")
    async def left(product: int) -> dict[str, int]:
        count = await shelves.left(product)
        shelf.debug("looked up product %s", product)
        if count < 3:
            shelf.warning("product %s is running out", product, extra={"product_id": product, "left": count})
        return {"left": count}

    @app.post("/reserve/{product}")
    async def reserve(product: int) -> dict[str, bool]:
        await asyncio.sleep(min(random.lognormvariate(-4.5, 0.8), 0.5))
        if random.random() < 0.01:
            shelf.error("shelf of product %s is locked", product, extra={"error_code": "shelf_locked"})
            raise HTTPException(503, "locked")
        shelf.info("reserved product %s", product, extra={"product_id": product})
        return {"reserved": True}

    @app.post("/last-words/{words}")
    async def last_words(words: str) -> None:
        shelf.critical("last words: %s", words)
        os.kill(os.getpid(), signal.SIGKILL)  # nothing runs after this: no flush, no handler, no exit

    app.add_middleware(TraceMiddleware)
    return app


def mailer(shop_url: str) -> None:
    """Take jobs from the shop and send mails, in the trace of the request that ordered them."""
    mail = logging.getLogger("mailer")
    job_log = logging.getLogger("logferry.job")
    with httpx.Client(base_url=shop_url, timeout=3.0) as client:
        while True:
            try:
                jobs = client.get("/jobs").json()
            except httpx.HTTPError:
                jobs = []
            for job in jobs:
                send_mail(job, mail, job_log)
            time.sleep(0.5)


def send_mail(job: dict[str, Any], mail: logging.Logger, job_log: logging.Logger) -> None:
    """Send one confirmation; a few fail, as mails do."""
    incoming = tracing.from_headers(job["headers"])
    started = time.perf_counter()
    with context.bound(request_id=incoming.request_id):
        context.set_trace_context(incoming.trace_id, tracing.new_span_id(), incoming.parent_id)
        failed = False
        try:
            if job["order"] % 41 == 0:
                raise ConnectionRefusedError(111, "mail server refused the connection")
            mail.info("confirmation sent", extra={"order_id": job["order"]})
        except ConnectionRefusedError:
            failed = True
            mail.exception("confirmation of order %s not sent", job["order"])
        spent = round((time.perf_counter() - started) * 1000, 3)
        job_log.info("job confirm", extra={"kind": "job", "duration_ms": spent, "failed": failed})


def main(name: str, port: int, peer: str) -> None:
    """Run one of the programs: `shop`, `stock` or `mailer`."""
    logferry.configure(os.environ["LOGFERRY_CONFIG"])
    if name == "mailer":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        mailer(peer)
        return
    app = shop(peer) if name == "shop" else stock(os.environ.get("SHOP_DATABASE", ""))
    uvicorn.run(
        app,
        host=os.environ.get("SHOP_HOST", "127.0.0.1"),
        port=port,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=3,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
