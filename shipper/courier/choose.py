"""Which running thing a configuration asks for: a pipeline here, or a mailbox that others empty."""

from __future__ import annotations

import hashlib
import json
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeAlias

from ..diagnostics import say
from ..spool.directory import file_name
from .launch import interpreter
from .stay import LINGER, PATIENCE

if TYPE_CHECKING:
    from ..config import Config
    from ..pipeline import Pipeline
    from ..plan import Plan
    from .mailbox import Mailbox

__all__ = ["Shipping", "job_of", "shipping"]

Shipping: TypeAlias = "Pipeline | Mailbox"


def shipping(config: Config, plan: Plan) -> Shipping:
    """Return what is to run in this process. Only what is used is imported."""
    delivery = config.delivery
    if delivery == "process" and not interpreter():
        say("WARNING", "delivery: process needs a Python interpreter to start; threads deliver instead")
        delivery = "thread"
    if delivery == "thread":
        from ..pipeline import Pipeline

        return Pipeline.from_plan(plan)
    from .board import Notice
    from .mailbox import Mailbox

    if delivery == "agent":
        return Mailbox(plan)
    job = job_of(config, plan)
    return Mailbox(plan, job, Notice(digest=job["digest"], configured=job["configured"]))


def job_of(config: Config, plan: Plan) -> dict[str, Any]:
    """Return what a delivery process is to do; secrets are in it."""
    from ..config.transfer import dump

    path = plan.spool.path
    assert path is not None
    plain = dump(config)
    plain["spool"] = {**plain["spool"], "path": str(path)}
    text = json.dumps([_version(), plain], sort_keys=True)
    return {
        "service": str(path / file_name(plan.spool.service)),
        "config": plain,
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "configured": time.time(),
        "linger": LINGER,
        "patience": PATIENCE,
    }


def _version() -> str:
    try:
        return version("logferry")
    except PackageNotFoundError:
        return ""
