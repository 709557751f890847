"""What the bench of mutual TLS needs: a server's certificate, a client's, and a registry that knows it."""

import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker.pki import certificate_id, server_identity
from contracts.errors import ConfigError
from contracts.identity import Credentials, Principal
from contracts.messages import Json

EVERYTHING: Mapping[str, Json] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths: who the server is, who its clients are, and what each trusts. `folder` holds them all."""

    folder: str
    server: str
    server_key: str
    root: str
    client: str
    client_key: str

    def as_settings(self) -> dict[str, str]:
        return asdict(self)


def make_tls_files(folder: Path) -> TlsFiles:
    """New keys of P-256 for both sides; the client's certificate signs itself, as one registered without a CA."""
    server = server_identity(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    client, client_key = folder / "client.pem", folder / "client.key"
    client.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    client_key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    for file in folder.iterdir():
        file.chmod(0o644)  # a mosquitto that is started as root reads them as somebody else
    return TlsFiles(
        str(folder), str(server.certificate), str(server.key), str(folder / "root-ca.pem"), str(client), str(client_key)
    )  # fmt: skip


def client_context(files: Mapping[str, str]) -> ssl.SSLContext:
    """As a device has it."""
    context = ssl.create_default_context(cafile=files["root"])
    context.load_cert_chain(files["client"], files["client_key"])
    return context


class OneCertificate:
    """A registry of one active certificate that may do everything."""

    def __init__(self, certificate: Path) -> None:
        self._pem = certificate.read_text(encoding="ascii")
        self._id = certificate_id(ssl.PEM_cert_to_DER_cert(self._pem))

    async def principal(self, certificate_id: str) -> Principal | None:
        return Principal(certificate_id, documents=(EVERYTHING,)) if certificate_id == self._id else None

    async def trust_anchors(self) -> tuple[str, ...]:
        return (self._pem,)

    async def statuses(self) -> Mapping[str, bool]:
        return {self._id: True}

    async def create_device(self, device_id: str, *, policy: Mapping[str, Json] | None = None) -> Credentials:
        _ = policy
        raise ConfigError(f"no '{device_id}' here", fix="the bench has one certificate")
