"""Two hours of a shop as events, for the page's test and its pictures: the same for the same seed.

Four services behind an nginx, with traces through all of them. In the last third version 1.5.0 of `payments`
is deployed: it brings an error of its own, and the bank gets slow.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from logferry.shipper.store.compact import Compactor
from logferry.shipper.store.layout import Layout

__all__ = ["lines", "ship"]

_LE: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)
_ROUTES: Final = (
    ("GET", "/products/{id}", 46),
    ("GET", "/search", 20),
    ("GET", "/cart", 14),
    ("POST", "/login", 6),
    ("POST", "/checkout", 10),
    ("GET", "/orders/{id}", 4),
)
_CARDS: Final = ("card declined", "limit of the card exceeded", "issuer did not answer")


class _Scene:
    def __init__(self, end: datetime, seconds: float, rate: float, seed: int) -> None:
        self.random = random.Random(seed)
        self.end, self.seconds, self.rate = end, seconds, rate
        self.begin = end - timedelta(seconds=seconds)

    def hex(self, digits: int) -> str:
        return f"{self.random.getrandbits(digits * 4):0{digits}x}"

    def event(self, at: float, service: str, level: str, message: str, **more: Any) -> tuple[float, bytes]:
        payments = "1.5.0" if at >= self.seconds * 0.66 else "1.4.2"
        version = {"payments": payments, "shop": "3.2.0"}.get(service)
        moment = self.begin + timedelta(seconds=at)
        base = {
            "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "level": level,
            "service": service,
            "trace_id": more.pop("trace_id", ""),
            "span_id": more.pop("span_id", ""),
            "message": message,
            "environment": "prod",
            "host": f"web-{self.random.randrange(1, 4)}",
            "logger": service,
        }
        if version:
            base["version"] = version
        return at, orjson.dumps(base | more)

    def access(
        self, at: float, took: float, service: str, method: str, endpoint: str, status: int, **more: Any
    ) -> tuple[float, bytes]:
        ms = round(took * 1000, 3)
        le = next((str(one) for one in _LE if ms <= one), "+Inf")
        path = endpoint.replace("{id}", str(self.random.randrange(1, 4000)))
        return self.event(
            at + took,
            service,
            "ERROR" if status >= 500 else "WARNING" if status >= 400 else "INFO",
            f"{method} {path} {status}",
            kind="access",
            method=method,
            path=path,
            endpoint=endpoint,
            status_code=status,
            duration_ms=ms,
            duration_le=le,
            failed=status >= 500,
            **more,
        )

    def span(self, at: float, took: float, service: str, name: str, **more: Any) -> tuple[float, bytes]:
        return self.event(
            at + took,
            service,
            "INFO",
            name,
            kind="span",
            span_kind=more.pop("span_kind", "client"),
            name=name,
            duration_ms=round(took * 1000, 3),
            **more,
        )

    def request(self, at: float) -> Iterator[tuple[float, bytes]]:  # noqa: PLR0915 - one way, step by step
        r = self.random
        method, endpoint, _ = r.choices(_ROUTES, [weight for *_, weight in _ROUTES])[0]
        trace, edge, shop, call, inner = self.hex(32), *(self.hex(16) for _ in range(4))
        t = {"trace_id": trace}
        late = at > self.seconds * 0.66
        stock = r.lognormvariate(-4.6, 0.6)
        db = r.lognormvariate(-5.6, 0.7)
        status = 200
        out: list[tuple[float, bytes]] = []
        begun = at + 0.002
        inside = begun + db + 0.003
        who = {"user_id": f"u{r.randrange(400)}"}
        sql = {"db.system": "postgresql", "db.statement": "SELECT * FROM products WHERE id = ?"}
        out.append(
            self.span(
                begun + 0.001,
                db,
                "shop",
                "SELECT products",
                span_id=self.hex(16),
                parent_id=shop,
                peer="postgresql",
                tags=sql,
                **t,
            )
        )
        if endpoint == "/checkout":
            pay = r.lognormvariate(-2.6 if late else -3.2, 0.8 if late else 0.5)
            failing = r.random() < (0.16 if late else 0.012)
            order = r.randrange(10_000, 99_999)
            amount = round(r.uniform(5, 300), 2)
            out.append(
                self.event(
                    inside,
                    "shop",
                    "INFO",
                    f"paying {amount} for order {order}",
                    span_id=shop,
                    order_id=order,
                    amount=amount,
                    **who,
                    **t,
                )
            )
            if failing:
                status = 503 if r.random() < 0.8 else 500
                new = late and r.random() < 0.6
                pattern = (
                    "BankTimeout: bank gateway did not answer within <num> s"
                    if new
                    else "PaymentRefused: payment of order <num> refused"
                )
                if new:
                    pay += 2
                kind, _, words = pattern.partition(": ")
                text = words.replace("<num>", "2" if new else str(order))
                error = {
                    "type": kind,
                    "message": text,
                    "stack": "Traceback (most recent call last):\n"
                    f'  File "/srv/payments/bank.py", line 88, in charge\n'
                    f"    answer = await gateway.charge(order)\n{kind}: {text}",
                    "causes": [{"type": "TimeoutError", "message": r.choice(_CARDS)}],
                }
                out.append(
                    self.event(
                        inside + pay,
                        "payments",
                        "ERROR",
                        f"charge failed: {text}",
                        span_id=inner,
                        error=error,
                        error_pattern=pattern,
                        order_id=order,
                        **t,
                    )
                )
            bank = {"server.address": "bank.example", "http.method": "POST"}
            out.append(
                self.span(
                    inside + 0.003,
                    max(pay - 0.006, 0.002),
                    "payments",
                    "POST bank.example",
                    span_id=self.hex(16),
                    parent_id=inner,
                    failed=failing,
                    peer="bank.example",
                    tags=bank,
                    **t,
                )
            )
            out.append(
                self.access(
                    inside + 0.002,
                    pay,
                    "payments",
                    "POST",
                    "/charge",
                    status,
                    span_id=inner,
                    parent_id=call,
                    **t,
                )
            )
            out.append(
                self.span(
                    inside + 0.001,
                    pay + 0.002,
                    "shop",
                    "POST /charge",
                    peer="payments",
                    span_id=call,
                    parent_id=shop,
                    failed=failing,
                    **t,
                )
            )
            took = inside + pay + 0.006 - begun
            if not failing:
                out.append(
                    self.event(
                        begun + took - 0.002,
                        "shop",
                        "INFO",
                        f"order {order} created",
                        span_id=shop,
                        order_id=order,
                        amount=amount,
                        **who,
                        **t,
                    )
                )
                job = self.hex(16)
                mail = r.lognormvariate(-2.8, 0.5)
                out.append(
                    self.event(
                        begun + took + 0.05 + mail,
                        "mailer",
                        "INFO",
                        "send_receipt",
                        kind="job",
                        name="send_receipt",
                        duration_ms=round(mail * 1000, 3),
                        span_id=job,
                        parent_id=shop,
                        **t,
                    )
                )
                if r.random() < 0.05:
                    out.append(
                        self.event(
                            begun + took + 0.05 + mail / 2,
                            "mailer",
                            "ERROR",
                            f"邮件服务器连接超时 10.0.3.{r.randrange(9)}:25",
                            error_pattern="邮件服务器连接超时 <ip>",
                            span_id=job,
                            **t,
                        )
                    )
        else:
            slow = endpoint == "/search" and r.random() < 0.12
            if slow:
                stock += r.uniform(0.3, 0.9)
            failing = r.random() < (0.02 if endpoint == "/search" else 0.003)
            status = 503 if failing else 404 if endpoint == "/orders/{id}" and r.random() < 0.06 else 200
            out.append(
                self.access(
                    inside + 0.002,
                    stock,
                    "stock",
                    "GET",
                    "/stock/{id}",
                    503 if failing else 200,
                    span_id=inner,
                    parent_id=call,
                    **t,
                )
            )
            out.append(
                self.span(
                    inside + 0.001,
                    stock + 0.002,
                    "shop",
                    "GET /stock",
                    peer="stock",
                    span_id=call,
                    parent_id=shop,
                    failed=failing,
                    **t,
                )
            )
            if failing:
                words = r.choice(["数据库连接超时 10.0.0.7:5432", "shelf of product 731 is locked"])
                pattern = "数据库连接超时 <ip>" if words[0] == "数" else "shelf of product <num> is locked"
                out.append(
                    self.event(
                        inside + stock, "stock", "ERROR", words, span_id=inner, error_pattern=pattern, **t
                    )
                )
            if slow:
                out.append(
                    self.event(
                        inside + stock,
                        "stock",
                        "WARNING",
                        f"slow query: {stock * 1000:.0f} ms",
                        span_id=inner,
                        **t,
                    )
                )
            if r.random() < 0.5:
                out.append(
                    self.event(
                        inside,
                        "shop",
                        "DEBUG",
                        f"cache miss for product {r.randrange(4000)}",
                        span_id=shop,
                        **t,
                    )
                )
            took = inside + stock + 0.004 - begun
        out.append(
            self.access(
                begun, took, "shop", method, endpoint, status, span_id=shop, parent_id=edge, **who, **t
            )
        )
        out.append(self.access(at, took + 0.003, "edge", method, endpoint, status, span_id=edge, **t))
        yield from out

    def lines(self) -> list[bytes]:
        found: list[tuple[float, bytes]] = []
        at = 0.0
        while at < self.seconds - 4:
            wave = 1 + 0.35 * abs((at / self.seconds * 4) % 2 - 1)
            at += self.random.expovariate(self.rate * wave)
            found += self.request(at)
        found.append(self.event(self.seconds * 0.66, "payments", "INFO", "deployed 1.5.0", kind="deployment"))
        return [line for when, line in sorted(found) if when <= self.seconds]


def lines(
    end: datetime | None = None, seconds: float = 7200.0, rate: float = 2.0, seed: int = 7
) -> list[bytes]:
    """Return the scene's events in order of time, up to `end` (now)."""
    return _Scene(end or datetime.now(UTC), seconds, rate, seed).lines()


def ship(directory: Path, events: list[bytes]) -> Path:
    """Ship the events as anybody would, through an agent and its spool; return its configuration."""
    (directory / "app").mkdir(parents=True, exist_ok=True)
    (directory / "app" / "shop.log").write_bytes(b"\n".join(events) + b"\n")
    config = directory / "logferry.yaml"
    config.write_text(
        f"service: agent\nspool: {{path: {directory}/spool}}\n"
        f"sinks:\n  here: {{type: local, path: {directory}/logs}}\n"
        f"sources:\n  app: {{type: file, include: ['{directory}/app/*.log']}}\n"
    )
    command = [sys.executable, "-m", "logferry", "run", "--once", "-c", str(config)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ}
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    Compactor(Layout(directory / "logs"), settle=0, idle=0, patience=0.2).run()  # as it does every minute
    return config
