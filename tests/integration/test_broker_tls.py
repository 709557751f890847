"""Certificates of the real emulator's registry at the gateway's TLS listener, with real paho clients."""

import asyncio
import hashlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import paho.mqtt.client as mqtt
import pytest
from anyio import to_thread
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from test_broker_embedded import House, until

from broker.embedded import BrokerSettings, EmbeddedBroker
from broker.pki import server_identity
from contracts.clock import SystemClock
from contracts.errors import ConfigError
from contracts.identity import Credentials
from pipeline.aws.registry import IotRegistry
from pipeline.aws.session import ClientFactory
from thingstorm.runtime.supervisor import supervise

pytestmark = pytest.mark.anyio


class SecureHouse(House):
    """A gateway with the emulator's registry."""

    def __init__(self, endpoint: str, **settings: Any) -> None:
        super().__init__()
        self.iot = ClientFactory(backend="embedded", endpoint=endpoint).client("iot")
        self.registry = IotRegistry(self.iot)
        self.broker = EmbeddedBroker(
            settings=BrokerSettings(port=0, tls_port=0, **settings),
            clock=SystemClock(),
            messages=self.messages,
            events=self.events,
            registry=self.registry,
        )


@asynccontextmanager
async def a_secure_house(endpoint: str, **settings: Any) -> AsyncIterator[SecureHouse]:
    house = SecureHouse(endpoint, **settings)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(house.collect, house.messages, house.seen)
        tasks.start_soon(house.collect, house.events, house.told)
        async with supervise([house.broker], drain_seconds=5):
            yield house
        tasks.cancel_scope.cancel()


class Device:
    """A paho client with a certificate."""

    def __init__(self, house: SecureHouse, client_id: str, made: Credentials, folder: Path) -> None:
        self.codes: list[int] = []
        self.lost: list[int] = []
        self.got: list[bytes] = []
        self.granted: list[int] = []
        folder.mkdir(exist_ok=True)
        for name, body in (("c", made.certificate), ("k", made.private_key), ("ca", house_ca(house))):
            (folder / name).write_text(body)
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        self.mqtt.tls_set(str(folder / "ca"), str(folder / "c"), str(folder / "k"))
        self.mqtt.on_connect = lambda _c, _u, _f, code, _p: self.codes.append(code.value)
        self.mqtt.on_disconnect = lambda _c, _u, _f, code, _p: self.lost.append(code.value)
        self.mqtt.on_message = lambda _c, _u, message: self.got.append(message.payload)
        self.mqtt.on_subscribe = lambda _c, _u, _m, codes, _p: self.granted.extend(c.value for c in codes)
        self.mqtt.connect("127.0.0.1", house.broker.tls_port or 0)
        self.mqtt.loop_start()

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def house_ca(house: SecureHouse) -> str:
    assert house.broker._certificates is not None
    return house.broker._certificates.root_ca


@asynccontextmanager
async def a_device(
    house: SecureHouse, client_id: str, made: Credentials, folder: Path
) -> AsyncIterator[Device]:
    device = await to_thread.run_sync(lambda: Device(house, client_id, made, folder / client_id))
    await until(lambda: bool(device.codes or device.lost))
    yield device
    await to_thread.run_sync(device.close)


def self_signed() -> Credentials:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=2)).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return Credentials("", pem, private, "")


async def test_a_created_device_connects_at_once_and_may_use_its_own_topics_only(
    endpoint: str, unique: str, tmp_path: Path
) -> None:
    async with a_secure_house(endpoint) as house:
        made = await house.broker.enroll(unique)
        der = x509.load_pem_x509_certificate(made.certificate.encode()).public_bytes(
            serialization.Encoding.DER
        )
        assert made.certificate_id == hashlib.sha256(der).hexdigest()
        async with a_device(house, unique, made, tmp_path) as device:
            assert device.codes == [0]
            device.mqtt.subscribe([(f"cmd/meter/{unique}/do", 1), ("cmd/meter/other/do", 1)])
            await until(lambda: device.granted == [1, 0x87])
            device.mqtt.publish(f"dt/meter/{unique}/t", b"mine", qos=1)
            await until(lambda: [one.payload for one in house.seen] == [b"mine"])
            assert house.seen[0].principal == made.certificate_id
            device.mqtt.publish("dt/meter/other/t", b"not mine", qos=1)
            await until(lambda: device.lost == [0x87])
        async with a_device(house, "another-id", made, tmp_path) as stranger:
            assert stranger.codes == [0x87], "the policy names the device"
        assert len(house.seen) == 1


async def test_an_inactive_certificate_is_refused_and_its_open_connection_closed(
    endpoint: str, unique: str, tmp_path: Path
) -> None:
    async with a_secure_house(endpoint) as house:
        made = await house.broker.enroll(unique)
        async with a_device(house, unique, made, tmp_path) as device:
            assert device.codes == [0]
            await house.registry.set_active(made.certificate_id, active=False)
            await until(lambda: bool(device.lost), within=6)
            await until(lambda: house.reasons(unique) == ["AUTH_ERROR"])
        async with a_device(house, unique, made, tmp_path) as again:
            assert again.codes == [0x87]
        await house.registry.set_active(made.certificate_id, active=True)
        await anyio.sleep(0.6)
        async with a_device(house, unique, made, tmp_path) as again:
            assert again.codes == [0]


async def test_a_policy_that_changes_takes_effect_on_open_connections(
    endpoint: str, unique: str, tmp_path: Path
) -> None:
    async with a_secure_house(endpoint) as house:
        made = await house.broker.enroll(unique)
        async with a_device(house, unique, made, tmp_path) as device:
            device.mqtt.publish(f"dt/meter/{unique}/t", qos=1)
            await until(lambda: len(house.seen) == 1)
            document = {"Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*"}]}
            await to_thread.run_sync(
                lambda: house.iot.create_policy_version(
                    policyName=f"{unique}-policy", policyDocument=json.dumps(document), setAsDefault=True
                )
            )
            await anyio.sleep(3)
            device.mqtt.publish(f"dt/meter/{unique}/t", qos=1)
            await until(lambda: device.lost == [0x87])


async def test_what_a_user_made_with_boto3_works_with_attributes_and_groups(
    endpoint: str, unique: str, tmp_path: Path
) -> None:
    arn = "arn:aws:iot:us-east-1:000000000000:"

    def make(iot: Any) -> Credentials:
        own = self_signed()
        iot.create_thing(thingName=unique, attributePayload={"attributes": {"site": "north"}})
        registered = iot.register_certificate_without_ca(certificatePem=own.certificate, status="ACTIVE")
        group = iot.create_thing_group(thingGroupName=f"g-{unique}")
        iot.add_thing_to_thing_group(thingGroupName=f"g-{unique}", thingName=unique)
        for name, action, resource, target in (
            (
                "connect",
                "iot:Connect",
                "client/${iot:Connection.Thing.ThingName}",
                registered["certificateArn"],
            ),
            (
                "publish",
                "iot:Publish",
                "topic/${iot:Connection.Thing.Attributes[site]}/*",
                group["thingGroupArn"],
            ),
        ):
            document = {"Statement": [{"Effect": "Allow", "Action": action, "Resource": arn + resource}]}
            iot.create_policy(policyName=f"{name}-{unique}", policyDocument=json.dumps(document))
            iot.attach_policy(policyName=f"{name}-{unique}", target=target)
        iot.attach_thing_principal(thingName=unique, principal=registered["certificateArn"])
        return own

    async with a_secure_house(endpoint) as house:
        made = await to_thread.run_sync(make, house.iot)
        async with a_device(house, unique, made, tmp_path) as device:
            assert device.codes == [0]
            device.mqtt.publish("north/1", b"n", qos=1)
            await until(lambda: [one.topic for one in house.seen] == ["north/1"])
            device.mqtt.publish("south/1", b"s", qos=1)
            await until(lambda: device.lost == [0x87])


async def _speak(port: int, context: ssl.SSLContext) -> None:
    """TLS 1.3 tells a client of its refused certificate only when it reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(b"\x10\x00")
        if not await reader.read(1):
            raise ConnectionError("closed")
    finally:
        writer.transport.abort()


async def test_strangers_and_clients_without_a_certificate_fail_the_handshake(
    endpoint: str, unique: str, tmp_path: Path
) -> None:
    async with a_secure_house(endpoint) as house:
        made = await house.broker.enroll(unique)
        for one in (self_signed(), None):
            context = ssl.create_default_context(cadata=house_ca(house))
            if one is not None:
                (tmp_path / "c").write_text(one.certificate + one.private_key)
                context.load_cert_chain(tmp_path / "c")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await _speak(house.broker.tls_port or 0, context)
        await until(lambda: house.broker.health().counters["handshakes_failed"] == 2)
        async with a_device(house, unique, made, tmp_path) as device:
            assert device.codes == [0]


async def test_enrolling_again_replaces_the_policy_and_keeps_the_thing(endpoint: str, unique: str) -> None:
    registry = IotRegistry(ClientFactory(backend="embedded", endpoint=endpoint).client("iot"))
    documents = [
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "iot:Connect", "Resource": f"{n}"}],
        }
        for n in range(7)
    ]
    ids = [(await registry.create_device(unique, policy=one)).certificate_id for one in documents]
    assert len(set(ids)) == 7
    for certificate_id in (ids[0], ids[-1]):
        principal = await registry.principal(certificate_id)
        assert principal is not None
        assert principal.documents == (documents[-1],)
        assert [thing.name for thing in principal.things] == [unique]
    statuses = await registry.statuses()
    assert all(statuses[one] for one in ids)
    assert await registry.principal("0" * 64) is None


@pytest.mark.parametrize(
    ("device_id", "policy", "what"),
    [
        ("no/slash", None, "no thing name"),
        ("", None, "no thing name"),
        ("ok", {"Version": "x"}, "no Statement"),
        ("ok", {"Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "x" * 2048}]}, "characters"),
    ],
)
async def test_impossible_devices_are_told(endpoint: str, device_id: str, policy: Any, what: str) -> None:
    registry = IotRegistry(ClientFactory(backend="embedded", endpoint=endpoint).client("iot"))
    with pytest.raises(ConfigError, match=what):
        await registry.create_device(device_id, policy=policy)


async def test_more_certificates_than_a_page_holds(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    iot = ClientFactory(backend="embedded", endpoint=endpoint).client("iot")
    registry = IotRegistry(iot)
    before = len(await registry.statuses())
    await to_thread.run_sync(lambda: [iot.create_keys_and_certificate() for _ in range(3)])
    monkeypatch.setattr("pipeline.aws.registry.PAGE", 2)
    assert len(await registry.statuses()) == before + 3
    assert len(await registry.trust_anchors()) >= before + 3


def test_the_server_certificate_is_kept_and_renewed_for_other_names(tmp_path: Path) -> None:
    first = server_identity(tmp_path)
    body = first.certificate.read_bytes()
    assert server_identity(tmp_path).certificate.read_bytes() == body
    assert first.key.stat().st_mode & 0o777 == 0o600
    other = server_identity(tmp_path, names=("gateway.local",))
    assert other.certificate.read_bytes() != body
    assert other.root_ca == first.root_ca
    (tmp_path / "root-ca.key").unlink()
    fresh = server_identity(tmp_path, names=("gateway.local",))
    assert fresh.root_ca != first.root_ca
    checked = subprocess.run(
        ["openssl", "verify", "-CAfile", tmp_path / "root-ca.pem", fresh.certificate],
        capture_output=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def test_a_folder_that_cannot_be_the_ca_s_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    with pytest.raises(ConfigError, match=r"broker\.pki .*file.* cannot be used"):
        server_identity(file / "pki")
    server_identity(tmp_path / "pki")
    for pem in (tmp_path / "pki").iterdir():
        pem.write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be used") as told:
        server_identity(tmp_path / "pki")
    assert "leave it out" in told.value.fix
