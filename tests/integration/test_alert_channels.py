"""The alert channels on real servers: HTTP, SMTP, files; and what happens while one is away."""

import datetime as dt
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from alert_samples import Receiver, an_alert
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from analytics.alerting.line import Backoff
from analytics.alerting.mail import Mail, MailServer
from analytics.alerting.ndjson import FindingsFile
from analytics.alerting.outbox import KEPT_UNDELIVERED, Letter, Outbox
from analytics.alerting.service import Alerts
from analytics.alerting.signing import key_of
from analytics.alerting.templates import template
from analytics.alerting.webhook import Webhook
from contracts.clock import SystemClock
from contracts.errors import ConfigError, Terminal, Transient, UnknownName
from contracts.journal import Journal
from contracts.messages import SECOND, Alert
from contracts.ports import AlertChannel
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
QUICK = Backoff(first=0.01, longest=0.05)


def _hook(url: str, *, name: str = "hook", form: str = "thingstorm") -> Webhook:
    render = template(form, product_version="0")
    return Webhook(name, url=url, render=render, key=key_of(SECRET), clock=SystemClock())


class _Box:
    """A channel in memory that can be away, for what is the service's own."""

    def __init__(self, name: str = "box", *, away: bool = False) -> None:
        self.name = name
        self.away = away
        self.got: list[str] = []

    def render(self, alert: Alert) -> bytes:
        return alert.link.encode()

    async def deliver(self, alert_id: str, body: bytes) -> None:
        if self.away:
            raise Transient("the box is away", fix="bring it back")
        self.got.append(alert_id)


def _alerts(*channels: AlertChannel, notes: list[str] | None = None, **settings: Any) -> Alerts:
    told: list[str] = [] if notes is None else notes
    return Alerts(
        channels,
        clock=SystemClock(),
        emit=lambda _event, facts: told.append(facts["what"]),
        link=lambda incident_id: f"http://desk/incidents/{incident_id}",
        backoff=QUICK,
        **settings,
    )


def _now(number: int = 1) -> Alert:
    return an_alert(number=number, at=SystemClock().now())


@asynccontextmanager
async def _running(alerts: Alerts) -> AsyncIterator[Alerts]:
    with anyio.fail_after(20):
        async with supervise([alerts], drain_seconds=5):
            yield alerts


async def _until(condition: Any) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.005)


async def test_a_webhook_is_signed_so_that_the_reference_verifier_takes_it() -> None:
    with Receiver().running() as receiver:
        async with _running(_alerts(_hook(receiver.url))) as alerts:
            alert = _now()
            alerts.tell(alert)
            await alerts.quiet(5)
            assert [(one.channel, one.outcome) for one in alerts.told()] == [("hook", "done")]
    ((headers, body),) = receiver.got
    told = Verifier(SECRET).verify(body, headers)
    assert told["link"] == f"http://desk/incidents/{alert.incident.incident_id}"
    assert (headers["webhook-id"], headers["content-type"]) == (alert.alert_id, "application/json")
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body.replace(b"attack", b"benign"), headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body, {**headers, "webhook-timestamp": "1700000000"})


async def test_a_webhook_that_fails_is_tried_again_with_the_same_id_and_a_new_signature() -> None:
    notes: list[str] = []
    with Receiver(503, 500, 429).running() as receiver:
        async with _running(_alerts(_hook(receiver.url), notes=notes)) as alerts:
            alerts.tell(_now())
            await _until(lambda: len(receiver.got) == 4 and not alerts.channels[0].trouble)
            outcomes = [one.outcome for one in alerts.told()]
            metrics = {
                one.name: one.value for one in alerts.health().measures if "happened" not in one.labels
            }
    assert outcomes == ["failed: hook answered 503; it is tried again", "done"]
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    for headers, body in receiver.got:
        Verifier(SECRET).verify(body, headers)
    assert (metrics["alert_failures"], metrics["alert_channel_up"]) == (3, 1)
    assert [note.partition(" hook")[0] for note in notes] == ["alerts do not reach", "alerts reach"]


async def test_retry_after_is_kept_to() -> None:
    with Receiver(429, headers={"Retry-After": "7"}).running() as receiver:
        with pytest.raises(Transient) as told:
            await _hook(receiver.url).deliver("a-1", b"{}")
        assert told.value.retry_after == 7


async def test_what_is_refused_for_good_is_put_aside_told_and_can_be_tried_again(tmp_path: Path) -> None:
    with Receiver(400, 410).running() as receiver:
        async with _running(_alerts(_hook(receiver.url), folder=tmp_path)) as alerts:
            alerts.tell(_now(1))
            alerts.tell(_now(2))
            await alerts.quiet(5)
            assert [one.outcome for one in alerts.told()] == [
                "failed: hook answered 400; kept",
                "failed: hook answered 410; kept",
            ]
            assert "2 undelivered" in alerts.health().detail
            assert alerts.health().state == "ready", "a channel that fails is no reason to restart the stack"
        async with _running(_alerts(_hook(receiver.url), folder=tmp_path)) as alerts:
            assert [one.failed for _, one in alerts.undelivered] == ["hook answered 400", "hook answered 410"]
            assert alerts.retry() == 2
            await alerts.quiet(5)
            assert alerts.undelivered == ()
    assert len(receiver.got) == 4


async def test_nobody_listens_there_and_a_secret_that_is_none() -> None:
    with pytest.raises(Transient, match="does not answer"):
        await _hook("http://127.0.0.1:9/none").deliver("a-1", b"{}")
    with pytest.raises(ConfigError, match="no base64"):
        key_of("whsec_!")


async def test_a_channel_that_is_away_holds_up_no_other_one_and_catches_up_in_order() -> None:
    box, gone = _Box(), _Box("gone", away=True)
    async with _running(_alerts(gone, box)) as alerts:
        for number in range(1, 6):
            alerts.tell(_now(number))
        await _until(lambda: len(box.got) == 5)
        assert gone.got == []
        assert "the box is away" in alerts.health().detail
        up = {
            one.labels["channel"]: one.value
            for one in alerts.health().measures
            if one.name == "alert_channel_up"
        }
        assert up == {"gone": 0.0, "box": 1.0}
        gone.away = False
        await _until(lambda: len(gone.got) == 5)
    assert gone.got == box.got
    assert box.got == sorted(box.got)


async def test_telling_takes_no_time_and_never_raises() -> None:
    class Broken(_Box):
        def render(self, alert: Alert) -> bytes:
            raise RuntimeError("no words")

    class Hanging(_Box):
        async def deliver(self, alert_id: str, body: bytes) -> None:
            await anyio.sleep_forever()

    alerts = _alerts(Broken("broken"), Hanging("hanging"))
    async with anyio.create_task_group() as tasks:
        await tasks.start(lambda *, task_status: alerts.run(task_status=task_status))
        alerts.tell(_now())
        assert ["no words" in one.outcome for one in alerts.told()] == [True]
        tasks.cancel_scope.cancel()


async def test_a_full_outbox_drops_the_oldest_and_says_so() -> None:
    gone, notes = _Box(away=True), list[str]()
    async with _running(_alerts(gone, notes=notes, capacity=3)) as alerts:
        for number in range(1, 6):
            alerts.tell(_now(number))
        gauge = alerts.health().buffers[0]
        assert (gauge.used, gauge.capacity) == (3, 3)
        gone.away = False
        await _until(lambda: len(gone.got) == 3)
    assert [name[-1] for name in gone.got] == ["3", "4", "5"]
    assert any("dropped" in note for note in notes)


async def test_what_waits_outlives_the_process_and_is_not_told_twice(tmp_path: Path) -> None:
    box = _Box(away=True)
    async with _running(_alerts(box, folder=tmp_path)) as alerts:
        first = _now(1)
        alerts.tell(first)
        alerts.tell(first)
        alerts.tell(_now(2))
    box.away = False
    async with _running(_alerts(box, folder=tmp_path)) as alerts:
        await alerts.quiet(5)
    async with _running(_alerts(box, folder=tmp_path)) as alerts:
        await alerts.quiet(5)
    assert [name[-1] for name in box.got] == ["1", "2"]


async def test_an_alert_that_failed_for_a_day_is_put_aside() -> None:
    box = _Box(away=True)
    async with _running(_alerts(box)) as alerts:
        alerts.tell(an_alert(at=SystemClock().now() - 25 * 3600 * SECOND))
        await _until(lambda: alerts.undelivered)
        assert alerts.undelivered[0][1].failed == "the box is away"
        assert [one.outcome for one in alerts.told()] == ["failed: the box is away; kept"]


def test_what_was_put_aside_is_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "box.journal")
    outbox = Outbox("box", journal=journal)
    for number in range(KEPT_UNDELIVERED + 3):
        letter = Letter(f"a-{number}", "a", "opened", 1, "what", b"\xff\x00 any bytes")
        outbox.put(letter)
        assert outbox.first is not None
        outbox.give_up(outbox.first, "why")
    assert (len(outbox.given_up), outbox.dropped, len(journal)) == (KEPT_UNDELIVERED, 3, KEPT_UNDELIVERED)
    outbox.close()
    again = Outbox("box", journal=Journal(tmp_path / "box.journal"))
    assert [one.alert_id for one in again.given_up] == [
        f"a-{number}" for number in range(3, KEPT_UNDELIVERED + 3)
    ]
    assert again.given_up[0].body == b"\xff\x00 any bytes"
    again.close()


async def test_a_test_reaches_whom_it_is_for_at_once() -> None:
    box, gone = _Box(), _Box("gone", away=True)
    async with _running(_alerts(box, gone)) as alerts:
        outcomes = await alerts.test()
        assert outcomes["box"] == "done"
        assert outcomes["gone"].startswith("failed: the box is away; fix:")
        assert await alerts.test(["box"]) == {"box": "done"}
        with pytest.raises(UnknownName, match="alert channel"):
            await alerts.test(["nobody"])
        assert alerts.told() == [], "a test is no alert"
    assert all(name.startswith("test-") for name in box.got)


async def test_findings_are_lines_of_a_file_that_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "siem" / "findings.ndjson"
    channel = FindingsFile(
        "findings-file", path, render=template("ocsf", product_version="0"), max_bytes=9_000
    )
    for number in range(12):
        alert = an_alert(number=number)
        await channel.deliver(alert.alert_id, channel.render(alert))
    files = sorted(path.parent.iterdir())
    assert [one.name for one in files] == ["findings.ndjson", *(f"findings.ndjson.{n}" for n in (1, 2, 3))]
    records = [json.loads(line) for file in reversed(files) for line in file.read_text().splitlines()]
    assert all(file.stat().st_size <= 9_000 for file in files)
    assert records[-1]["metadata"]["uid"].endswith("-11")
    path.with_name("in-the-way").write_text("")
    blocked = FindingsFile("f", path.with_name("in-the-way") / "x", render=channel.render)
    with pytest.raises(Transient, match="cannot write"):
        await blocked.deliver("a", b"{}")


class _MailHandler:
    def __init__(self, answer: str = "250 OK") -> None:
        self.answer = answer
        self.got: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.got.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return self.answer

    async def handle_RCPT(self, _s: Any, _t: Any, envelope: Any, address: str, _o: Any) -> str:  # noqa: N802 - likewise
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@contextmanager
def _mail_server(handler: _MailHandler, **settings: Any) -> Iterator[int]:
    controller = Controller(handler, hostname="127.0.0.1", port=0, **settings)
    controller.port = _free_port()
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _mail(port: int, *, to: str = "team@example.com", **server: Any) -> Mail:
    settings = {"security": "none", **server}
    return Mail(
        "email",
        server=MailServer("127.0.0.1", port, **settings),
        sender="storm@example.com",
        recipients=[to],
    )


async def test_mail_reaches_a_real_server() -> None:
    handler = _MailHandler()
    with _mail_server(handler) as port:
        async with _running(_alerts(_mail(port))) as alerts:
            alerts.tell(_now())
            await alerts.quiet(5)
            assert [one.outcome for one in alerts.told()] == ["done"]
    ((sender, recipients, content),) = handler.got
    assert (sender, recipients) == ("storm@example.com", ["team@example.com"])
    assert message_from_bytes(content)["Subject"] == "[thingstorm] attack, 3 devices: opened"


async def test_mail_over_starttls_with_a_password(tls_files: tuple[Path, Path]) -> None:
    def check(_server: Any, _session: Any, _envelope: Any, _way: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and data.password == b"right"
        return AuthResult(success=right, handled=False)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*tls_files)
    handler = _MailHandler()
    with _mail_server(
        handler, tls_context=context, require_starttls=True, auth_required=True, authenticator=check
    ) as port:
        told = {"security": "starttls", "user": "storm", "cafile": tls_files[0]}
        await _mail(port, password="right", **told).deliver("a-1", b"Subject: a\r\n\r\nb\r\n")
        with pytest.raises(Transient, match="password"):
            await _mail(port, password="wrong", **told).deliver("a-1", b"Subject: a\r\n\r\nb\r\n")
        with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
            await _mail(port, **{**told, "cafile": None}).deliver("a-1", b"Subject: a\r\n\r\nb\r\n")
    assert len(handler.got) == 1


async def test_a_mail_server_that_refuses() -> None:
    with _mail_server(_MailHandler("451 later")) as port:
        with pytest.raises(Transient, match="451"):
            await _mail(port).deliver("a-1", b"Subject: a\r\n\r\nb\r\n")
        with pytest.raises(Terminal, match="every recipient"):
            await _mail(port, to="nobody@example.com").deliver("a-1", b"Subject: a\r\n\r\nb\r\n")
    with _mail_server(_MailHandler("554 never")) as port, pytest.raises(Terminal, match="554"):
        await _mail(port).deliver("a-1", b"Subject: a\r\n\r\nb\r\n")
    with pytest.raises(Transient, match="does not do"):
        await _mail(port).deliver("a-1", b"")


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"
