"""The driver: frames a batch, sends it, reads the verdict of each event.

Rules:

- Before the first batch it asks who answers and, with `setup: first_use`, makes the index template where
  there is none. What it may not make does not stop it: the server says of each event what it thinks.
- What the server's mapping refuses (400) is sent once more within the same call, in a form that no mapping
  minds (`framing.contained_bulk`); only what is refused again is a dead letter, with the first reason.
- Nothing is retried here; the worker does that. Sending twice is harmless: the ids are ours.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote

import orjson

from ...core.gzipped import gzipped
from ...diagnostics import say
from ...floor import FLOOR
from ...model import Batch, Delivered, Limits, Rejected, Retry, Split, Verdict
from ...ports import SetupStep, SinkContext
from ...transport import Answer, basic_auth, retry_after
from ...turns import Turns
from .cluster import ANSWER_BYTES, Cluster
from .config import ElasticsearchConfig
from .framing import OVERHEAD, bulk, contained_bulk
from .install import Installer, ask_server, problem
from .server import Server
from .template import Wishes, field_types
from .verdict import Fold, all_stored, excerpt, judge_items, judge_request, read_items

__all__ = ["ElasticsearchSink"]

_EVENT_BYTES: Final = 1_000_000


class ElasticsearchSink:
    """Delivers to a data stream by the bulk interface."""

    def __init__(
        self, config: ElasticsearchConfig, context: SinkContext, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._name = context.name
        self._clock = clock
        self._types = field_types(context.schema)
        self._stream = config.stream(context.schema.service, context.schema.environment)
        self._cluster = Cluster(config.urls, _headers(config), config.timeout, config.tls.tls())
        wishes = Wishes(config.retention, config.ilm_policy, config.index_settings)
        self._installer = Installer(self._cluster, context.schema, self._stream, wishes)
        self._server: Server | None = None
        self._turns = Turns()
        self.diverted = 0
        """Events that the server put into its failure store."""

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        return Limits(
            config.max_batch_events, config.max_batch_bytes, max_event_bytes=_EVENT_BYTES, overhead=OVERHEAD
        )

    def send(self, batch: Batch) -> Verdict:
        """Deliver one batch."""
        if not batch.lines:
            return Delivered()
        server = self._prepared()
        if isinstance(server, Retry):
            return server
        rejected: dict[int, Rejected] = {}
        with FLOOR:
            pieces, indexes = bulk(batch, self._turns.rest, rejected)
        fold = Fold(dict(rejected))
        if indexes and (verdict := self._post(server, pieces, indexes, fold, batch.attempt)) is not None:
            # Of the whole request; what is no event is dead all the same, once the rest has passed.
            return verdict
        if fold.unfit:
            self._contain(server, batch, fold)
        if fold.missing:
            self._server = None  # the template has gone: the next attempt makes it again
        if fold.diverted:
            self.diverted += fold.diverted
            text = (
                f"sink {self._name}: Elasticsearch put events into its failure store ({self.diverted} so far)"
            )
            say("WARNING", text, f"{self._name} failure store")
        return fold.verdict(len(batch), batch.attempt)

    def setup(self, *, dry_run: bool) -> Sequence[SetupStep]:
        """Make the index template and the data stream, or say what would be made."""
        return list(self._installer.steps(dry_run=dry_run))

    def check(self) -> Sequence[str]:
        """Ask who answers, and whether the credentials suffice."""
        server = ask_server(self._cluster)
        if isinstance(server, Retry):
            return [f"{self._name}: {server.reason}"]
        wanted = {"index": [{"names": [self._stream], "privileges": ["auto_configure", "create_doc"]}]}
        answer = self._cluster.request(
            "POST", "/_security/user/_has_privileges", server.json, orjson.dumps(wanted)
        )
        if isinstance(answer, Retry):
            return [f"{self._name}: {answer.reason}"]
        if answer.status in {401, 403}:
            return [f"{self._name}: {problem(answer)}"]
        if answer.status == 200 and '"has_all_requested":false' in answer.body.replace(" ", ""):
            wants = f"auto_configure and create_doc on {self._stream}"
            return [f"{self._name}: the credentials lack a privilege: {wants} ({excerpt(answer.body)})"]
        return []  # whatever else it says: it has no security, and lets everybody in

    def close(self) -> None:
        """Release the connections."""
        self._cluster.close()

    def _prepared(self) -> Server | Retry:
        if self._server is not None:
            return self._server
        server = ask_server(self._cluster)
        if isinstance(server, Retry):
            return server
        if self._config.setup == "first_use":
            step = self._installer.first_use(server)
            if isinstance(step, Retry):
                return step
            if step.problem:
                text = f"sink {self._name}: {step.what} could not be made: {step.problem}"
                say("WARNING", text, f"{self._name} setup")
        if not server.streams_only:
            missing = self._installer.missing_stream(server, make=self._config.setup == "first_use")
            if missing is not None:
                return missing
        self._server = server
        return server

    def _post(
        self, server: Server, pieces: Sequence[bytes], indexes: Sequence[int], fold: Fold, attempt: int
    ) -> Verdict | None:
        """Send a body and note what became of its events; a verdict when it is one on all of them."""
        headers = server.bulk
        if self._config.compression == "gzip":
            body, headers = gzipped(*pieces), {**headers, "Content-Encoding": "gzip"}
        else:
            body = b"".join(pieces)
        answer = self._cluster.request("POST", f"/{quote(self._stream)}{server.bulk_target}", headers, body)
        if isinstance(answer, Retry):
            return answer
        if answer.status != 200:
            return self._judge(answer, len(indexes), attempt)
        if all_stored(answer.body, len(indexes)):
            return None
        items = read_items(answer.body, len(indexes))
        if items is not None:
            judge_items(items, indexes, fold)
            return None
        if len(answer.body) >= ANSWER_BYTES and len(indexes) > 1:
            return Split("the answer was too long to be read whole")
        return self._judge(answer, len(indexes), attempt)

    def _judge(self, answer: Answer, events: int, attempt: int) -> Verdict:
        after = retry_after(answer.headers.get("retry-after"), self._clock())
        return judge_request(answer.status, answer.body, events=events, attempt=attempt, after=after)

    def _contain(self, server: Server, batch: Batch, fold: Fold) -> None:
        """Send what the mapping refused once more, in the contained form."""
        first, fold.unfit = fold.unfit, {}
        body, indexes = contained_bulk(batch, tuple(first), self._types)
        fold.refused.update((index, Rejected(said)) for index, said in first.items() if index not in indexes)
        if not indexes:
            return
        verdict = self._post(server, (body,), indexes, fold, batch.attempt)
        if verdict is not None:
            reason = getattr(verdict, "reason", "")
            again = verdict if isinstance(verdict, Retry) else Retry(reason)
            fold.refused.update(dict.fromkeys(indexes, again))
        fold.refused.update((index, Rejected(first[index])) for index in fold.unfit)


def _headers(config: ElasticsearchConfig) -> dict[str, str]:
    headers = {"User-Agent": "logferry", **config.headers}
    if config.api_key is not None:
        key = config.api_key.reveal()
        headers["Authorization"] = f"ApiKey {base64.b64encode(key.encode()).decode() if ':' in key else key}"
    elif config.username is not None and config.password is not None:
        headers["Authorization"] = basic_auth(config.username, config.password.reveal())
    return headers
