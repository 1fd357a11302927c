"""An aiohttp application that logs as `basicConfig` says: `python -m programs.served_aiohttp PORT FORMAT`."""

from __future__ import annotations

import logging
import sys

from aiohttp import web

from programs.served_app import fail


async def home(_request: web.Request) -> web.Response:
    return web.Response(text="hello")


async def fails(_request: web.Request) -> web.Response:
    fail()
    return web.Response()


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format=sys.argv[2])
    app = web.Application()
    app.add_routes([web.get("/", home), web.get("/fails", fails)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]))
