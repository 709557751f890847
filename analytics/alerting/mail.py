"""Alerts by e-mail: plain text, one thread an incident, over SMTP with STARTTLS or TLS.

The standard library's client, in a thread: an alert is seldom, and a slow server holds up nobody else.
"""

import re
import smtplib
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from anyio import CapacityLimiter, to_thread

from contracts.errors import Terminal, Transient
from contracts.messages import SECOND, Alert

from .describing import done, headline, iso

TIMEOUT_SECONDS = 10.0
_SHOWN = 50


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in. `security`: `none` (only to this machine), `starttls`, or `tls` from the first byte."""

    host: str
    port: int
    security: Literal["none", "starttls", "tls"] = "starttls"
    user: str = ""
    password: str = ""
    cafile: Path | None = None


class Mail:
    """One message for all recipients."""

    def __init__(self, name: str, *, server: MailServer, sender: str, recipients: Sequence[str]) -> None:
        self.name = name
        self._server = server
        self._sender = sender
        self._recipients = tuple(recipients)
        self._limiter = CapacityLimiter(1)

    def render(self, alert: Alert) -> bytes:
        """The whole message, headers and all."""
        message = EmailMessage(policy=SMTP)
        message["Subject"] = _one_line(f"[thingstorm] {headline(alert)}")
        message["From"] = self._sender
        message["To"] = ", ".join(self._recipients)
        message["Date"] = formatdate(alert.at / SECOND)
        message["Message-ID"] = _message_id(alert.alert_id)
        message["References"] = _message_id(alert.incident.incident_id)
        message["Auto-Submitted"] = "auto-generated"
        message["X-Thingstorm-Incident"] = _one_line(alert.incident.incident_id)
        message.set_content(_text(alert))
        return message.as_bytes()

    async def deliver(self, alert_id: str, body: bytes) -> None:
        """Hand it in. Raises Transient, or Terminal where the server says that it never will take it."""
        _ = alert_id
        await to_thread.run_sync(self._hand_in, body, limiter=self._limiter)

    def _hand_in(self, body: bytes) -> None:
        try:
            with self._connected() as server:
                server.sendmail(self._sender, self._recipients, body)
        except smtplib.SMTPAuthenticationError as error:
            raise Transient(
                f"the mail server refuses the user's password ({error.smtp_code})",
                fix="correct alerts.email.user and alerts.email.password",
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = {code for code, _ in error.recipients.values()}
            self._refused(f"the mail server refuses every recipient ({min(codes)})", min(codes))
        except smtplib.SMTPResponseException as error:
            self._refused(f"the mail server answered {error.smtp_code}", error.smtp_code)
        except (smtplib.SMTPException, OSError) as error:
            raise Transient(
                f"the mail server does not do: {type(error).__name__}: {error}",
                fix="see alerts.email.host, port and security",
            ) from None

    def _refused(self, what: str, code: int) -> None:
        """4xx means later, 5xx never."""
        if code < 500:
            raise Transient(what, fix="it is tried again") from None
        raise Terminal(
            what, fix="correct alerts.email.sender and alerts.email.to, then `thingstorm alerts retry`"
        ) from None

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        told = self._server
        context = ssl.create_default_context(cafile=told.cafile)
        with self._dialled(context) as server:
            if told.security == "starttls":
                server.starttls(context=context)
            if told.user:
                server.login(told.user, told.password)
            yield server

    def _dialled(self, context: ssl.SSLContext) -> smtplib.SMTP:
        told = self._server
        if told.security == "tls":
            return smtplib.SMTP_SSL(told.host, told.port, timeout=TIMEOUT_SECONDS, context=context)
        return smtplib.SMTP(told.host, told.port, timeout=TIMEOUT_SECONDS)


def _text(alert: Alert) -> str:
    incident = alert.incident
    lines = [
        headline(alert),
        "",
        incident.verdict.summary or "(no summary)",
        "",
        f"incident    {incident.incident_id}",
        f"since       {iso(incident.opened_at)}",
        f"confidence  {incident.verdict.confidence:.2f}",
        "done        " + ", ".join(f"{count} {what}" for what, count in done(incident).items()),
    ]
    if incident.devices:
        lines += [
            "",
            f"devices ({len(incident.devices)}):",
            *(f"  {one}" for one in incident.devices[:_SHOWN]),
        ]
        lines += [f"  and {len(incident.devices) - _SHOWN} more"] if len(incident.devices) > _SHOWN else []
    if alert.link:
        lines += ["", alert.link]
    return "\n".join(lines) + "\n"


def _message_id(name: str) -> str:
    return f"<{re.sub(r'[^A-Za-z0-9._-]', '-', name)}@thingstorm>"


def _one_line(text: str) -> str:
    return " ".join(text.split())
