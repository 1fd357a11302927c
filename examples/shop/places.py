"""Where the shop's servers are: from the environment."""

from __future__ import annotations

import os

__all__ = ["KAFKA", "POSTGRES", "REDIS", "STOCK", "TOPIC"]

POSTGRES = os.environ.get("SHOP_POSTGRES", "postgresql://shop@127.0.0.1:5432/postgres")
REDIS = os.environ.get("SHOP_REDIS", "redis://127.0.0.1:6379/0")
KAFKA = os.environ.get("SHOP_KAFKA", "127.0.0.1:9092")
TOPIC = os.environ.get("SHOP_TOPIC", "orders")
STOCK = os.environ.get("SHOP_STOCK", "http://127.0.0.1:8002")
