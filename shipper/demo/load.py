"""The customers: a bounded, paced load on the shop, with a burst in the middle. Loopback only."""

from __future__ import annotations

import asyncio
import random
import sys
import time

import httpx

__all__ = ["main", "rate_at"]

RATE = 40.0  # requests a second: leaves most of a small laptop to its owner
BURST = (0.55, 0.65)  # the part of the run in which three times as many come


def rate_at(progress: float) -> float:
    """Return requests per second at `progress` (0 to 1) of the run."""
    return RATE * 3 if BURST[0] <= progress < BURST[1] else RATE


async def visit(client: httpx.AsyncClient, number: int) -> None:
    """Do what one customer does: look, sometimes log in, sometimes buy."""
    kind = random.random()
    user = f"u{number % 300}"
    try:
        if kind < 0.7:
            await client.get(f"/products/{random.randint(1, 400)}")
        elif kind < 0.8:
            await client.post("/login", json={"user": user, "password": f"correct horse {number}"})
        else:
            card = "4111 1111 1111 1111"  # the payment networks' own test number
            order = {"id": 10_000 + number, "user": user, "product": random.randint(1, 400), "card": card}
            await client.post("/checkout", json=order | {"amount": round(random.uniform(3, 300), 2)})
    except httpx.HTTPError:
        pass  # a customer whose request fails goes away; the shop's logs tell


async def run(url: str, seconds: float) -> int:
    """Visit `url` for `seconds`; return how many requests were made."""
    started = time.monotonic()
    due, number = 0.0, 0
    visits: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(base_url=url, timeout=5.0) as client:
        while (now := time.monotonic() - started) < seconds:
            if now < due:
                await asyncio.sleep(due - now)
                continue
            due += 1 / rate_at(now / seconds)
            number += 1
            if len(visits) < 200:
                task = asyncio.create_task(visit(client, number))
                visits.add(task)
                task.add_done_callback(visits.discard)
        if visits:
            await asyncio.wait(visits, timeout=5)
    return number


def main(url: str, seconds: float) -> None:
    """Run the load and print the number of requests."""
    sys.stdout.write(f"{asyncio.run(run(url, seconds))}\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
