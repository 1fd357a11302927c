"""Takes Loki's place where there is no Loki: python standin.py PORT FILE.

What is pushed is in FILE, as pairs of numbers (run, n) of 4 bytes each, before it is acknowledged: like Loki
it may be killed at any moment.
"""

from __future__ import annotations

import os
import re
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cramjam import snappy

_EVENT = re.compile(rb'"message":"r(\d+)-n(\d+)"')


class _Push(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target = -1

    def do_POST(self) -> None:
        body = bytes(snappy.decompress_raw(self.rfile.read(int(self.headers["Content-Length"]))))
        pairs = [int(number) for found in _EVENT.findall(body) for number in found]
        os.write(self.target, struct.pack(f"<{len(pairs)}I", *pairs))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


if __name__ == "__main__":
    _Push.target = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    ThreadingHTTPServer.allow_reuse_address = True
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Push).serve_forever()
