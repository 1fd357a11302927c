"""What a user may write under `sinks: {…: {type: elasticsearch, …}}`, and what of it cannot work."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

from ...config.fields import Duration, Secret, Size, setting
from ...config.tls import TlsConfig

__all__ = ["ElasticsearchConfig"]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS: Final = {
    "accept",
    "authorization",
    "content-type",
    "content-encoding",
    "content-length",
    "host",
}
_PLACE: Final = re.compile(r"\{([^{}]*)\}")
_NOT_IN_NAMES: Final = re.compile(r'[\\/*?"<>| ,#:\x00-\x20\x7f]')


@dataclass(frozen=True, slots=True)
class ElasticsearchConfig:
    """Where the cluster is, where events go in it, and how much at once."""

    hosts: tuple[str, ...] = setting(
        (),
        help="addresses of the cluster's nodes; what one does not answer goes to the next",
        example="[http://localhost:9200]",
    )
    cloud_id: str | None = setting(None, help="of a deployment in Elastic Cloud, instead of hosts")
    data_stream: str = setting(
        "logs-{service}-{environment}",
        help="where events go; {service} and {environment} stand for the configuration's own",
    )
    api_key: Secret | None = setting(None, help="as Elasticsearch shows it (encoded), or id:key")
    username: str | None = setting(None, help="for basic authentication")
    password: Secret | None = setting(None, help="for basic authentication")
    headers: Mapping[str, str] = setting(factory=dict, help="further headers of each request")
    tls: TlsConfig = setting(factory=TlsConfig, help="certificates")
    timeout: Duration = setting(
        Duration(30.0), help="for one request, from connecting to the last byte", minimum=0.05, maximum=600
    )
    compression: Literal["gzip", "off"] = setting("gzip", help="of what is sent")
    setup: Literal["first_use", "manual"] = setting(
        "first_use", help="the index template: made with the first delivery, or by logferry setup alone"
    )
    retention: Duration | None = setting(
        None, help="how long the data stream keeps events (its lifecycle); none: for ever", minimum=3600
    )
    ilm_policy: str | None = setting(
        None, help="a policy of index lifecycle management, instead of the data stream's own lifecycle"
    )
    index_settings: Mapping[str, str] = setting(
        factory=dict, help="further settings of the index template", example='{number_of_replicas: "0"}'
    )
    max_batch_events: int = setting(5_000, help="events of one batch", minimum=1, maximum=50_000)
    # A node takes http.max_content_length (100 MB) at most, and a tenth of its heap of all requests together.
    max_batch_bytes: Size = setting(
        Size(4 << 20), help="bytes of one batch, before compression", minimum=300_000, maximum=64 << 20
    )

    def __post_init__(self) -> None:
        for problem in (*self._places(), *self._credentials(), self._headers(), *self._indices()):
            if problem:
                raise ValueError(problem)

    @property
    def urls(self) -> Sequence[str]:
        """The nodes' addresses without a final slash."""
        return (_cloud(self.cloud_id),) if self.cloud_id else tuple(url.rstrip("/") for url in self.hosts)

    def stream(self, service: str, environment: str) -> str:
        """Return the data stream's name for a service and its environment."""
        parts = {"service": service, "environment": environment}
        # A service may be called as no index may: what cannot stand in a name becomes a dash.
        clean = {key: _NOT_IN_NAMES.sub("-", value.lower()) or "-" for key, value in parts.items()}
        return _PLACE.sub(lambda match: clean[match[1]], self.data_stream)

    def _places(self) -> Iterator[str]:
        if bool(self.hosts) == bool(self.cloud_id):
            yield "hosts or cloud_id: one of them, and not both"
        for host in self.hosts:
            yield _url(host)
        if self.cloud_id and not _cloud(self.cloud_id):
            yield "cloud_id: not one; copy it from the deployment's page"

    def _credentials(self) -> Iterator[str]:
        if (self.username is None) != (self.password is None):
            yield "username and password belong together"
        if self.api_key is not None and self.username is not None:
            yield "api_key and username exclude one another"
        if self.username is not None and ":" in self.username:
            yield "username: holds a colon, which basic authentication cannot carry"
        texts = [secret.reveal() for secret in (self.password, self.api_key) if secret is not None]
        if any(_CONTROL.search(text) for text in (self.username or "", *texts)):
            yield "username, password, api_key: a control character or line break in one of them"
        if self.api_key is not None and not self.api_key.reveal().isascii():
            yield "api_key: not ASCII"

    def _headers(self) -> str:
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name):
                return f"headers.{name}: not a header's name"
            if name.lower() in _OWN_HEADERS:
                return f"headers.{name}: set by the sink itself"
            if _CONTROL.search(value) or not value.isascii():
                return f"headers.{name}: a control character or a letter beyond ASCII"
        return ""

    def _indices(self) -> Iterator[str]:
        for place in _PLACE.findall(self.data_stream):
            if place not in {"service", "environment"}:
                yield f"data_stream: {{{place}}} stands for nothing; {{service}} and {{environment}} do"
        name = _PLACE.sub("x", self.data_stream)
        if name != name.lower() or _NOT_IN_NAMES.search(name) or not name or name[0] in "-_+.":
            yield 'data_stream: lower case, without spaces and \\ / * ? " < > | , # :, first no - _ + .'
        if len(name.encode()) > 200:
            yield "data_stream: longer than 200 bytes"
        if self.ilm_policy is not None and self.retention is not None:
            yield "retention and ilm_policy exclude one another: the policy says how long events are kept"


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError when it is no number
    except ValueError:
        return f"hosts: {url!r} is not an address such as http://localhost:9200"
    if parts.username is not None or parts.password is not None:
        return "hosts: credentials go into username and password, or api_key"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return f"hosts: write {url!r} with its scheme, such as http://localhost:9200"
    return f"hosts: {url!r} has a query or fragment" if parts.query or parts.fragment else ""


def _cloud(cloud_id: str) -> str:
    """Return the address of a cloud id (`name:base64(domain$elasticsearch$kibana)`); `""`: it is none."""
    try:
        text = base64.b64decode(cloud_id.rpartition(":")[2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    domain, _, rest = text.partition("$")
    cluster = rest.partition("$")[0]
    host, colon, port = domain.partition(":")
    if not host or not cluster or (colon and not port.isdigit()):
        return ""
    return f"https://{cluster}.{host}:{port or 443}"
