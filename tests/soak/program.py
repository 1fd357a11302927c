"""A program that logs at an even pace until the file `stop` appears: python program.py FACTS(JSON).

After each log call the number of calls that returned goes into a mapped page of the file `count`, which
outlives a SIGKILL. On purpose, to see the soak fail, `leak` bytes of each record are kept, and `leak_files` a
second stay open.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any

import logferry
from logferry.shipper import lifecycle

_TICK = 0.02


def main(facts: dict[str, Any]) -> None:
    log = logging.getLogger("soak")
    logferry.configure(facts["config"])
    stop, run, rate = Path(facts["stop"]), facts["run"], facts["rate"]
    kept: list[bytes] = []
    files: list[int] = []
    count = 0
    with Path(facts["count"]).open("r+b") as file, mmap.mmap(file.fileno(), 8) as page:
        begun = time.monotonic()
        while not stop.exists():
            due = int((time.monotonic() - begun) * rate) - count
            for _ in range(max(0, min(due, rate))):
                call = log.error if count % 50 == 0 else log.info
                call("r%d-n%d", run, count, extra={"order": count, "note": "x" * (count * 7 % 200)})
                count += 1
                page[:8] = count.to_bytes(8, "little")
                if facts["leak"]:
                    kept.append(bytes(facts["leak"]))
            while len(files) < int((time.monotonic() - begun) * facts["leak_files"]):
                files.append(os.open("/dev/null", os.O_RDONLY))
            time.sleep(_TICK)
    pipeline = lifecycle.current()
    assert pipeline is not None
    deadline = time.monotonic() + facts["patience"]
    while any(account.pending for account in pipeline.accounts().values()) and time.monotonic() < deadline:
        logferry.flush(1)  # wakes what waits for a server that is there again
        time.sleep(0.1)
    logferry.shutdown(10)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
