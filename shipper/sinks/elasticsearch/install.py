"""What the sink needs at the server: the index template and the data stream.

Rules:

- A second call changes nothing: a template carries a fingerprint of what it was made from.
- `setup` (the command) brings everything to what the configuration says. The first use only makes a template
  where there is none: two services with one data stream would otherwise change it in turns for ever.
- A changed template is for new indices: the data stream rolls over at its next write.
- Nothing after a problem is tried.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from ....handlers.schema import Schema
from ...model import Retry
from ...ports import SetupStep
from ...transport import Answer
from .cluster import Cluster
from .server import Server, read_server
from .template import Wishes, fingerprint, index_template, template_name
from .verdict import excerpt, hint

__all__ = ["Installer", "ask_server"]


def ask_server(cluster: Cluster) -> Server | Retry:
    """Ask who answers; a `Retry` says why it cannot be told, or that it is nobody we can talk to."""
    answer = cluster.request("GET", "/", {"Accept": "application/json"})
    if isinstance(answer, Retry):
        return answer
    if answer.status == 403:
        return Server()
    if answer.status != 200:
        pause = answer.status < 500 and answer.status not in {408, 429}
        return Retry(problem(answer), pause=pause)
    found = read_server(answer.body)
    return Retry(found, pause=True) if isinstance(found, str) else found


def problem(answer: Answer) -> str:
    """Return what an answer that is not the wished one means."""
    said = f"answered {answer.status}" + (f": {excerpt(answer.body)}" if answer.body.strip() else "")
    if answer.status in {401, 403} or 300 <= answer.status < 400:
        return f"{hint(answer.status)} ({said})"
    return f"Elasticsearch {said}"


@dataclass(frozen=True, slots=True)
class Installer:
    """Prepares one data stream at one cluster."""

    cluster: Cluster
    schema: Schema
    stream: str
    wishes: Wishes

    def template(self, server: Server) -> dict[str, Any]:
        """Return the template's body for this server."""
        return index_template(self.schema, self.stream, self.wishes, opensearch=server.opensearch)

    def first_use(self, server: Server) -> Retry | SetupStep:
        """Make the template where there is none. A `Retry`: the server cannot be asked now."""
        name, body = template_name(self.stream), self.template(server)
        found = self._get(server, f"/_index_template/{quote(name)}")
        if isinstance(found, Retry):
            return found
        what = f"index template {name}"
        if found.status == 200:
            return SetupStep(what, "none", body)
        if found.status != 404:
            return SetupStep(what, "create", body, problem(found))
        made = self._put(server, f"/_index_template/{quote(name)}", body)
        if isinstance(made, Retry):
            return made
        return SetupStep(what, "create", body, "" if made.status == 200 else problem(made))

    def missing_stream(self, server: Server, *, make: bool) -> Retry | None:
        """Make sure that there is a data stream, where a bulk request cannot ask for one (OpenSearch).

        Without one the server would make an index with a mapping of its own invention. A `Retry`: there is
        none. Who may not ask (403) is believed.
        """
        target = f"/_data_stream/{quote(self.stream)}"
        found = self._get(server, target)
        if isinstance(found, Retry) or found.status != 404:
            return found if isinstance(found, Retry) else None
        if not make:
            return Retry(f"there is no data stream {self.stream}: call logferry setup", pause=True)
        made = self._put(server, target)
        if isinstance(made, Retry) or made.status == 200 or "already_exists" in made.body:
            return made if isinstance(made, Retry) else None
        return Retry(f"data stream {self.stream} could not be made: {problem(made)}", pause=True)

    def steps(self, *, dry_run: bool) -> Iterator[SetupStep]:
        """Do everything, or say what would be done; see `ports.SetsUp`."""
        server = ask_server(self.cluster)
        if isinstance(server, Retry):
            if not dry_run:
                yield SetupStep("server", "none", problem=server.reason)
                return
            yield SetupStep(f"index template {template_name(self.stream)}", "create", self.template(Server()))
            yield SetupStep(f"data stream {self.stream}", "create")
            return
        if self.wishes.ilm_policy is not None and (trouble := self._without_ilm(server)):
            yield SetupStep(f"lifecycle policy {self.wishes.ilm_policy}", "none", problem=trouble)
            return
        template = self._bring_template(server, dry_run=dry_run)
        yield template
        if not template.problem:
            yield self._bring_stream(server, changed=template.action == "change", dry_run=dry_run)

    def _without_ilm(self, server: Server) -> str:
        name = self.wishes.ilm_policy or ""
        found = self._get(server, f"/_ilm/policy/{quote(name)}")
        if isinstance(found, Retry):
            return found.reason
        if found.status == 200:
            return ""
        if found.status == 404:
            return f"there is no policy {name}: make it, or use retention"
        if found.status in {400, 405}:
            return "this server has no index lifecycle management: use retention"
        return problem(found)

    def _bring_template(self, server: Server, *, dry_run: bool) -> SetupStep:
        name, body = template_name(self.stream), self.template(server)
        what, target = f"index template {name}", f"/_index_template/{quote(name)}"
        found = self._get(server, target)
        if isinstance(found, Retry) or found.status not in {200, 404}:
            said = found.reason if isinstance(found, Retry) else problem(found)
            return SetupStep(what, "create", body, said)
        if found.status == 200 and _mark_of(found) == fingerprint(body):
            return SetupStep(what, "none", body)
        made = None if dry_run else self._put(server, target, body)
        return SetupStep(what, "change" if found.status == 200 else "create", body, _said(made))

    def _bring_stream(self, server: Server, *, changed: bool, dry_run: bool) -> SetupStep:
        what, target = f"data stream {self.stream}", f"/_data_stream/{quote(self.stream)}"
        found = self._get(server, target)
        if isinstance(found, Retry) or found.status not in {200, 404}:
            said = found.reason if isinstance(found, Retry) else problem(found)
            return SetupStep(what, "create", problem=said)
        if found.status == 404:
            return SetupStep(what, "create", problem=_said(None if dry_run else self._put(server, target)))
        if not changed:
            return SetupStep(what, "none")
        made = None if dry_run else self._roll_over(server)
        return SetupStep(f"{what}, a new index from its next write on", "change", problem=_said(made))

    def _roll_over(self, server: Server) -> Answer | Retry:
        lazy = "" if server.opensearch else "?lazy=true"
        return self.cluster.request("POST", f"/{quote(self.stream)}/_rollover{lazy}", server.json)

    def _get(self, server: Server, target: str) -> Answer | Retry:
        return self.cluster.request("GET", target, {"Accept": server.json["Accept"]})

    def _put(self, server: Server, target: str, body: Mapping[str, Any] | None = None) -> Answer | Retry:
        if body is None:
            return self.cluster.request("PUT", target, {"Accept": server.json["Accept"]})
        return self.cluster.request("PUT", target, server.json, orjson.dumps(body))


def _said(made: Answer | Retry | None) -> str:
    if isinstance(made, Retry):
        return made.reason
    return "" if made is None or made.status in {200, 201} else problem(made)


def _mark_of(answer: Answer) -> str:
    """Return the fingerprint of the template that `GET _index_template/…` told."""
    try:
        return fingerprint(msgspec.json.decode(answer.body)["index_templates"][0]["index_template"])
    except (msgspec.DecodeError, KeyError, IndexError, TypeError, AttributeError):
        return ""
