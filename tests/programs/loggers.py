"""What loguru and structlog write as they come: `python -m programs.loggers loguru|structlog [colours]`."""

from __future__ import annotations

import sys
from typing import Any

from programs.served_app import fail

TRACE = "0af7651916cd43dd8448eb211c80319c"


def loguru(*, colours: bool) -> None:
    from loguru import logger

    logger.remove()
    logger.add(sys.stdout, colorize=colours, backtrace=not colours, diagnose=not colours)
    logger.debug("asked")
    logger.success("open | [req-1234-abcd]")
    logger.warning("slow")
    if not colours:
        try:
            fail()
        except ValueError:
            logger.exception("not paid")
    logger.critical("closed")


def structlog(*, colours: bool) -> None:
    import logging

    import structlog

    render: Any = structlog.dev.ConsoleRenderer(
        colors=colours, exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(
        processors=[
            structlog.stdlib.add_logger_name,
            structlog.processors.add_log_level,
            structlog.dev.set_exc_info,
            structlog.processors.TimeStamper(fmt="iso" if colours else "%Y-%m-%d %H:%M:%S", utc=colours),
            render,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    logging.basicConfig(level="DEBUG", format="%(message)s", stream=sys.stdout)
    log = structlog.get_logger("shop.orders")
    log.debug("asked")
    log.info("open | [req-1234-abcd]", order=7, who="it's a b", none=None, trace_id=TRACE)
    log.warning("slow", took=1.5, path="/a=b", empty="")
    try:
        fail()
    except ValueError:
        log.exception("not paid", order=8)
    log.critical("closed")


if __name__ == "__main__":
    {"loguru": loguru, "structlog": structlog}[sys.argv[1]](colours=len(sys.argv) > 2)
