"""Elasticsearch's security and lifecycle policies, which are no published jars: a gate before the server.

    with SecurityGate(elasticsearch.url) as gate:
        gate.users["shipper"] = Holder("secret", {"monitor", "create_doc", "auto_configure"})
        gate.keys["id"] = Holder("key", {"monitor", "create_doc"})
        gate.policies["weekly"] = {"phases": {}}
        gate.url

What is allowed passes through to the server, and what it answers comes back as it is. Own are only

- 401 without credentials, with wrong ones and with an API key that is not there or was taken away, and 403
  for an action without its privilege, with the bodies that Elastic's documentation and own tests show;
- `_security/user/_has_privileges`;
- in a bulk request an item of 403 for each event, where `create_doc` (or for a new data stream
  `auto_configure`) is missing: as in Elasticsearch such a request is answered with 200;
- `failure_store: used` in place of an item's 400, for data streams in `failure_stores`;
- `_ilm/policy`, and `index.lifecycle.name` in a template, which the server without that module would refuse:
  it is kept here and shown again.

Roles, document level security and other privileges are not there: a holder has privileges, for all data
streams alike.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

__all__ = ["Holder", "SecurityGate"]

Answer = tuple[int, Mapping[str, str], bytes]

_JSON = {"Content-Type": "application/json", "X-Elastic-Product": "Elasticsearch"}
_CHALLENGES = ['Basic realm="security", charset="UTF-8"', "ApiKey"]
_ACTIONS = (
    # method, path, action, what grants it (the first is what a holder of ours needs)
    ("GET", r"/", "cluster:monitor/main", "monitor,manage,all", "cluster"),
    (
        "GET",
        r"/_index_template/.+",
        "indices:admin/index_template/get",
        "manage_index_templates,manage,all",
        "cluster",
    ),
    (
        "PUT",
        r"/_index_template/.+",
        "indices:admin/index_template/put",
        "manage_index_templates,manage,all",
        "cluster",
    ),
    ("GET", r"/_ilm/policy/.+", "cluster:admin/ilm/get", "read_ilm,manage_ilm,manage,all", "cluster"),
    ("GET", r"/_data_stream/.+", "indices:admin/data_stream/get", "view_index_metadata,manage,all", "index"),
    ("PUT", r"/_data_stream/.+", "indices:admin/data_stream/create", "create_index,manage,all", "index"),
    ("POST", r"/.+/_rollover", "indices:admin/rollover", "manage,all", "index"),
)


@dataclass(slots=True)
class Holder:
    """Who has a password, or the secret of an API key, and what that allows."""

    secret: str
    privileges: set[str]


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who calls, as the server's sentences name them."""

    name: str
    holder: Holder


class SecurityGate:
    """Stands before one server; everything may be changed while it runs."""

    def __init__(self, upstream: str) -> None:
        self.users: dict[str, Holder] = {}
        self.keys: dict[str, Holder] = {}
        self.policies: dict[str, Any] = {}
        self.failure_stores: set[str] = set()
        self.statuses: list[int] = []
        self.bulks_refused = 0
        self._upstream = urlsplit(upstream)
        self._lifecycles: dict[str, str] = {}
        gate = self

        class Handler(_Handler):
            gate_of = gate

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Say no, answer what the server has not, or let it answer."""
        path = unquote(target.partition("?")[0])
        found = self._who(path, headers.get("authorization", ""))
        if not isinstance(found, _Caller):
            return found
        if (refusal := self._forbidden(method, path, found, headers, body)) is not None:
            return refusal
        if path == "/_security/user/_has_privileges":
            return self._privileges(found, json.loads(body))
        if path.startswith("/_ilm/policy/"):
            return self._policy(path.rpartition("/")[2])
        if path.endswith("/_bulk") and path.split("/")[1] in self.failure_stores:
            return self._diverted(method, target, headers, body)
        return self._template(method, path, target, headers, body)

    def _forbidden(
        self, method: str, path: str, who: _Caller, headers: Mapping[str, str], body: bytes
    ) -> Answer | None:
        """Return the refusal of what the caller may not do."""
        for verb, pattern, action, grants, kind in _ACTIONS:
            if verb == method and re.fullmatch(pattern, path):
                if grants.partition(",")[0] in who.holder.privileges:
                    return None
                return _refused(403, _unauthorized(action, who.name, grants, kind))
        if path.endswith("/_bulk") and (lacking := self._lacking(path, who.holder)):
            self.bulks_refused += 1
            return _bulk_refused(who.name, path.split("/")[1], headers, body, lacking)
        return None

    def _diverted(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        status, answered, content = self.forward(method, target, headers, body)
        found = json.loads(content)
        for item in found["items"]:
            if item["create"]["status"] == 400:
                item["create"] = {"status": 201, "failure_store": "used"}
        found["errors"] = any(item["create"]["status"] >= 300 for item in found["items"])
        return status, answered, json.dumps(found).encode()

    def forward(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Have the server answer."""
        connection = http.client.HTTPConnection(
            self._upstream.hostname or "", self._upstream.port, timeout=60
        )
        left_out = {"connection", "content-length", "host", "authorization"}
        try:
            passed = {name: value for name, value in headers.items() if name not in left_out}
            connection.request(method, target, body, passed)
            found = connection.getresponse()
            return found.status, dict(found.getheaders()), found.read()
        finally:
            connection.close()

    def _who(self, path: str, authorization: str) -> _Caller | Answer:
        scheme, _, given = authorization.partition(" ")
        if not given:
            return _refused(401, f"missing authentication credentials for REST request [{path}]")
        try:
            name, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            name = secret = ""
        key = scheme.lower() == "apikey"
        holder = (self.keys if key else self.users).get(name)
        if holder is not None and holder.secret == secret:
            return _Caller(f"API key id [{name}] of user [elastic]" if key else f"user [{name}]", holder)
        if not key:
            return _refused(401, f"unable to authenticate user [{name}] for REST request [{path}]")
        said = "unable to authenticate with provided credentials and anonymous access is not allowed"
        return _refused(401, f"{said} for this request")

    def _privileges(self, who: _Caller, wanted: Mapping[str, Any]) -> Answer:
        found = {
            index: {privilege: privilege in who.holder.privileges for privilege in entry["privileges"]}
            for entry in wanted.get("index", ())
            for index in entry["names"]
        }
        everything = all(has for each in found.values() for has in each.values())
        body = {"username": who.name, "has_all_requested": everything, "cluster": {}, "index": found}
        return 200, _JSON, json.dumps(body).encode()

    def _policy(self, name: str) -> Answer:
        if name not in self.policies:
            return _refused(404, f"Lifecycle policy not found: {name}", "resource_not_found_exception")
        told = {"version": 1, "modified_date": "2026-01-01T00:00:00.000Z", "policy": self.policies[name]}
        return 200, _JSON, json.dumps({name: told}).encode()

    def _lacking(self, path: str, holder: Holder) -> tuple[str, str] | None:
        """Return the action that is not allowed, and what would grant it."""
        if "create_doc" not in holder.privileges:
            return "indices:data/write/bulk[s]", "create_doc,create,delete,index,write,all"
        stream = path.split("/")[1]
        if (
            "auto_configure" not in holder.privileges
            and self.forward("HEAD", f"/{stream}", {}, b"")[0] == 404
        ):
            return "indices:admin/auto_create", "auto_configure,create_index,manage,all"
        return None

    def _template(
        self, method: str, path: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Pass a request on; a template without its policy's name, and back with it."""
        name = path.rpartition("/")[2]
        if method == "PUT" and path.startswith("/_index_template/"):
            wanted = json.loads(body)
            self._lifecycles.pop(name, None)
            if (policy := wanted["template"]["settings"].pop("index.lifecycle.name", None)) is not None:
                self._lifecycles[name] = policy
                body = json.dumps(wanted).encode()
        status, answered, content = self.forward(method, target, headers, body)
        if method == "GET" and path.startswith("/_index_template/") and name in self._lifecycles:
            found = json.loads(content)
            index = found["index_templates"][0]["index_template"]["template"]["settings"]["index"]
            index["lifecycle"] = {"name": self._lifecycles[name]}
            content = json.dumps(found).encode()
        return status, answered, content


def _error(reason: str, kind: str = "security_exception", **more: Any) -> dict[str, Any]:
    return {"type": kind, "reason": reason, **more}


def _unauthorized(action: str, who: str, grants: str, kind: str) -> str:
    """Return Elasticsearch's sentence: what is not allowed, to whom, and what would allow it."""
    granted = f"this action is granted by the {kind} privileges [{grants}]"
    return f"action [{action}] is unauthorized for {who}, {granted}"


def _refused(status: int, reason: str, kind: str = "security_exception") -> Answer:
    more = {"header": {"WWW-Authenticate": _CHALLENGES}} if status == 401 else {}
    error = _error(reason, kind, **more)
    body = {"error": {"root_cause": [error], **error}, "status": status}
    headers = {**_JSON, **({"WWW-Authenticate": ", ".join(_CHALLENGES)} if status == 401 else {})}
    return status, headers, json.dumps(body).encode()


def _bulk_refused(
    who: str, stream: str, headers: Mapping[str, str], body: bytes, lacking: tuple[str, str]
) -> Answer:
    """Return a bulk answer in which each event is refused: 200 for the whole, as the server does."""
    raw = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
    lines = raw.split(b"\n")[:-1]
    reason = _unauthorized(lacking[0], f"{who} on indices [{stream}]", lacking[1], "index")
    refusal = {"_index": stream, "status": 403, "error": _error(reason)}
    items = [{"create": {**refusal, "_id": json.loads(line)["create"].get("_id")}} for line in lines[::2]]
    return 200, _JSON, json.dumps({"took": 0, "errors": True, "items": items}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    gate_of: SecurityGate

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone
            super().handle()

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            status, answered, content = self.gate_of.answer(self.command, self.path, headers, body)
        except (OSError, http.client.HTTPException):  # the server is not there
            status, answered, content = 503, {}, b""
        self.gate_of.statuses.append(status)
        self.send_response_only(status)
        for name, value in answered.items():
            if name.lower() not in {"connection", "content-length", "transfer-encoding"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


for _method in ("GET", "POST", "PUT", "HEAD", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler._do)
