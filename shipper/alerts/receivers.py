"""The wire: one message to one receiver, within its time-out. Returns what went wrong; `""`: it is there."""

from __future__ import annotations

import smtplib
import ssl
import time
from collections.abc import Callable
from email.message import EmailMessage
from urllib.parse import urlsplit

from ..model import Retry
from ..transport import HttpTransport
from ..trouble import why
from .groups import Notice
from .rules import AlertPlan, Receiver, smtp_address
from .words import email, slack, webhook

__all__ = ["send"]


def send(notice: Notice, receiver: Receiver, plan: AlertPlan, now: Callable[[], float] = time.time) -> str:
    """Send a notice; what went wrong holds no secret, and is one sentence."""
    try:
        if receiver.type == "email":
            return _mail(receiver, email(notice, receiver, plan, now()))
        body = (
            slack(notice, plan, now()) if receiver.type == "slack" else webhook(notice, receiver, plan, now())
        )
        return _post(receiver, body)
    except Exception as error:  # noqa: BLE001 - whatever a message or a server can do, the others must go on
        return f"{type(error).__name__}"


def _post(receiver: Receiver, body: bytes) -> str:
    parts = urlsplit(receiver.url)
    headers = {"Content-Type": "application/json", "User-Agent": "logferry", **receiver.headers}
    transport = HttpTransport(
        f"{parts.scheme}://{parts.netloc}", headers, receiver.timeout, extra="http", secrets=(receiver.url,)
    )
    try:
        # A webhook's path is often its password: it is in no message.
        answer = transport.request(
            "POST", (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), body
        )
    finally:
        transport.close()
    if isinstance(answer, Retry):
        return answer.reason
    return (
        "" if 200 <= answer.status < 300 else f"{parts.hostname}: {answer.status} {answer.body[:200]}".strip()
    )


def _mail(receiver: Receiver, mail: EmailMessage) -> str:
    host, port = smtp_address(receiver.server)
    try:
        context = ssl.create_default_context()
        if receiver.security == "tls":
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                host, port or 465, timeout=receiver.timeout, context=context
            )
        else:
            usual = 587 if receiver.security == "starttls" else 25
            client = smtplib.SMTP(host, port or usual, timeout=receiver.timeout)
        with client:
            if receiver.security == "starttls":
                client.starttls(context=context)
            if receiver.username:
                client.login(receiver.username, receiver.password)
            refused = client.send_message(mail, receiver.sender, receiver.recipients)
    except smtplib.SMTPResponseException as error:
        said = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else ""
        return f"{host}: {error.smtp_code} {said[:200]}"
    except smtplib.SMTPRecipientsRefused as error:
        return f"{host}: refused {', '.join(error.recipients)}"
    except smtplib.SMTPException as error:
        return f"{host}: {type(error).__name__}: {error}"[:300]
    except OSError as error:
        return f"{host}: {why(error, receiver.timeout)}"
    return f"{host}: refused {', '.join(refused)}" if refused else ""
