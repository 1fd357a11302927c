"""A real SMTP server (aiosmtpd) that keeps the mails it gets; with TLS and accounts where asked for."""

from __future__ import annotations

import ssl
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from .loki import free_port

__all__ = ["Mailbox"]


class Mailbox:
    """with Mailbox() as box: … box.server … box.mails. `account` is (name, password) that is asked for."""

    def __init__(
        self, *, starttls: ssl.SSLContext | None = None, account: tuple[str, str] | None = None
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.refusing = ""
        self._account = account
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_required=account is not None,
            authenticator=self._knows,
        )

    @property
    def server(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._controller.port}"

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def _knows(self, _server: Any, _session: Any, _envelope: Any, _how: str, given: Any) -> AuthResult:
        name, password = self._account or ("", "")
        good = isinstance(given, LoginPassword)
        good = good and (given.login, given.password) == (name.encode(), password.encode())
        return AuthResult(success=good, handled=False)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - its name
        """Keep a mail, or say `refusing`."""
        if self.refusing:
            return self.refusing
        mail = message_from_bytes(envelope.content, policy=default)
        assert isinstance(mail, EmailMessage)
        mail["X-Envelope-To"] = ", ".join(envelope.rcpt_tos)
        self.mails.append(mail)
        return "250 kept"
