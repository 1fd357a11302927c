"""AWS's interfaces for the sinks: botocore signs and reads, we send. A call gives an answer or a failure.

Rules

- botocore is imported by the first call, in the worker's thread: it takes a tenth of a second, and loading a
  service's description twice that.
- Its retries are off: the worker has the one retry policy.
- Requests go over our own connection (`bounded_http`), because botocore's time-out bounds one read only: a
  server that sends a byte a second would hold the worker for ever. Only where a proxy is set in the
  environment does botocore send by itself.
- A failure is a value. It never holds a header or a credential; what AWS says of a signature is left out,
  because it repeats the request's headers.
- Credentials that were refused are forgotten with the client: the next call reads them anew from where they
  come from, so that rotated ones are picked up.
- A success without AWS's request id is none: something else answered.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from .model import Retry
from .transport import Tls, retry_after, tls_context
from .trouble import reach, why

if TYPE_CHECKING:
    from .bounded_http import Line

__all__ = ["Access", "AwsClient", "Failure", "common_verdict"]

_ANSWER_BYTES: Final = 1 << 20
_SET_BY_LINE: Final = {"host", "content-length", "accept-encoding", "connection", "expect"}

CREDENTIALS: Final = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
"""Codes that say that the credentials are not, or no longer, good."""

THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""Codes of a server that is too busy; most come as HTTP 400."""

UNANSWERED: Final = "Unanswered"
UNUSABLE: Final = "Unusable"
NO_CREDENTIALS: Final = "NoCredentials"


@dataclass(frozen=True, slots=True)
class Access:
    """Where and as whom; None: from where AWS's tools look. `secret` are key id, key and session token."""

    region: str | None = None
    profile: str | None = None
    role: str | None = None
    external_id: str | None = None
    secret: tuple[str, str, str | None] | None = field(default=None, repr=False)
    endpoint_url: str | None = None
    tls: Tls = field(default_factory=Tls)
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call did not succeed: AWS's code and words, or ours (`UNANSWERED` and so on)."""

    code: str
    said: str
    status: int = 0
    after: float | None = None

    @property
    def text(self) -> str:
        """Code and words, for people."""
        if self.status == 0:
            return self.said
        return f"AWS answered {self.status} {self.code}" + (f": {self.said}" if self.said else "")


def common_verdict(failure: Failure) -> Retry | None:
    """Return what any service's failure of this kind means; None: the service has to say."""
    code, status = failure.code, failure.status
    if code in {UNANSWERED, NO_CREDENTIALS, UNUSABLE}:
        return Retry(failure.said, pause=code != UNANSWERED)
    if code in CREDENTIALS:
        hint = "AWS refuses the credentials (or this machine's clock is wrong)"
        return Retry(f"{hint}: {failure.text}", failure.after, pause=True)
    if code in THROTTLED | _PASSING or status in {408, 429} or status >= 500:
        return Retry(failure.text, failure.after)
    if status == 401:  # no code of AWS: something before it
        return Retry(f"the credentials are refused: {failure.text}", failure.after, pause=True)
    if code.startswith("AccessDenied") or status == 403:
        return Retry(f"a permission is missing: {failure.text}", failure.after, pause=True)
    return None


_PASSING: Final = {"RequestTimeout", "ServiceUnavailable", "OperationAborted", "OperationAbortedException"}


class _Body:
    """A whole body as botocore reads one."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._body


class _RedirectError(ValueError):
    """Something that is not AWS sends us elsewhere. botocore would ask it again where, without an end."""


class AwsClient:
    """Calls one service. Used by one thread at a time; connects with the first call."""

    def __init__(self, service: str, access: Access, options: Mapping[str, Any] | None = None) -> None:
        self._service = service
        self._access = access
        self._options = dict(options or {})
        self._client: Any = None
        self._lines: dict[tuple[str, str], Line] = {}
        self._body: bytes | None = None

    def call(self, operation: str, parameters: Mapping[str, Any], body: bytes | None = None) -> Any | Failure:
        """Call `operation` (`put_log_events`); return its answer, a mapping, or why there is none.

        `body` is the whole request, encoded already, for services that speak JSON; `parameters` then need
        to name nothing.
        """
        import urllib3  # before any part of it, as in `transport`
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._client is None:
                self._client = self._make()
            self._body = body
            answer = getattr(self._client, operation)(**parameters)
        except ClientError as error:
            return self._refused(error.response)
        except BotoCoreError as error:
            return self._broken(error)
        except _RedirectError as error:
            return Failure(UNUSABLE, f"{self.address}: {error}")
        except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            self.close()
            return Failure(UNANSWERED, f"{self.address}: {why(error, self._access.timeout)}")
        finally:
            self._body = None
        facts = answer.get("ResponseMetadata", {})
        headers = facts.get("HTTPHeaders", {})
        if not any(name in headers for name in _REQUEST_IDS):
            said = f"{self.address}: what answered is not AWS (no request id): see endpoint_url and proxies"
            return Failure(UNUSABLE, said, 0)
        return answer

    @property
    def address(self) -> str:
        """Host and port, as far as they are known."""
        url = self._url()
        if url is None:
            return self._service
        parts = urlsplit(url)
        return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"

    @property
    def region(self) -> str:
        """The region in use; empty before the first call."""
        return "" if self._client is None else str(self._client.meta.region_name or "")

    def reach(self) -> Failure | None:
        """Make the client and try its address; return what is wrong (name, port, certificate), or None."""
        from botocore.exceptions import BotoCoreError

        try:
            if self._client is None:
                self._client = self._make()
            parts = urlsplit(self._url() or "")
            context = tls_context(self._access.tls) if parts.scheme == "https" else None
        except BotoCoreError as error:
            return self._broken(error)
        except (OSError, ValueError) as error:
            return Failure(UNANSWERED, f"tls: {why(error, self._access.timeout)}")
        if self._proxied(parts.geturl()):
            return None
        port = parts.port or (443 if parts.scheme == "https" else 80)
        wrong = reach(parts.hostname or "", port, self._access.timeout, context)
        return Failure(UNANSWERED, wrong) if wrong else None

    def close(self) -> None:
        """Close the connections; the next call makes new ones."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()

    def forget(self) -> None:
        """Forget the client and its credentials."""
        self.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    # ── making the client ──

    def _make(self) -> Any:
        from botocore.session import Session

        access = self._access
        session = Session(profile=access.profile)
        if access.role is not None:
            session = self._assumed(session)
        client = session.create_client(self._service, **self._settings(session, own=access.role is None))
        name = client.meta.service_model.service_id.hyphenize()
        client.meta.events.register(f"before-call.{name}", self._fill)
        client.meta.events.register(f"before-send.{name}", self._send)
        return client

    def _settings(self, session: Any, *, own: bool) -> dict[str, Any]:
        """Return what a client is made with; `own`: with the credentials of the configuration."""
        from botocore.config import Config

        access, tls = self._access, self._access.tls
        config = Config(
            connect_timeout=access.timeout,
            read_timeout=access.timeout,
            retries={"mode": "standard", "total_max_attempts": 1},
            parameter_validation=False,
            max_pool_connections=1,
            user_agent_extra="logferry",
            client_cert=_client_cert(tls),
            **self._options,
        )
        verify: Any = str(tls.ca_file) if tls.ca_file is not None else (None if tls.verify else False)
        settings = {
            "region_name": access.region or session.get_config_variable("region"),
            "config": config,
            "endpoint_url": access.endpoint_url,
            "verify": verify,
        }
        if own and access.secret is not None:
            key, secret, token = access.secret
            settings |= {
                "aws_access_key_id": key,
                "aws_secret_access_key": secret,
                "aws_session_token": token,
            }
        return settings

    def _assumed(self, session: Any) -> Any:
        """Return a session whose credentials are the role's, renewed before they expire."""
        from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials
        from botocore.session import Session

        access = self._access
        settings = self._settings(session, own=True)
        del settings["endpoint_url"]  # that is the service's; AWS_ENDPOINT_URL_STS is read
        sts = session.create_client("sts", **settings)
        asked = {"RoleArn": access.role, "RoleSessionName": "logferry"}
        if access.external_id is not None:
            asked["ExternalId"] = access.external_id

        def renew() -> dict[str, Any]:
            given = sts.assume_role(**asked)["Credentials"]
            return {
                "access_key": given["AccessKeyId"],
                "secret_key": given["SecretAccessKey"],
                "token": given["SessionToken"],
                "expiry_time": given["Expiration"].isoformat(),
            }

        class Role(CredentialProvider):  # type: ignore[misc]
            METHOD = "logferry-role"

            def load(self) -> Any:
                return DeferredRefreshableCredentials(refresh_using=renew, method=self.METHOD)

        assumed = Session(profile=access.profile)
        assumed.get_component("credential_provider").providers.insert(0, Role())
        return assumed

    # ── what botocore calls ──

    def _fill(self, params: Any, model: Any, **_: object) -> None:
        """Put in the body that was encoded already: botocore's own way takes about 7 µs an event."""
        if self._body is None:
            return
        if "json" not in str(params["headers"].get("Content-Type", "")):
            raise ValueError(f"{model.name} does not speak JSON in this version of botocore")
        params["body"] = self._body

    def _send(self, request: Any, **_: object) -> Any:
        """Send over our own connection; None leaves it to botocore."""
        from botocore.awsrequest import AWSResponse

        if self._proxied(request.url):
            return None
        parts = urlsplit(request.url)
        key = (parts.scheme, parts.netloc)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = self._open(parts.scheme, parts.hostname or "", parts.port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
            if name.lower() not in _SET_BY_LINE
        }
        body = request.body or b""
        body = body.read() if hasattr(body, "read") else body
        sent = body.encode() if isinstance(body, str) else bytes(body)
        reply = line.request(request.method, target, headers, sent, self._access.timeout, _ANSWER_BYTES)
        found = dict(reply.headers)
        if 300 <= reply.status < 400 and not any(name.lower().startswith("x-amz") for name in found):
            raise _RedirectError(
                f"a redirect, which is not followed: see endpoint_url and proxies (answered {reply.status})"
            )
        return AWSResponse(request.url, reply.status, found, _Body(reply.body))

    def _open(self, scheme: str, host: str, port: int | None) -> Line:
        from .bounded_http import Line

        return Line(host, port, tls_context(self._access.tls) if scheme == "https" else None)

    @staticmethod
    def _proxied(url: str) -> bool:
        from botocore.utils import get_environ_proxies

        return urlsplit(url).scheme in get_environ_proxies(url)

    def _url(self) -> str | None:
        if self._client is not None:
            return str(self._client.meta.endpoint_url)
        return self._access.endpoint_url

    # ── what went wrong ──

    def _refused(self, response: Mapping[str, Any]) -> Failure:
        error, facts = response.get("Error", {}), response.get("ResponseMetadata", {})
        code, status = str(error.get("Code", "") or "unknown"), int(facts.get("HTTPStatusCode", 0))
        headers = facts.get("HTTPHeaders", {})
        after = retry_after(headers.get("retry-after"), time.time())
        if code in CREDENTIALS:
            self.forget()
            return Failure(code, "", status, after)
        return Failure(_plain(code, 80), _plain(str(error.get("Message", ""))), status, after)

    def _broken(self, error: Exception) -> Failure:
        """Say what botocore itself complains about: credentials, profile, region, or no answer."""
        from botocore import exceptions as known

        kind = type(error).__name__
        if isinstance(error, known.NoRegionError):
            return Failure(UNUSABLE, "no region: set region, or AWS_DEFAULT_REGION")
        if isinstance(error, known.ProfileNotFound):
            return Failure(UNUSABLE, f"there is no profile {self._access.profile!r} in ~/.aws")
        if isinstance(error, known.NoCredentialsError):
            self.forget()
            return Failure(
                NO_CREDENTIALS, "no credentials: set profile, role or access_key_id, or AWS's variables"
            )
        if isinstance(error, known.HTTPClientError):
            self.close()
            return Failure(UNANSWERED, f"{self.address}: {why(error, self._access.timeout)}")
        if "Cred" in kind or "Token" in kind or "SSO" in kind or "Refresh" in kind or "Login" in kind:
            self.forget()
            return Failure(NO_CREDENTIALS, f"the credentials cannot be had ({kind})")
        return Failure(UNANSWERED, f"{self.address}: no answer that can be read ({kind})")


_REQUEST_IDS: Final = ("x-amzn-requestid", "x-amz-request-id", "x-amz-id-2")
_KEYS: Final = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,124}")


def _plain(text: str, limit: int = 300) -> str:
    """Return text of a server's on one line, without control characters and key ids."""
    text = " ".join(_KEYS.sub("***", text[: limit * 4]).split())
    text = "".join(character if character.isprintable() else "�" for character in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _client_cert(tls: Tls) -> Any:
    if tls.cert_file is None:
        return None
    return str(tls.cert_file) if tls.key_file is None else (str(tls.cert_file), str(tls.key_file))
